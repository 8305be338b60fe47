"""Notifications that come fast cause pulls at a bounded rate; the last one is never lost."""

import asyncio

import pytest

from evpower.config import Settings
from evpower.foundation.bus import EVERYTHING, LocalBus
from evpower.foundation.clock import utc_now
from evpower.foundation.db import Database
from evpower.foundation.loops import Round
from evpower.sync import Puller
from evpower.sync.inbound.pull_limiter import PullLimiter
from evpower.sync.model import SUPABASE_CHANGED
from tests.sync.pulling import Scripted
from tests.waiting import WAIT_LIMIT_S, until

NEVER_PER_S = 1e-6


def test_pulls_beyond_the_first_are_spread_and_a_quiet_time_allows_them_again() -> None:
    now = 100.0
    limiter = PullLimiter(2, 10, lambda: now)
    assert [limiter.count(), limiter.count()] == [0, 0]
    assert limiter.count() == pytest.approx(0.1)
    now += 0.1
    assert limiter.count() == pytest.approx(0.1)
    now += 60
    assert [limiter.count(), limiter.count()] == [0, 0]
    assert limiter.count() == pytest.approx(0.1)


async def test_a_burst_of_notifications_is_pulled_together(
    db: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    over = asyncio.Event()

    async def pause(current: Round, seconds: float) -> None:
        pauses.append(seconds)
        await over.wait()
        if not current.stopping:
            over.clear()

    monkeypatch.setattr(Round, "pause", pause)
    rpc, bus, stop = Scripted(), LocalBus(), asyncio.Event()
    loop = Puller(db, rpc, settings, utc_now, bus).loop(
        periodic=False, limiter=PullLimiter(3, NEVER_PER_S)
    )
    running = asyncio.create_task(loop.run(stop))
    try:
        for pulled in (1, 2, 3):  # the first at the start, the others at once when notified
            await until(lambda: len(rpc.calls) == pulled)  # noqa: B023
            assert not pauses
            bus.publish(SUPABASE_CHANGED, EVERYTHING)
        for number in (1, 2):
            await until(lambda: len(pauses) == number)  # noqa: B023
            for _ in range(50):
                bus.publish(SUPABASE_CHANGED, EVERYTHING)
            assert len(rpc.calls) == 3 + number
            over.set()
        await until(lambda: len(pauses) == 3)  # the last notifications were followed by a pull
        assert len(rpc.calls) == 6
    finally:
        stop.set()
        over.set()
        await asyncio.wait_for(running, WAIT_LIMIT_S)

"""Background loops: their pauses, what wakes them, what they survive and what they record."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest
from structlog.testing import capture_logs

from evpower.foundation.errors import Unavailable
from evpower.foundation.loops import AT_ONCE, Loop, Loops, Pause, Round, Wakeup, every
from tests.waiting import WAIT_LIMIT_S, until

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
NEVER_S = 3600.0


class Scripted:
    """A work that does at each round what its script says, and then nothing."""

    def __init__(self, *script: Pause | Exception | str | None) -> None:
        self.script = list(script)
        self.rounds = 0

    async def __call__(self, current: Round) -> Pause | None:
        self.rounds += 1
        step = self.script.pop(0) if self.script else None
        if isinstance(step, Exception):
            raise step
        if isinstance(step, str):
            current.failed(step)
            return AT_ONCE
        return step


@asynccontextmanager
async def running(loop: Loop) -> AsyncIterator[None]:
    stop = asyncio.Event()
    task = asyncio.create_task(loop.run(stop))
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait_for(task, WAIT_LIMIT_S)


async def test_the_first_round_comes_at_once_and_the_next_after_the_period() -> None:
    work = Scripted()
    async with running(Loop("x", work, period_s=0.01)):
        await until(lambda: work.rounds >= 3)
    slow = Scripted()
    async with running(Loop("x", slow, period_s=NEVER_S)):
        await until(lambda: slow.rounds == 1)
    assert slow.rounds == 1


async def test_work_that_has_more_to_do_runs_again_at_once() -> None:
    work = Scripted(AT_ONCE, AT_ONCE, AT_ONCE)
    async with running(Loop("x", work, period_s=NEVER_S)):
        await until(lambda: work.rounds == 4)


async def test_a_notification_ends_a_pause_and_one_during_work_is_not_lost() -> None:
    wakeup, rounds, inside, go_on = Wakeup(), list[int](), asyncio.Event(), asyncio.Event()

    async def work(_: Round) -> None:
        rounds.append(1)
        inside.set()
        await go_on.wait()

    async with running(Loop("x", work, period_s=NEVER_S, wakeup=wakeup)):
        await inside.wait()
        wakeup.notify()
        wakeup.notify()
        go_on.set()
        await until(lambda: len(rounds) == 2)
        await until(lambda: not wakeup.is_set)
        assert len(rounds) == 2, "two notifications are one"
        wakeup.notify()
        await until(lambda: len(rounds) == 3)


async def test_a_pause_that_is_not_wakeable_is_waited_for() -> None:
    wakeup, work = Wakeup(), Scripted(Pause(NEVER_S, wakeable=False))
    async with running(Loop("x", work, period_s=0, wakeup=wakeup)):
        await until(lambda: work.rounds == 1)
        wakeup.notify()
        for _ in range(5):
            await asyncio.sleep(0)
        assert work.rounds == 1


async def test_a_crash_is_logged_and_the_loop_goes_on() -> None:
    work = Scripted(RuntimeError("first"), ValueError("second"))
    loop = Loop("x", work, period_s=NEVER_S, longest_retry_s=0.01)
    with capture_logs() as logs:
        async with running(loop):
            await until(lambda: work.rounds == 3)
    failures = [(line["job"], line["log_level"]) for line in logs if line["event"] == "job_failed"]
    assert failures == [("x", "error")] * 2
    assert loop.record.error == "", "the round after them was good"


async def test_crashes_in_a_row_are_farther_and_farther_apart() -> None:
    pauses = list[float]()

    class Recorded(Loop):
        async def _wait(self, pause: Pause, stopping: "asyncio.Task[object]") -> None:
            pauses.append(pause.seconds)
            assert not pause.wakeable or pause.seconds == 5
            await super()._wait(AT_ONCE, stopping)

    crash = [RuntimeError("x")] * 7
    work = Scripted(*crash, None, RuntimeError("x"))
    async with running(Recorded("x", work, period_s=5)):
        await until(lambda: len(pauses) >= 9)
    assert pauses[:9] == [1, 2, 4, 8, 16, 30, 30, 5, 1]


async def test_what_is_away_for_a_while_is_tried_again_at_a_steady_pace() -> None:
    work = Scripted(*[Unavailable("database_unavailable", "refused")] * 3)
    loop = Loop("x", work, period_s=NEVER_S, retry_s=0.01)
    with capture_logs() as logs:
        async with running(loop):
            await until(lambda: work.rounds >= 4)
    waits = [line for line in logs if line["event"] == "job_delayed"]
    assert [(line["job"], line["code"]) for line in waits] == [("x", "database_unavailable")] * 3


@pytest.mark.parametrize(
    "failure", [Unavailable("database_unavailable", "refused"), RuntimeError("x")]
)
async def test_no_notification_ends_the_pause_after_a_failure(failure: Exception) -> None:
    """What is away would be asked once for each change."""
    wakeup, work = Wakeup(), Scripted(failure)
    async with running(Loop("x", work, period_s=NEVER_S, retry_s=NEVER_S, wakeup=wakeup)):
        await until(lambda: work.rounds == 1)
        wakeup.notify()
        for _ in range(5):
            await asyncio.sleep(0)
        assert work.rounds == 1


async def test_rounds_are_recorded() -> None:
    monotonic_s = 100.0
    work = Scripted("supabase_down", Unavailable("database_unavailable", "refused"), None)
    loop = Loop(
        "x", work, period_s=NEVER_S, retry_s=0.0, now_s=lambda: monotonic_s, clock=lambda: NOON
    )
    record = loop.record
    assert (record.finished_at, record.running_since, record.error) == (None, None, "")
    stop = asyncio.Event()
    await loop._run_once(stop)
    assert (record.finished_at, record.error) == (NOON, "supabase_down")
    monotonic_s = 130.0
    await loop._run_once(stop)
    assert record.error == "database_unavailable"
    assert record.idle_s == 30, "a round that was cut short is not a finished one"
    await loop._run_once(stop)
    assert (record.idle_s, record.error, record.running_since) == (0, "", None)


async def test_a_long_round_records_its_parts() -> None:
    monotonic_s = 100.0
    inside, go_on = asyncio.Event(), asyncio.Event()

    async def work(current: Round) -> None:
        inside.set()
        await go_on.wait()
        current.failed("slow")
        current.progress()
        inside.set()
        await asyncio.Event().wait()

    loop = Loop("x", work, period_s=1, now_s=lambda: monotonic_s, clock=lambda: NOON)
    task = asyncio.create_task(loop.run(asyncio.Event()))
    await inside.wait()
    inside.clear()
    assert loop.record.running_since == NOON
    monotonic_s = 170.0
    assert loop.record.idle_s == 70
    go_on.set()
    await inside.wait()
    assert (loop.record.idle_s, loop.record.error) == (0, "slow")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_stop_ends_every_pause_and_what_is_held_around_a_loop() -> None:
    held = list[str]()

    @asynccontextmanager
    async def around() -> AsyncIterator[None]:
        held.append("begun")
        yield
        held.append("ended")

    async def nothing(_: Round) -> None: ...

    steady = Scripted(Pause(NEVER_S, wakeable=False))
    loops = Loops(
        [
            Loop("held", Scripted(), period_s=NEVER_S, around=around),
            Loop("steady", steady, period_s=NEVER_S),
            every(NEVER_S, "plain", nothing),
        ]
    )
    loops.start()
    await until(lambda: steady.rounds == 1 and held == ["begun"])
    with capture_logs() as logs:
        await loops.stop(WAIT_LIMIT_S)
    assert held == ["begun", "ended"]
    assert logs == []


async def test_a_round_that_does_not_end_is_cancelled_at_the_stop() -> None:
    inside = asyncio.Event()

    async def hangs(_: Round) -> None:
        inside.set()
        await asyncio.Event().wait()

    loops = Loops([Loop("hangs", hangs, period_s=1)])
    loops.start()
    await inside.wait()
    with capture_logs() as logs:
        await loops.stop(0.01)
    assert [line["job"] for line in logs] == ["loop-hangs"]

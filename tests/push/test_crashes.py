"""SIGKILL of a worker at every step: no message is lost that was not on its way, none is twice."""

import asyncio
import signal
import sys
from pathlib import Path

import orjson
import pytest

from evpower.foundation.failpoints import Failpoint
from evpower.push.upkeep import keep_up
from tests.push.scenario import ROOT, Browser, Push, PushService
from tests.waiting import COMMAND_S

# Before the request all arrive later; from its begin on, those on their way are not repeated.
STEPS = [
    (Failpoint.PUSH_UNCOMMITTED, 0),
    (Failpoint.PUSH_CLAIMED, 0),
    (Failpoint.PUSH_BEGUN, 1),
    (Failpoint.PUSH_SENT, 1),
]


@pytest.mark.parametrize(("step", "on_their_way"), STEPS)
async def test_a_killed_worker_sends_nothing_twice(
    push: Push, service: PushService, dsn: str, tmp_path: Path, step: Failpoint, on_their_way: int
) -> None:
    browsers = [Browser(service.endpoint(name=name)) for name in "abc"]
    client = await push.driver(*browsers)
    _, transaction = await push.place.charging(client)
    await push.place.stop(transaction, 10_000)
    words = [str(tmp_path), step.value, dsn, service.url, push.now().isoformat()]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.push.doomed", *words, cwd=ROOT,
        stdout=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    assert await asyncio.wait_for(process.wait(), COMMAND_S) == -signal.SIGKILL
    received = len(await service.received())
    begun = sum(state == "begun" for _, state in await push.rows())
    assert (begun > 0) == bool(on_their_way)

    push.later(minutes=4)
    await push.write()
    await push.send()
    await keep_up(push.db, push.now)
    assert await push.write() == await push.send() == 0
    rows = await push.rows()
    assert [event for event, _ in rows] == ["stopped"] * 3
    assert sum(state == "given up" for _, state in rows) == begun
    paths = [each.path for each in await service.received()]
    assert len(paths) == len(set(paths))
    assert len(paths) - received == 3 - begun


@pytest.mark.parametrize(
    ("step", "events"), [(Failpoint.START_UNCOMMITTED, []), (Failpoint.CHANGES_COMMITTED, [])]
)
async def test_a_start_that_was_killed_is_sent_as_it_was_committed(
    push: Push, service: PushService, dsn: str, tmp_path: Path, step: Failpoint, events: list[str]
) -> None:
    """No listener was notified: what is committed is found all the same, and nothing else."""
    client = await push.driver(Browser(service.endpoint()))
    facts = {"act": "start", "client": str(client), "station": "S1"}
    words = [dsn, str(tmp_path / "failpoint"), step.value]
    facts["now"] = push.now().isoformat()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.charging.doomed", *words, orjson.dumps(facts).decode(),
        cwd=ROOT,
    )  # fmt: skip
    assert await asyncio.wait_for(process.wait(), COMMAND_S) == -signal.SIGKILL
    await push.write()
    assert await push.events() == events
    watched = await push.sql.fetchval("select session_id from push.sessions")
    assert (watched is not None) == (step is Failpoint.CHANGES_COMMITTED)
    if watched is not None:
        await push.place.begin(watched)
        await push.write()
        assert await push.events() == ["started"]

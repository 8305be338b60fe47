"""SIGKILL of a worker that sends alerts: nothing is lost, and a repeat has the same id."""

import asyncio
import signal
import sys
from pathlib import Path

import pytest

from evpower.alerts import open_alert
from evpower.foundation.db import Database
from evpower.foundation.failpoints import Failpoint
from tests.alerts.clock import TurnedClock
from tests.alerts.receivers import Receiver, running_sender, webhook_settings
from tests.waiting import COMMAND_S

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("step", "received"), [(Failpoint.ALERT_CLAIMED, 0), (Failpoint.ALERT_SENT, 3)]
)
async def test_a_killed_worker_loses_no_message(
    db: Database, dsn: str, clock: TurnedClock, receiver: Receiver, tmp_path: Path,
    step: Failpoint, received: int,
) -> None:  # fmt: skip
    async with db.transaction() as connection:
        for subject in ("relay", "puller", "recheck"):
            await open_alert(connection, "loop_overdue", subject, {}, clock())
    words = ["-m", "tests.alerts.doomed", str(tmp_path), step.value, dsn, receiver.url]
    process = await asyncio.create_subprocess_exec(
        sys.executable, *words, cwd=ROOT, stdout=asyncio.subprocess.DEVNULL
    )
    assert await asyncio.wait_for(process.wait(), COMMAND_S) == -signal.SIGKILL
    assert len(receiver.calls) == received

    async with running_sender(db, clock, **webhook_settings(receiver)) as sender:
        assert await sender.send() == 0  # leased
        clock.later(minutes=11)
        assert await sender.send() == 3
        assert await sender.send() == 0
    assert len(receiver.calls) == received + 3
    ids = [call.headers["webhook-id"] for call in receiver.calls]
    assert len(set(ids)) == 3
    assert sorted(ids[:received]) == sorted(ids[received:]) or received == 0

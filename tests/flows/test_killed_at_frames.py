"""SIGKILL of the server once a frame or an outcome is stored, or as the watch acts; then a replay.

`test_killed_server.py` has the steps before the commits of frames.
"""

import itertools
from collections.abc import AsyncIterator

import asyncpg
import pytest

from evpower.foundation.failpoints import Failpoint
from tests.conftest import Server, as_owner, patient_database
from tests.flows.serving_stations import Charge, Serving, charge_at, serving_stations
from tests.waiting import until

COMMITTED = Failpoint.CHANGES_COMMITTED
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
async def serving(
    server: Server, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Serving]:
    dsn = await server.new_database()
    db, owner = patient_database(dsn), await asyncpg.connect(as_owner(dsn))
    await db.start()
    async with serving_stations(db, owner, dsn, tmp_path_factory.mktemp("serving")) as serving:
        yield serving
    await owner.close()
    await db.close()


@pytest.fixture
async def charge(serving: Serving) -> AsyncIterator[Charge]:
    async with charge_at(serving, f"KILL-{next(_numbers)}") as charge:
        yield charge


@pytest.mark.parametrize("killed_at", ["StartTransaction", "MeterValues", "StopTransaction"])
async def test_a_frame_that_was_stored_and_not_answered_counts_once(
    charge: Charge, killed_at: str
) -> None:
    async def send(frame: tuple[str, dict[str, object]]) -> dict[str, int]:
        if frame[0] != killed_at:
            return await charge.send(frame)
        return await charge.send_killed_at(COMMITTED, frame)

    transaction = (await send(charge.start()))["transactionId"]
    charge.serving.later(10)
    await send(charge.values(transaction, 3_000))
    charge.serving.later(10)
    await send(charge.end(transaction, 5_000))
    await charge.is_paid(5_000)


async def test_a_late_stop_that_was_stored_and_not_answered_is_one_bill(charge: Charge) -> None:
    transaction = (await charge.send(charge.start()))["transactionId"]
    charge.serving.later(10)
    await charge.send(charge.values(transaction, 3_000))
    stop = charge.end(transaction, 5_000)
    await charge.station.boot()
    charge.serving.later(5)
    await until(lambda: charge.has_state("settled"), "the watch never closed it")
    await charge.send_killed_at(COMMITTED, stop)
    await charge.is_paid(3_000, 5_000)


async def test_killed_as_the_watch_bills_a_session(charge: Charge) -> None:
    transaction = (await charge.send(charge.start()))["transactionId"]
    charge.serving.later(10)
    await charge.send(charge.values(transaction, 3_000))
    stop = charge.end(transaction, 3_000)
    await charge.station.boot()
    charge.serving.kill_at(Failpoint.SETTLE_UNCOMMITTED)
    charge.serving.later(5)
    await charge.serving.restart(Failpoint.SETTLE_UNCOMMITTED)
    assert await charge.bills() == []
    await charge.open()
    await until(lambda: charge.has_state("settled"), "it was never billed")
    for _ in range(2):
        await charge.send(stop)
    await charge.is_paid(3_000, 3_000)


@pytest.mark.parametrize(
    ("step", "status"),
    [
        (Failpoint.OUTCOME_UNCOMMITTED, "Accepted"),
        (Failpoint.OUTCOME_UNCOMMITTED, "Rejected"),
        (COMMITTED, "Accepted"),
    ],
)
async def test_killed_at_the_outcome_of_a_start(
    charge: Charge, step: Failpoint, status: str
) -> None:
    tag = await charge.request()
    await charge.reply("RemoteStartTransaction", status, killed_at=step)
    await charge.serving.restart(step)
    await charge.open()
    if status == "Rejected":
        charge.serving.later(10)
        await until(lambda: charge.has_state("expired"), "its money stayed on hold")
        await charge.is_paid()
        return
    transaction = (await charge.send(charge.start(tag)))["transactionId"]
    charge.serving.later(10)
    await charge.send(charge.end(transaction, 5_000))
    await charge.is_paid(5_000)


@pytest.mark.parametrize("step", [Failpoint.STEP_UNCOMMITTED, Failpoint.STEP_COMMITTED])
async def test_killed_as_the_watch_takes_a_step(charge: Charge, step: Failpoint) -> None:
    """Of a charge that goes on although its station accepted the stop."""
    tag = await charge.request(energy_wh=1_000)
    await charge.reply("RemoteStartTransaction")
    transaction = (await charge.send(charge.start(tag)))["transactionId"]
    charge.serving.later(0.3)
    await charge.send(charge.values(transaction, 1_000))
    await charge.reply("RemoteStopTransaction")
    charge.serving.later(0.3)
    charge.serving.kill_at(step)
    await charge.station.send([2, "goes on", *charge.values(transaction, 1_500)])
    await charge.serving.restart(step)
    await charge.open()
    await charge.reply("RemoteStopTransaction")
    charge.serving.later(0.3)
    await charge.send(charge.end(transaction, 2_000))
    assert await charge.commands() == ["remote_start", "remote_stop", "remote_stop"]
    await charge.is_paid(2_000)

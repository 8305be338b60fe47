"""SIGKILL in the watch's steps: what was not committed is done again, what was is done once."""

import asyncio
import signal
import sys
from pathlib import Path
from uuid import UUID

import pytest

from evpower.foundation.failpoints import Failpoint
from tests.charging.place import ChargingPlace
from tests.charging.test_steps import goes_on, told_to_stop

UNCOMMITTED, COMMITTED = Failpoint.STEP_UNCOMMITTED, Failpoint.STEP_COMMITTED
STEPS = ["remote_stop", "set_charging_profile", "unlock", "reset", None]


async def killed(place: ChargingPlace, dsn: str, folder: Path, failpoint: Failpoint) -> None:
    """Do what is due in a process of its own that dies at the failpoint."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.charging.watching", str(folder), failpoint.value, dsn,
        place.now.isoformat(),
    )  # fmt: skip
    assert await process.wait() == -signal.SIGKILL


async def before_step(place: ChargingPlace, number: int) -> tuple[UUID, int]:
    """Let the meter have shown that a step is due, after so many that did not help."""
    session, transaction = await told_to_stop(place)
    place.later(1)
    await place.values(transaction, 1_500)
    wh = 1_500
    for _ in range(number):
        await place.watch()
        await place.answer()
        await goes_on(place, transaction, wh + 100)
        place.later(1)
        wh += 200
        await place.values(transaction, wh)
    return session, transaction


@pytest.mark.parametrize("number", range(len(STEPS)))
@pytest.mark.parametrize("failpoint", [UNCOMMITTED, COMMITTED])
async def test_a_step_is_taken_once(
    place: ChargingPlace, dsn: str, tmp_path: Path, failpoint: Failpoint, number: int
) -> None:
    session, transaction = await before_step(place, number)
    before = await place.steps(transaction)
    await killed(place, dsn, tmp_path, failpoint)
    if failpoint is UNCOMMITTED:
        assert await place.steps(transaction) == before
    for _ in range(2):
        await place.watch()
    assert len(await place.steps(transaction)) == len(before) + 1
    expected = STEPS[number]
    assert await place.answer() == ([] if expected is None else [expected])
    await place.stop(transaction, 5_000)
    assert len(await place.bills(session)) == 1


@pytest.mark.parametrize("failpoint", [UNCOMMITTED, COMMITTED])
async def test_a_predicted_stop_is_sent_once(
    place: ChargingPlace, dsn: str, tmp_path: Path, failpoint: Failpoint
) -> None:
    session, transaction = await place.charging(await place.driver(), energy_wh=10_000)
    await place.answer()
    place.later(5)
    await place.values(transaction, 5_000)
    place.later(5.1)
    await place.frame()
    await killed(place, dsn, tmp_path, failpoint)
    await place.watch()
    assert await place.value("state", session) == "stopping"
    assert await place.answer() == ["remote_stop"]
    assert await place.steps(transaction) == [("remote_stop", None)]

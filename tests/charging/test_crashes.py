"""SIGKILL while a frame is taken or a bill corrected: nothing is left, the repeat bills once."""

import asyncio
import signal
import sys
from pathlib import Path

import pytest

from evpower import wallet
from evpower.foundation.failpoints import Failpoint
from tests.charging.place import ChargingPlace


async def killed(
    place: ChargingPlace,
    dsn: str,
    folder: Path,
    failpoint: Failpoint,
    act: str,
    transaction: int,
    wh: int,
) -> None:
    """Take a frame in a process of its own that dies at the failpoint."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.charging.crashing", str(folder), failpoint.value, dsn, act,
        str(transaction), str(wh), place.now.isoformat(),
    )  # fmt: skip
    assert await process.wait() == -signal.SIGKILL


async def test_a_crash_with_meter_values_leaves_nothing_of_them(
    place: ChargingPlace, dsn: str, tmp_path: Path
) -> None:
    _, transaction = await place.charging(await place.driver())
    place.later(1)
    await killed(place, dsn, tmp_path, Failpoint.PROGRESS_UNCOMMITTED, "values", transaction, 700)
    assert (await place.progress(transaction))["energy_wh"] == 0
    await place.values(transaction, 700)
    assert (await place.progress(transaction))["energy_wh"] == 700


@pytest.mark.parametrize("failpoint", [Failpoint.SETTLE_UNCOMMITTED, Failpoint.STOP_UNCOMMITTED])
async def test_a_crash_with_the_stop_bills_nothing_and_its_repeat_bills_once(
    place: ChargingPlace, dsn: str, tmp_path: Path, failpoint: Failpoint
) -> None:
    client = await place.driver()
    session, transaction = await place.charging(client)
    place.later(10)
    await killed(place, dsn, tmp_path, failpoint, "stop", transaction, 7_500)
    assert await place.bills(session) == []
    assert await place.held(client) == 200
    for _ in range(2):
        await place.stop(transaction, 7_500)
    assert await place.bills(session) == [(7_500, 90)]
    assert (await wallet.verify(place.db)).count == 0


async def test_a_crash_with_the_next_bill_leaves_the_first_one(
    place: ChargingPlace, dsn: str, tmp_path: Path
) -> None:
    session, transaction = await place.charging(await place.driver())
    place.later(10)
    await place.values(transaction, 7_500)
    await place.status("available")
    place.later(2)
    await place.frame()
    await place.watch()
    await killed(place, dsn, tmp_path, Failpoint.CORRECT_UNCOMMITTED, "stop", transaction, 7_800)
    assert await place.bills(session) == [(7_500, 90)]
    for _ in range(2):
        await place.stop(transaction, 7_800)
    assert await place.bills(session) == [(7_500, 90), (7_800, 93)]
    assert (await wallet.verify(place.db)).count == 0


@pytest.mark.parametrize(("wh", "som"), [(4_000, 48), (12_000, 144)])
async def test_a_crash_with_an_operators_correction_moves_nothing_and_its_repeat_moves_it_once(
    place: ChargingPlace, dsn: str, tmp_path: Path, wh: int, som: int
) -> None:
    client = await place.driver()
    session, transaction = await place.charging(client)
    place.later(30)
    await place.stop(transaction, 10_000)

    async def balance() -> int:
        return (await place.money.wallet(client))["balance_minor"] // 100

    await killed(place, dsn, tmp_path, Failpoint.CORRECT_UNCOMMITTED, "correct", transaction, wh)
    assert (await place.bills(session), await balance()) == ([(10_000, 120)], 880)
    for _ in range(2):
        await place.correct(transaction, wh)
    assert (await place.bills(session), await balance()) == (
        [(10_000, 120), (wh, som)], 1_000 - som,
    )  # fmt: skip
    assert (await wallet.verify(place.db)).count == 0

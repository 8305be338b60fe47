"""Frames on several nodes, jobs, operators and drivers at once: one bill, no deadlock."""

import asyncio

from evpower import wallet
from evpower.charging.operate import OperatorBill, correct_session
from tests.charging.place import ChargingPlace


async def test_two_nodes_bill_a_stop_once(place: ChargingPlace) -> None:
    for _ in range(5):
        session, transaction = await place.charging(await place.driver())
        place.later(10)
        await asyncio.gather(
            place.stop(transaction, 7_500), place.stop(transaction, 7_499), place.stop(-1, 7_500)
        )
        assert len(await place.bills(session)) == 1
    assert (await wallet.verify(place.db)).count == 0


async def test_whatever_comes_at_once_ends_in_one_bill(place: ChargingPlace) -> None:
    for _ in range(5):
        client = await place.driver(som=300)
        session, transaction = await place.charging(client)
        place.later(16)
        await asyncio.gather(
            place.values(transaction, 16_000),
            place.values(None, 16_000),
            place.status("suspended_ev"),
            place.status("available"),
            place.ask_to_stop(session, client),
            place.watch(),
            place.stop(transaction, 16_000),
            place.stop(transaction, 16_000),
        )
        assert await place.bills(session) == [(16_000, 192)]
    assert (await wallet.verify(place.db)).count == 0


async def test_an_operators_figure_stays_beside_a_late_stop(
    place: ChargingPlace,
) -> None:
    session, transaction = await place.charging(await place.driver())
    place.later(10)
    await place.values(transaction, 7_500)
    await place.status("available")
    place.later(2)
    await place.frame()
    await place.watch()

    async def correct() -> None:
        bill = OperatorBill(session, 7_000, None, "aida", "meter read on site")
        async with place.db.transaction() as connection:
            await correct_session(connection, bill, now=place.now)

    await asyncio.gather(correct(), place.stop(transaction, 7_800))
    # The operator's figure stays, whichever of them came first.
    assert (await place.bills(session))[-1] == (7_000, 84)
    assert (await wallet.verify(place.db)).count == 0

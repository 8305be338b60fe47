"""Values are of the charge that their id, connector and register mean."""

import pytest

from tests.charging.place import ChargingPlace
from tests.charging.test_bound_right import ONE_ID, one_charge


async def counted(place: ChargingPlace) -> list[tuple[int, int]]:
    """How many values each transaction has."""
    rows = await place.owner.fetch(
        "select transaction_id, count(*) from charging.meter_values"
        " where transaction_id is not null group by 1 order by 1"
    )
    return [tuple(row) for row in rows]


async def test_our_number_is_believed_on_a_wrong_connector(place: ChargingPlace) -> None:
    _, first = await place.charging(await place.driver())
    await one_charge(place, 2)
    place.later(1)
    await place.values(first, 300, connector=2)
    assert await counted(place) == [(first, 1)]


async def test_an_id_of_several_is_told_by_the_connector(place: ChargingPlace) -> None:
    charges = [await one_charge(place), await one_charge(place, 2)]
    place.later(1)
    for wh in (300, 400_000):  # also what its register can't have reached
        for charge in charges:
            await charge.values(wh)
    assert await counted(place) == [(charge.number, 2) for charge in charges]


@pytest.mark.parametrize("number", [None, ONE_ID])
async def test_values_of_connector_0_are_of_the_only_charge(
    place: ChargingPlace, number: int | None
) -> None:
    first = await one_charge(place)
    place.later(1)
    await place.values(number, 300, connector=0)
    assert await counted(place) == [(first.number, 1)]


async def test_values_of_connector_0_without_an_id_are_of_none_of_two(
    place: ChargingPlace,
) -> None:
    charges = [await one_charge(place), await one_charge(place, 2)]
    place.later(1)
    await place.values(None, 300, connector=0)
    assert [(await place.progress(each.number))["energy_wh"] for each in charges] == [0, 0]


@pytest.mark.parametrize(("wh", "energy_wh", "count"), [(5_100, 600, 2), (400_000, 500, 1)])
async def test_an_ended_ones_number_is_of_what_runs_there_if_its_register_can_be(
    place: ChargingPlace, wh: int, energy_wh: int, count: int
) -> None:
    _, first = await place.charging(await place.driver())
    place.later(5)
    await place.stop(first, 4_000)
    second = await one_charge(place, wh=4_500)
    place.later(1)
    await second.values(500, has_id=False)
    place.later(1)
    await place.values(first, wh)
    assert await counted(place) == [(second.number, count)]
    assert (await place.progress(second.number))["energy_wh"] == energy_wh


@pytest.mark.parametrize(("minutes", "count"), [(59, 2), (61, 1)])
async def test_values_without_an_id_may_come_for_an_hour_after_the_end(
    place: ChargingPlace, minutes: int, count: int
) -> None:
    charge = await one_charge(place)
    place.later(1)
    await charge.values(300)
    await charge.stop(300)
    place.later(minutes)
    await charge.values(301, has_id=False)
    assert await counted(place) == [(charge.number, count)]

"""A charge whose values never showed the id by which a stop comes is meant only if it waits."""

from tests.charging.place import ChargingPlace
from tests.charging.test_bound_right import one_charge


async def test_a_stop_with_the_tag_of_one_that_has_stopped_ends_the_one_that_runs(
    place: ChargingPlace,
) -> None:
    """The other one ended by its own stop, at the register of this one."""
    running, stopped = await one_charge(place), await one_charge(place, 2)
    place.later(1)
    await running.values(400)
    await stopped.values(600, has_id=False)
    place.later(1)
    await place.stop(None, 700, tag=stopped.tag)
    place.later(1)
    await running.stop(700, tag=stopped.tag)
    assert await place.bill(running.session) == ("settled", 700, 8)
    assert await place.bills(stopped.session) == [(700, 8)]


async def test_a_stop_by_our_number_is_of_no_charge_that_waits_without_an_id(
    place: ChargingPlace,
) -> None:
    """The number is of one that has stopped, and of the next one there by its values."""
    first, number = await place.charging(await place.driver())
    late = await one_charge(place, 2)
    place.later(1)
    await late.values(700, has_id=False)
    await place.stop(number, 400)
    await place.status("available", 2)
    place.later(2)
    await place.frame()
    assert await place.watch() == ["close"]
    second = await place.start(await place.driver())
    await place.begin(second, meter_wh=400)
    place.later(3)
    await place.values(number, 500)
    place.later(3)
    await place.stop(number, 700, tag=late.tag)
    assert await place.bill(second) == ("settled", 300, 3)
    assert await place.bills(late.session) == [(700, 8)]
    assert await place.bills(first) == [(400, 4)]

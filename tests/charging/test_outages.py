"""A power cut at a whole site, and mobile data that is gone while cars charge."""

from datetime import timedelta
from uuid import UUID

import pytest

from evpower import wallet
from evpower.foundation.db import Connection, Database
from tests.charging.place import ChargingPlace

CARS = 10
Charge = tuple[UUID, UUID, int]  # client, session, transaction


@pytest.fixture
async def site_of_10(db: Database, owner: Connection) -> ChargingPlace:
    place = ChargingPlace(db, owner)
    await place.build(connectors=CARS)
    return place


async def begin_all(place: ChargingPlace) -> list[Charge]:
    """Begin on every connector, each register at another number."""
    charges: list[Charge] = []
    for connector in range(1, CARS + 1):
        client = await place.driver()
        session = await place.start(client, connector)
        transaction = await place.begin(session, connector=connector, meter_wh=connector * 100_000)
        charges.append((client, session, transaction))
    return charges


async def send_values(place: ChargingPlace, charges: list[Charge], wh: int) -> None:
    for connector, (_, _, transaction) in enumerate(charges, 1):
        await place.values(transaction, connector * 100_000 + wh, connector=connector)
    await place.frame()


async def watch(place: ChargingPlace, minutes: int) -> None:
    """Let time pass as the job sees it."""
    for _ in range(minutes // 10):
        place.later(10)
        while await place.watch():
            pass


async def test_a_power_cut_of_3_hours_bills_every_car_once(site_of_10: ChargingPlace) -> None:
    place = site_of_10
    charges = await begin_all(place)
    place.later(10)
    await send_values(place, charges, 7_500)
    cut_at = place.now
    await watch(place, 180)
    for _, session, _ in charges:
        assert await place.value("state", session) == "charging"
        assert await place.value("station_lost_notified_at", session) is not None
    await place.boot()
    await place.frame()
    # Three know how it ended, three are charging again, of four nothing more is heard.
    for _, _, transaction in charges[:3]:
        number = charges.index(next(c for c in charges if c[2] == transaction)) + 1
        await place.stop(
            transaction, number * 100_000 + 7_600, reason="PowerLoss",
            time=cut_at + timedelta(seconds=10),
        )  # fmt: skip
    place.later(2)
    for number, (_, _, transaction) in enumerate(charges[3:6], 4):
        await place.values(transaction, number * 100_000 + 7_700, connector=number)
    place.later(3.1)
    await place.frame()
    while await place.watch():
        pass
    for _, session, _ in charges[:3]:
        assert await place.bills(session) == [(7_600, 91)]
        assert await place.value("ended_at", session) == cut_at + timedelta(seconds=10)
    for number, (_, session, transaction) in enumerate(charges[3:6], 4):
        assert await place.value("station_lost_notified_at", session) is None
        await place.stop(transaction, number * 100_000 + 7_700)
        assert await place.bills(session) == [(7_700, 92)]
    for client, session, _ in charges[6:]:
        assert await place.bills(session) == [(7_500, 90)]
        assert await place.value("is_estimated", session) is True
        assert await place.value("ended_at", session) == cut_at
        assert await place.held(client) == 0
    assert (await wallet.verify(place.db)).count == 0


async def test_mobile_data_gone_for_2_hours_ends_nothing(place: ChargingPlace) -> None:
    client = await place.driver(som=2_000)
    session, transaction = await place.charging(client, energy_wh=100_000)
    place.later(10)
    await place.values(transaction, 5_000)
    await place.frame()
    lost_at = place.now
    await watch(place, 120)
    assert await place.value("state", session) == "charging"
    assert await place.value("station_lost_notified_at", session) is not None
    # The queue comes at once: a value each minute, and the stop.
    for minute in range(1, 91):
        at = lost_at + timedelta(minutes=minute)
        await place.values(transaction, 5_000 + 500 * minute, time=at)
    ended_at = lost_at + timedelta(minutes=91)
    await place.stop(transaction, 50_400, reason="Local", time=ended_at)
    await place.status("available")
    await place.frame()
    await watch(place, 30)
    assert await place.bills(session) == [(50_400, 604)]
    assert await place.value("ended_at", session) == ended_at
    assert await place.value("is_estimated", session) is False
    assert await place.money.money(client) == (200_000 - 60_480, 0, 0)


async def test_mobile_data_gone_beyond_the_limit_bills_what_was_delivered(
    place: ChargingPlace,
) -> None:
    client = await place.driver(som=200)
    session, transaction = await place.charging(client)
    place.later(10)
    await place.values(transaction, 10_000, power_w=60_000)
    await watch(place, 20)
    assert await place.value("state", session) == "charging"
    await place.stop(transaction, 30_000, reason="EVDisconnected")
    assert await place.bills(session) == [(30_000, 360)]
    assert await place.money.money(client) == (0, 0, 16_000)


async def test_a_station_that_is_back_has_two_minutes_to_send_values(place: ChargingPlace) -> None:
    client = await place.driver(som=200)
    for wh in (10_500, None):
        session, transaction = await place.charging(client)
        place.later(10)
        await place.values(transaction, 10_000, power_w=60_000)
        await watch(place, 20)
        await place.frame()
        assert await place.watch() == []
        if wh is not None:
            await place.values(transaction, wh, power_w=1_000)
        place.later(2)
        await place.frame()
        await place.watch()
        expected = "charging" if wh is not None else "stopping"
        assert await place.value("state", session) == expected
        await place.stop(transaction, 10_500, reason="Local")
        payment = await place.money.payment(client, 12_600)
        await place.owner.execute("select wallet.credit($1)", payment)


async def test_a_stop_that_is_not_obeyed_is_alerted_until_the_end(place: ChargingPlace) -> None:
    session, transaction = await place.charging(await place.driver(), energy_wh=1_000)
    for wh in (1_000, 1_500, 2_000, 2_500):
        place.later(1)
        await place.values(transaction, wh)
        await place.watch()
        await place.answer()
    assert await place.alerts() == ["stop_not_obeyed"]
    assert await place.commands() == ["remote_stop"] * 2 + ["set_charging_profile"]
    await place.stop(transaction, 2_500)
    assert await place.alerts() == []
    assert await place.bills(session) == [(2_500, 30)]
    assert await place.alerts() == []


async def test_a_driver_who_stops_what_a_limit_stopped_waits_5_minutes(
    place: ChargingPlace,
) -> None:
    client = await place.driver()
    session, transaction = await place.charging(client, energy_wh=1_000)
    place.later(1)
    await place.values(transaction, 1_000)
    await place.answer()
    place.later(10)
    await place.frame()
    assert await place.watch() == ["step"]
    await place.ask_to_stop(session, client)
    place.later(5)
    await place.frame()
    await place.watch()
    assert await place.bills(session) == [(1_000, 12)]

"""A power cut at a site of 10, and mobile data gone while cars charge: on real processes.

Supabase is away all the while. The hours are those of tests/charging/test_outages.py; here the
sockets, the queues of the stations and both databases are real.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from uuid import UUID

import pytest

from evpower.simulator import SimulatedStation
from tests.flows.charging_site import (
    QUICK,
    Phone,
    Site,
    cost_minor,
    minor,
    quick_car,
    running_site,
)
from tests.folders import server_folder
from tests.waiting import until

pytestmark = [pytest.mark.xdist_group("charging"), pytest.mark.timeout(900)]
CARS = 10
POWER_KW = 600


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    with server_folder("outages") as folder:
        waits = {"EVPOWER_CHARGING_NOTIFY_LOST_AFTER_S": "2"}
        async with running_site(folder, environment=QUICK | waits) as site:
            yield site


@dataclass
class Car:
    """A car at a station, its driver, and the session."""

    station: SimulatedStation
    phone: Phone
    session_id: str = ""


async def test_all_cars_are_billed_once_whatever_is_gone(site: Site) -> None:
    names = [f"OUT-{number}" for number in range(CARS)]
    await site.add_stations(names, power_kw=POWER_KW)
    phones = await asyncio.gather(*(site.driver(som=2_000) for _ in names))
    cars = [
        Car(site.station(name, power_kw=POWER_KW), phone)
        for name, phone in zip(names, phones, strict=True)
    ]
    async with asyncio.TaskGroup() as group:
        lives = [group.create_task(car.station.run()) for car in cars]
        await _begin(cars)
        await site.evpower.stack.supabase.stop()
        await _power_cut(site, cars[:5])
        await _mobile_data_gone(site, cars[5:])
        for car in cars:
            await car.station.wait_sent()
        await site.evpower.stack.supabase.start()
        for life in lives:
            life.cancel()
    for car in cars:
        await _is_right(site, car)
    assert (await site.command("ledger", "verify"))["discrepancies"] == 0
    await until(lambda: _is_equal(site), "the two sides never were equal")


async def _begin(cars: Sequence[Car]) -> None:
    for car in cars:
        await until(lambda station=car.station: station.is_online)
        car.station.plug_in(car=quick_car())
        car.session_id = (await car.phone.start(car.station.config.id))["session_id"]
    for car in cars:
        await car.phone.charges_wh(car.session_id, 500)


async def _power_cut(site: Site, cars: Sequence[Car]) -> None:
    """Nothing ends while the power is away; each station then says how its charge ended."""
    for car in cars:
        car.station.cut_power()
    for car in cars:
        await until(lambda car=car: _is_lost(site, car), "a driver was not notified")
        assert (await car.phone.status(car.session_id))["session"]["status"] == "started"
    for car in cars:
        car.station.restore_power()
    for car in cars:
        await until(lambda car=car: car.phone.is_billed(car.session_id), "it was never billed")


async def _mobile_data_gone(site: Site, cars: Sequence[Car]) -> None:
    """The cars charge on; what was metered meanwhile comes afterwards, and counts."""
    for car in cars:
        car.station.lose_network()
    for car in cars:
        await until(lambda car=car: _is_lost(site, car), "a driver was not notified")
    before = [car.station.delivered_wh for car in cars]
    for car, wh in zip(cars, before, strict=True):
        await until(lambda car=car, wh=wh: car.station.delivered_wh > wh + 1_000)
        car.station.restore_network()
    for car in cars:
        await until(lambda car=car: _is_back(site, car), "it was never online again")
        await car.phone.stop(car.session_id)
        await until(lambda car=car: car.phone.is_billed(car.session_id), "it was never billed")


async def _is_lost(site: Site, car: Car) -> bool:
    """Whether the driver was notified."""
    [row] = await site.rows(
        "select station_lost_notified_at is not null as lost from charging.sessions where id = $1",
        UUID(car.session_id),
    )
    return row["lost"]


async def _is_back(site: Site, car: Car) -> bool:
    return not await _is_lost(site, car)


async def _is_right(site: Site, car: Car) -> None:
    [transaction] = car.station.transactions
    assert transaction.delivered_wh is not None
    status = await car.phone.status(car.session_id)
    assert round(status["energy_consumed"] * 1000) == transaction.delivered_wh
    assert minor(status["cost"]) == cost_minor(transaction.delivered_wh)
    bills = await site.rows(
        "select session_id from charging.settlements where session_id = $1", UUID(car.session_id)
    )
    assert len(bills) == 1
    balance = await car.phone.balance()
    assert (minor(balance["balance"]), balance["held"]) == (2_000_00 - minor(status["cost"]), 0)


async def _is_equal(site: Site) -> bool:
    return (await site.command("sync", "check"))["drift"] == 0

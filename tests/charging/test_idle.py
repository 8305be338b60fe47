"""Idle time, from the station's frames to the bill: grace, maximum, pauses, what a meter shows."""

import json
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from evpower.charging import session_status
from evpower.charging.history import history
from tests.charging.place import ChargingPlace, read

# 12 som a kWh; from 10 minutes after the car is done on 3 som a minute, 150 at most.
IDLE: dict[str, Any] = {
    "name": "idle",
    "elements": [{"prices": {"energy_per_kwh": "12", "parking_per_minute": "3"}}],
    "parking_grace_minutes": 10,
    "parking_maximum": "150",
}


@pytest.fixture
async def site(place: ChargingPlace) -> ChargingPlace:
    """A station that shows when a car is done; a charge that ran for 20 minutes."""
    place.later(1)
    await place.price_document(IDLE)
    await detect(place, is_detected=True)
    return place


async def detect(place: ChargingPlace, *, is_detected: bool) -> None:
    await place.owner.execute(
        "insert into stations.profiles (station_id, overrides)"
        " values ('S1', jsonb_build_object('release_detection', $1::boolean))",
        is_detected,
    )


async def charge(place: ChargingPlace, client: UUID, minutes: int = 20) -> tuple[UUID, int]:
    """Charges at 30 kW, with a value each 5 minutes: 0.5 kWh a minute."""
    session, transaction = await place.charging(client)
    await place.status("charging")
    for minute in range(5, minutes + 1, 5):
        place.later(5)
        await place.values(transaction, minute * 500)
    return session, transaction


async def parts(place: ChargingPlace, session: UUID) -> dict[str, float]:
    """The lines of a cost as its driver sees them, those of one kind together."""
    async with place.db.connection() as connection:
        view = await session_status(connection, session)
    lines: dict[str, float] = {}
    for part in view.cost_parts():
        lines[part["kind"]] = lines.get(part["kind"], 0) + part["amount"]
    assert round(sum(lines.values()) * 100) == view.cost_minor
    return lines


async def stand(place: ChargingPlace, transaction: int, register_wh: int, minutes: int) -> None:
    """The car stands and takes nothing; values come each 5 minutes."""
    for _ in range(minutes // 5):
        place.later(5)
        await place.values(transaction, register_wh)


async def test_idle_time_costs_after_its_grace_until_the_stop(site: ChargingPlace) -> None:
    session, transaction = await charge(site, await site.driver())
    await site.status("suspended_ev")
    await stand(site, transaction, 10_000, 30)
    # 20 minutes beyond the grace.
    assert await parts(site, session) == {"energy": 120, "parking": 60}
    site.later(5)
    await site.stop(transaction, 10_000, reason="EVDisconnected")
    assert await parts(site, session) == {"energy": 120, "parking": 75}
    assert await site.bill(session) == ("settled", 10_000, 195)


async def test_idle_time_ends_with_the_stop_not_when_the_cable_goes(site: ChargingPlace) -> None:
    session, transaction = await charge(site, await site.driver())
    await site.status("suspended_ev")
    site.later(12)
    await site.stop(transaction, 10_000)
    await site.status("finishing")
    site.later(300)
    await site.status("available")
    await site.watch()
    assert await site.bill(session) == ("settled", 10_000, 126)


async def test_the_history_has_the_lines_of_the_newest_bill(site: ChargingPlace) -> None:
    client = await site.driver()
    _, transaction = await charge(site, client)
    await site.status("suspended_ev")
    site.later(15)
    await site.stop(transaction, 10_000)
    async with site.db.connection() as connection:
        page = await history(connection, client, limit=5, before=None)
    [row] = json.loads(page.body)
    assert (row["total_cost"], row["cost_parts"]) == (
        135, [
            {"kind": "energy", "amount": 120, "element": 1, "price": 12, "energy_kwh": 10},
            {"kind": "parking", "amount": 15, "element": 1, "price": 180, "duration_s": 300},
        ],
    )  # fmt: skip


async def test_within_the_grace_it_is_free(site: ChargingPlace) -> None:
    session, transaction = await charge(site, await site.driver())
    await site.status("suspended_ev")
    site.later(10)
    await site.stop(transaction, 10_000)
    assert await parts(site, session) == {"energy": 120}


async def test_it_never_costs_more_than_its_maximum(site: ChargingPlace) -> None:
    session, transaction = await charge(site, await site.driver())
    await site.status("suspended_ev")
    await stand(site, transaction, 10_000, 9 * 60)
    running = await parts(site, session)
    assert running == {"energy": 120, "parking": 1590, "parking_maximum": -1440}
    await site.stop(transaction, 10_000)
    assert await site.bill(session) == ("settled", 10_000, 270)


async def test_a_pause_of_the_station_is_charging_time(site: ChargingPlace) -> None:
    session, transaction = await charge(site, await site.driver())
    await site.status("suspended_evse")
    await stand(site, transaction, 10_000, 60)
    await site.stop(transaction, 10_000)
    assert await parts(site, session) == {"energy": 120}


@pytest.mark.parametrize("status", ["charging", "suspended_evse", "faulted"])
async def test_a_status_ends_idle_time(site: ChargingPlace, status: str) -> None:
    session, transaction = await charge(site, await site.driver())
    await site.status("suspended_ev")
    site.later(15)
    await site.status(status)
    site.later(60)
    await site.stop(transaction, 10_000)
    assert await parts(site, session) == {"energy": 120, "parking": 15}


async def test_each_time_has_its_own_grace(site: ChargingPlace) -> None:
    session, transaction = await charge(site, await site.driver())
    await site.status("suspended_ev")
    site.later(15)
    await site.status("charging")
    site.later(5)
    await site.values(transaction, 11_000)
    await site.status("suspended_ev")
    site.later(12)
    await site.stop(transaction, 11_000)
    assert await parts(site, session) == {"energy": 132, "parking": 15 + 6}


async def test_the_first_value_after_the_status_has_energy_of_before(site: ChargingPlace) -> None:
    """The status comes between two values: what flowed until then is in the next one."""
    session, transaction = await charge(site, await site.driver())
    site.later(3)
    await site.status("suspended_ev")
    site.later(2)
    await site.values(transaction, 11_500)
    await stand(site, transaction, 11_500, 20)
    await site.stop(transaction, 11_500)
    # 22 minutes, 12 of them beyond the grace.
    assert await parts(site, session) == {"energy": 138, "parking": 36}


async def test_what_a_meter_shows_at_rest_is_no_charging(site: ChargingPlace) -> None:
    session, transaction = await charge(site, await site.driver())
    await site.status("suspended_ev")
    for minute in range(1, 7):
        site.later(5)
        await site.values(transaction, 10_000 + minute * 2)  # 24 W
    await site.stop(transaction, 10_012)
    assert await parts(site, session) == {"energy": 120.14, "parking": 60}


@pytest.mark.parametrize(
    ("grown_wh", "power_w", "is_idle"),
    [(15, None, True), (16, None, False), (0, 100, True), (0, 101, False)],
)
async def test_at_most_100_w_are_rest(
    site: ChargingPlace, grown_wh: int, power_w: int | None, *, is_idle: bool
) -> None:
    """15 Wh in nine minutes are 100 W."""
    _, transaction = await charge(site, await site.driver())
    await site.status("suspended_ev")
    since = site.now
    await stand(site, transaction, 10_000, 5)
    site.later(9)
    facts: dict[str, Any] = {} if power_w is None else {"power_w": power_w}
    await site.values(transaction, 10_000 + grown_wh, **facts)
    assert (await site.progress(transaction))["parked_since"] == (since if is_idle else None)


async def test_a_car_that_takes_energy_again_is_not_idle(site: ChargingPlace) -> None:
    """Also where the station does not say so: some send a status late or never."""
    session, transaction = await charge(site, await site.driver())
    await site.status("suspended_ev")
    await stand(site, transaction, 10_000, 15)
    for minute in (1, 2, 3):
        site.later(5)
        await site.values(transaction, 10_000 + minute * 500)
    await site.stop(transaction, 11_500)
    assert await parts(site, session) == {"energy": 138, "parking": 15}


async def test_power_alone_shows_that_it_charges(site: ChargingPlace) -> None:
    _, transaction = await charge(site, await site.driver())
    await site.status("suspended_ev")
    site.later(1)
    await site.values(transaction, 10_000, power_w=7_000)
    assert (await site.progress(transaction))["parked_since"] is None


async def test_a_value_from_before_that_comes_late_does_not_end_it(site: ChargingPlace) -> None:
    _, transaction = await charge(site, await site.driver())
    site.later(5)
    await site.status("suspended_ev")
    since = site.now
    await site.frames(transaction, [read(12_400, since - timedelta(minutes=1))])
    assert (await site.progress(transaction))["parked_since"] == since


async def test_a_station_that_can_not_tell_bills_no_idle_time(place: ChargingPlace) -> None:
    place.later(1)
    await place.price_document(IDLE)
    session, transaction = await charge(place, await place.driver())
    await place.status("suspended_ev")
    await stand(place, transaction, 10_000, 60)
    await place.stop(transaction, 10_000)
    assert await parts(place, session) == {"energy": 120}
    snapshot = await place.owner.fetchval(
        "select snapshot ->> 'bills_parking' from charging.session_tariffs where session_id = $1",
        session,
    )
    assert snapshot == "false"


async def test_what_a_station_can_tell_is_frozen_with_the_price(site: ChargingPlace) -> None:
    session, transaction = await charge(site, await site.driver())
    await site.owner.execute("delete from stations.profiles")
    await site.status("suspended_ev")
    site.later(20)
    await site.stop(transaction, 10_000)
    assert await parts(site, session) == {"energy": 120, "parking": 30}


async def test_an_end_that_is_not_known_ends_idle_time_at_the_last_value(
    site: ChargingPlace,
) -> None:
    session, transaction = await charge(site, await site.driver())
    await site.status("suspended_ev")
    await stand(site, transaction, 10_000, 20)
    site.later(13 * 60)
    await site.watch()
    assert await parts(site, session) == {"energy": 120, "parking": 30}
    await site.stop(transaction, 10_000, has_time=False)
    assert await parts(site, session) == {"energy": 120, "parking": 30}


async def test_a_stop_that_comes_late_bills_its_own_time(site: ChargingPlace) -> None:
    session, transaction = await charge(site, await site.driver())
    await site.status("suspended_ev")
    await stand(site, transaction, 10_000, 20)
    ended_at = site.now + timedelta(minutes=5)
    site.later(13 * 60)
    await site.watch()
    await site.stop(transaction, 10_000, time=ended_at)
    assert await parts(site, session) == {"energy": 120, "parking": 45}
    assert await site.bills(session) == [(10_000, 150), (10_000, 165)]


async def test_a_driver_sees_since_when_and_from_when_on_it_costs(site: ChargingPlace) -> None:
    session, _ = await charge(site, await site.driver())
    await site.status("suspended_ev")
    since = site.now
    async with site.db.connection() as connection:
        view = await session_status(connection, session)
    assert view.parking() == {
        "parked_since": since.isoformat().replace("+00:00", "Z"),
        "parking_fee_from": (since + timedelta(minutes=10)).isoformat().replace("+00:00", "Z"),
    }
    assert view.message_codes(site.now)[0] == "session_parking_costs"


async def test_money_that_is_used_up_by_standing_ends_the_session(site: ChargingPlace) -> None:
    """200 som on hold, 120 of them used: 80 som are 10 + 26.7 minutes of standing."""
    client = await site.driver(200)
    session, transaction = await charge(site, client)
    await site.status("suspended_ev")
    due_at = site.now + timedelta(minutes=36, seconds=40)
    await stand(site, transaction, 10_000, 35)
    assert (await site.progress(transaction))["stop_due_at"] == due_at
    site.now = due_at
    await site.frame()
    assert await site.watch() == ["stop"]
    assert (await site.session(session))["stop_reason"] == "balance_limit"


@pytest.mark.parametrize("seconds", [-110, -50, 0, 50])
async def test_a_car_that_goes_on_without_a_status_is_not_idle_by_any_clock(
    site: ChargingPlace, seconds: int
) -> None:
    """The session is placed on our clock; so is what was measured before the car stood."""
    off = timedelta(seconds=seconds)
    await site.price_document({**IDLE, "parking_grace_minutes": 0})
    session = await site.start(await site.driver())
    site.later(0.1)
    transaction = await site.begin(session, time=site.now + off)
    site.later(2)
    await site.values(transaction, 1_000, time=site.now + off)
    await site.status("suspended_ev", time=site.now + off)
    for register_wh in (1_000, 1_250, 1_500, 1_750, 2_000):
        site.later(0.5)
        await site.values(transaction, register_wh, time=site.now + off)
    assert (await parts(site, session))["parking"] == 1.5


@pytest.mark.parametrize("seconds", [-100, -50, 0, 50, 100])
async def test_a_car_that_goes_on_is_not_idle_by_values_that_come_late(
    site: ChargingPlace, seconds: int
) -> None:
    """The one before them came at once, stamped later than it was received by a clock ahead."""
    off = timedelta(seconds=seconds)
    await site.price_document({**IDLE, "parking_grace_minutes": 0})
    session = await site.start(await site.driver())
    site.later(0.1)
    transaction = await site.begin(session, time=site.now + off)
    site.later(2)
    await site.values(transaction, 1_000, time=site.now + off)
    await site.status("suspended_ev", time=site.now + off)
    site.later(0.5)
    await site.values(transaction, 1_000, time=site.now + off)
    stood_until = site.now
    site.later(60)
    for number in range(1, 5):
        at = stood_until + timedelta(minutes=number / 2)
        await site.values(transaction, 1_000 + 250 * number, time=at + off)
    assert (await parts(site, session))["parking"] == 1.5


@pytest.mark.parametrize("seconds", [-100, -50, 0, 50, 100])
async def test_energy_of_before_the_car_stood_ends_no_idle_time_after_a_late_value(
    site: ChargingPlace, seconds: int
) -> None:
    off = timedelta(seconds=seconds)
    session = await site.start(await site.driver())
    site.later(0.1)
    transaction = await site.begin(session, time=site.now + off)
    site.later(2)
    measured_at = site.now
    site.later(0.5)
    await site.status("suspended_ev", time=site.now + off)
    parked_since = (await site.progress(transaction))["parked_since"]
    site.later(5)
    await site.values(transaction, 1_000, time=measured_at + off)
    await site.values(transaction, 1_250, time=site.now + off)
    assert parked_since is not None
    assert (await site.progress(transaction))["parked_since"] == parked_since

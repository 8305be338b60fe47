"""Ids and days that are another's: they end, bill and free nothing."""

from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from evpower import charging, stations
from evpower.charging import StationReadings, StationStop, StationTime
from tests.charging.place import ChargingPlace, read
from tests.charging.site import NOON, STATION, Site
from tests.charging.test_one_shift import begin_by_card
from tests.stations.scenario import draft

OTHER = "EVP-002"
ONE_ID = 2**63 - 1  # of every transaction, as an Alfen sends it
OFFSETS = [timedelta(seconds=seconds) for seconds in (-21_600, -600, -100, 100, 600, 21_600)]


async def test_another_stations_number_ends_and_counts_nothing(site: Site) -> None:
    async with site.db.transaction() as connection:
        await stations.add_station(connection, draft(OTHER, no_auth=True), now=NOON, actor="aida")
    answer = await site.started(await site.driver())
    session_id = await site.session_of(answer.transaction_id)
    await site.wait(600)
    time = StationTime(site.now, site.now.isoformat())
    values = StationReadings(
        OTHER, 1, answer.transaction_id, None, (read(3_000, site.now),), (), site.now
    )
    stop = StationStop(
        OTHER, answer.transaction_id, None, None, Decimal(3_000), time, "Local", (), (), site.now
    )
    async with site.db.transaction() as connection:
        await charging.meter_values(connection, values, now=site.now)
        await charging.stop_transaction(connection, stop, now=site.now)
    assert await site.state(session_id) == "charging"
    assert await site.sql.fetchval("select sum(energy_wh) from charging.progress") == 0
    assert (await site.transaction(answer.transaction_id))["ended_at"] is None
    own = stop._replace(station_id=STATION)
    async with site.db.transaction() as connection:
        await charging.stop_transaction(connection, own, now=site.now)
    assert await site.state(session_id) == "settled"


async def free_reason_of(place: ChargingPlace, client: UUID) -> str | None:
    session, transaction = await place.charging(client)
    place.later(5)
    await place.stop(transaction, 400, reason="PowerLoss")
    place.later(5)
    return await place.value("free_reason", session)


@pytest.mark.parametrize(
    ("ends_as", "reason", "free"),
    [("silent", "Local", "station_fault"), ("close", "PowerLoss", None)],
    ids=["free", "not free"],
)
async def test_a_later_bill_is_free_as_the_first_one_was(
    place: ChargingPlace, ends_as: str, reason: str, free: str | None
) -> None:
    charge = await one_charge(place)
    place.later(1)
    await charge.values(300)
    at = place.now
    if ends_as == "close":
        await place.status("available")
        place.later(2)
        await place.frame()
    else:
        place.later(24 * 60)
    assert await place.watch() == [ends_as]
    await charge.stop(400, time=at, reason=reason)
    assert await place.value("free_reason", charge.session) == free
    assert await place.bills(charge.session) == [(300, 0 if free else 3), (400, 0 if free else 4)]


async def test_the_next_day_a_fault_is_free_again(place: ChargingPlace) -> None:
    client = await place.driver()
    reasons = [await free_reason_of(place, client) for _ in range(4)]
    place.later(24 * 60)
    reasons.append(await free_reason_of(place, client))
    assert reasons == ["station_fault"] * 3 + [None, "station_fault"]


async def test_a_settled_stop_sent_anew_at_the_same_time_ends_no_other_session(
    place: ChargingPlace,
) -> None:
    """It has another register, but is no later than the end that it already made."""
    _, first = await place.charging(await place.driver())
    place.later(10)
    at = place.now
    await place.stop(first, 5_000, time=at)
    place.later(1)
    second, _ = await place.charging(await place.driver(), meter_wh=5_000)
    place.later(5)
    await place.stop(first, 5_001, time=at)
    assert await place.value("state", second) == "charging"


async def two_charges(place: ChargingPlace, off: timedelta) -> tuple[int, UUID]:
    """One has ended, one runs since; the clock is off, which live values have shown."""
    first = await place.start(await place.driver())
    stopped = await place.begin(first, time=place.now + off)
    for wh in (1_000, 2_000):
        place.later(1)
        await place.values(stopped, wh, time=place.now + off)
    place.later(1)
    await place.stop(stopped, 3_000, time=place.now + off)
    place.later(0.5)
    second = await place.start(await place.driver())
    await place.begin(second, meter_wh=3_000, time=place.now + off)
    return stopped, second


@pytest.mark.parametrize("off", OFFSETS, ids=str)
async def test_a_settled_stop_sent_anew_by_a_clock_that_is_off_ends_no_other_session(
    place: ChargingPlace, off: timedelta
) -> None:
    first, second = await two_charges(place, off)
    at = place.now - timedelta(seconds=30)
    place.later(5)
    await place.stop(first, 3_001, time=at + off)
    assert await place.value("state", second) == "charging"


@pytest.mark.parametrize("off", OFFSETS, ids=str)
async def test_a_stop_by_an_id_used_before_ends_its_charge_by_a_clock_that_is_off(
    place: ChargingPlace, off: timedelta
) -> None:
    first, second = await two_charges(place, off)
    place.later(2)
    await place.stop(first, 5_000, time=place.now + off)
    assert (await place.bill(second))[:2] == ("settled", 2_000)


@pytest.mark.parametrize("is_later", [False, True])
async def test_a_used_id_is_told_by_the_line_of_a_session_that_stands_hours_early(
    place: ChargingPlace, *, is_later: bool
) -> None:
    off = timedelta(hours=-6)
    first, stopped = await begin_by_card(place, place.now + off)
    for wh in (1_000, 2_000):
        place.later(1)
        await place.values(stopped, wh, time=place.now + off)
    place.later(1)
    at = place.now
    await place.stop(stopped, 3_000, time=at + off)
    place.later(0.5)
    second = await place.start(await place.driver())
    await place.begin(second, meter_wh=3_000, time=place.now + off)
    place.later(3)
    await place.stop(stopped, 3_500, time=(place.now if is_later else at) + off)
    assert await place.value("state", first) == "settled"
    assert await place.value("state", second) == ("settled" if is_later else "charging")


@dataclass
class OneCharge:
    """A charge at a station that has one id for all of them, each by a tag of its own."""

    place: ChargingPlace
    session: UUID
    number: int
    tag: str
    connector: int
    begun_wh: int

    async def values(self, wh: int, *, has_id: bool = True) -> None:
        number = ONE_ID if has_id else None
        await self.place.values(number, self.begun_wh + wh, connector=self.connector)

    async def stop(self, wh: int | None, *, tag: str | None = None, **time: Any) -> None:
        meter_wh = None if wh is None else self.begun_wh + wh
        await self.place.stop(ONE_ID, meter_wh, tag=tag or self.tag, **time)

    async def last_wh(self) -> int:
        """The energy of its newest bill."""
        return (await self.place.bills(self.session))[-1][0]


async def one_charge(
    place: ChargingPlace, connector: int = 1, wh: int = 0, *, app_connector: int | None = None
) -> OneCharge:
    session = await place.start(await place.driver(), app_connector or connector)
    number = await place.begin(session, meter_wh=wh, connector=connector)
    tag = await place.value("id_tag", session)
    return OneCharge(place, session, number, tag, connector, wh)


async def test_a_short_charge_soon_after_one_with_its_id_ends_by_its_stop(
    place: ChargingPlace,
) -> None:
    first = await one_charge(place)
    place.later(1)
    await first.values(254)
    await first.stop(254)
    second = await one_charge(place, wh=254)
    place.later(1)
    await second.stop(600)
    assert await place.bills(first.session) == [(254, 3)]
    assert await place.bills(second.session) == [(600, 7)]


@pytest.mark.parametrize("tag", [None, "A0FFEE01"], ids=["own tag", "a staff's tag"])
@pytest.mark.parametrize("is_newest_first", [True, False])
async def test_two_late_stops_with_one_id_are_each_of_its_own_charge(
    place: ChargingPlace, tag: str | None, *, is_newest_first: bool
) -> None:
    charges = [await one_charge(place), await one_charge(place, 2, 900_000)]
    place.later(1)
    for charge in charges:
        await charge.values(600)
    place.later(1)
    at = place.now
    place.later(24 * 60)
    assert await place.watch() == ["silent"] * 2
    for charge in reversed(charges) if is_newest_first else charges:
        await charge.stop(1_000, tag=tag, time=at)
    assert [await place.bills(charge.session) for charge in charges] == [
        [(600, 7), (1_000, 12)]
    ] * 2


@pytest.mark.parametrize("ends", [True, False], ids=["the other ended too", "the other runs"])
async def test_a_late_stop_by_an_id_that_its_values_did_not_show_is_of_its_tag(
    place: ChargingPlace, *, ends: bool
) -> None:
    late = await one_charge(place)
    other = await one_charge(place, 2, 900_000)
    place.later(1)
    await late.values(600, has_id=False)
    await other.values(200)
    at = place.now
    await place.status("available")
    place.later(2)
    await place.frame()
    assert await place.watch() == ["close"]
    if ends:
        await other.stop(700)
    await late.stop(800, time=at)
    assert await place.bills(late.session) == [(600, 7), (800, 9)]
    assert await place.value("state", other.session) == ("settled" if ends else "charging")
    await other.stop(900 if not ends else 700, time=place.now if not ends else at)
    assert await other.last_wh() == (700 if ends else 900)


@pytest.mark.parametrize("has_id", [True, False])
async def test_a_late_stop_ends_nothing_elsewhere_that_has_a_nearer_register(
    place: ChargingPlace, *, has_id: bool
) -> None:
    """Both connectors count from 0, and the two charges have got about as far."""
    late, other = await one_charge(place), await one_charge(place, 2)
    place.later(1)
    await late.values(600, has_id=has_id)
    await other.values(790)
    at = place.now
    await place.status("available")
    place.later(2)
    await place.frame()
    assert await place.watch() == ["close"]
    await late.stop(800, time=at)
    assert await place.value("state", other.session) == "charging"
    assert await place.bills(late.session) == [(600, 7), (800, 9)]


async def test_a_stop_with_the_tag_of_one_that_was_stopped_elsewhere_is_of_the_one_that_runs(
    place: ChargingPlace,
) -> None:
    """The station has no clock, and has stored the tag of the last stop."""
    stopped, other = await one_charge(place), await one_charge(place, 2)
    place.later(1)
    await stopped.values(600)
    await stopped.stop(600)
    await other.values(700)
    place.later(1)
    await other.stop(800, tag=stopped.tag, has_time=False)
    assert await place.bills(stopped.session) == [(600, 7)]
    assert await place.bill(other.session) == ("settled", 800, 9)


async def test_a_late_stop_without_a_tag_ends_nothing_that_its_register_can_not_be_of(
    place: ChargingPlace,
) -> None:
    late, other = await one_charge(place), await one_charge(place, 2, 900_000)
    place.later(1)
    await late.values(600)
    await other.values(790)
    at = place.now
    await place.status("available")
    place.later(2)
    await place.frame()
    assert await place.watch() == ["close"]
    await place.stop(ONE_ID, 800, time=at)
    assert await place.value("state", other.session) == "charging"
    assert await place.bills(late.session) == [(600, 7), (800, 9)]
    await place.stop(ONE_ID, 901_000)
    assert await place.bill(other.session) == ("settled", 1_000, 12)


@pytest.mark.parametrize("has_time", [True, False])
async def test_a_stop_with_the_tag_of_the_charge_before_it_is_of_the_one_that_runs_there(
    place: ChargingPlace, *, has_time: bool
) -> None:
    """The station has stored the tag of the last charge whose stop it sent."""
    lost = await one_charge(place)
    place.later(1)
    await lost.values(600)
    second = await one_charge(place, wh=650, app_connector=2)
    place.later(2)
    await second.values(900)
    place.later(1)
    await second.stop(1_000, tag=lost.tag, has_time=has_time)
    assert await place.bill(second.session) == ("settled", 1_000, 12)
    assert await lost.last_wh() == 600


async def test_a_stop_by_the_id_of_an_estimated_end_is_of_the_one_that_runs_by_its_tag(
    place: ChargingPlace,
) -> None:
    lost = await one_charge(place)
    place.later(1)
    await lost.values(600)
    second = await one_charge(place, wh=650, app_connector=2)  # the stop before it never came
    place.later(1)
    await second.stop(500)
    assert await place.bills(lost.session) == [(600, 7)]
    assert await place.bills(second.session) == [(500, 6)]


@pytest.mark.parametrize("has_time", [True, False])
async def test_stops_that_differ_by_their_tags_are_two(
    place: ChargingPlace, *, has_time: bool
) -> None:
    """Both connectors count from 0, and a restart of the station stops both."""
    charges = [await one_charge(place, connector) for connector in (1, 2)]
    place.later(1)
    for charge in charges * 2:
        await charge.stop(700, has_time=has_time)
    assert [await place.bills(charge.session) for charge in charges] == [[(700, 8)]] * 2


@pytest.mark.parametrize(
    ("has_tag", "minutes", "ends"),
    [(False, 0, True), (True, 0, False), (False, -3, False)],
    ids=["no tag", "another's tag", "a status from before it began"],
)
async def test_an_equal_stop_without_a_clock_ends_what_is_over_by_its_own_status_and_tag(
    place: ChargingPlace, minutes: int, *, has_tag: bool, ends: bool
) -> None:
    """It began at the register of the one before, and took nothing."""
    session, first = await place.charging(await place.driver())
    place.later(1)
    await place.values(first, 254)
    tag = await place.value("id_tag", session) if has_tag else None
    await place.stop(None, 254, tag=tag, has_time=False)
    place.later(1)
    second = await one_charge(place, wh=254)
    place.later(1)
    await place.owner.execute(
        "update stations.connectors set reported_status = 'finishing', reported_at = $1"
        " where number = 1",
        place.now + timedelta(minutes=minutes),
    )
    await place.stop(None, 254, tag=tag, has_time=False)
    assert await place.value("state", second.session) == ("settled" if ends else "charging")


async def test_values_after_an_end_are_not_of_what_runs_elsewhere_by_that_id(
    place: ChargingPlace,
) -> None:
    ended, other = await one_charge(place), await one_charge(place, 2, 900_000)
    place.later(1)
    for charge in (ended, other):
        await charge.values(300)
    await ended.stop(400)
    for wh in (400, 401, 402):
        place.later(1)
        await ended.values(wh)
    of = await place.owner.fetch(
        "select transaction_id, count(*) from charging.meter_values group by 1 order by 1"
    )
    assert [tuple(row) for row in of] == [(ended.number, 4), (other.number, 1)]


async def test_values_after_an_end_are_of_the_newest_charge_of_their_connector(
    place: ChargingPlace,
) -> None:
    """Those of the newest had no id while it ran; the one before it waits for its stop."""
    lost = await one_charge(place)
    place.later(1)
    await lost.values(600)
    newest = await one_charge(place, wh=650, app_connector=2)
    place.later(1)
    await newest.stop(500)
    place.later(1)
    await newest.values(520)
    place.later(24 * 60)
    await place.watch()
    assert await place.bills(lost.session) == [(600, 7)]


async def test_what_flows_after_an_estimated_end_is_not_of_the_stopped_charge_before_it(
    place: ChargingPlace,
) -> None:
    """It is billed to the newest one, and the one before gets no limit of 0."""
    stopped = await one_charge(place)
    place.later(1)
    await stopped.values(300)
    await stopped.stop(300)
    lost = await one_charge(place, wh=300)
    place.later(24 * 60)
    assert await place.watch() == ["silent"]
    await lost.values(400)
    assert await place.steps(stopped.number) == []
    assert await place.steps(lost.number) == [("remote_stop", None)]
    place.later(24 * 60)
    await place.watch()
    assert [await place.bills(charge.session) for charge in (stopped, lost)] == [
        [(300, 3)], [(0, 0), (400, 4)],
    ]  # fmt: skip

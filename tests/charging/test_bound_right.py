"""Ids and days that are another's: they end, bill and free nothing."""

from decimal import Decimal
from uuid import UUID

from evpower import charging, stations
from evpower.charging import StationReadings, StationStop, StationTime
from tests.charging.place import ChargingPlace, read
from tests.charging.site import NOON, STATION, Site
from tests.stations.scenario import draft

OTHER = "EVP-002"


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

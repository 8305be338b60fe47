"""Stations that are lost together: at a location, or everywhere."""

from collections.abc import Sequence
from datetime import timedelta

from evpower import alerts, stations
from evpower.foundation.db import Connection, Database
from evpower.stations import Location, StationDraft
from evpower.stations.lost import WITHIN, watch_lost
from evpower.stations.model import ONLINE_FOR, ConnectorDraft
from evpower.stations.store_lost import count_online
from tests.charging.site import NOON

AWAY = timedelta(seconds=100)
FRESH = timedelta(seconds=5)
MOMENT = timedelta(microseconds=1)


async def build(db: Database, **stations_of: int) -> None:
    """Connects so many stations at each location."""
    async with db.transaction() as connection:
        for location, number in stations_of.items():
            for index in range(number):
                station = f"{location}-{index}"
                await stations.add_station(
                    connection,
                    StationDraft(
                        station,
                        Location(location, location),
                        (ConnectorDraft(1, "GBT_DC", "CABLE", "DC", 60_000, 1),),
                        no_auth=True,
                    ),
                    now=NOON,
                    actor="test",
                )
                await stations.open_connection(
                    connection, station, address="1.1.1.1", version="ocpp1.6",
                    is_authenticated=True, node="n", now=NOON - FRESH,
                )  # fmt: skip


async def lost(owner: Connection, ago: timedelta, *ids: str) -> None:
    await owner.execute(
        "update stations.sockets set last_frame_at = $2 where station_id = any ($1)",
        list(ids),
        NOON - ago,
    )


async def watched(db: Database) -> dict[str, Sequence[str]]:
    async with db.transaction() as connection:
        await watch_lost(connection, NOON)
        listed = await alerts.list_alerts(connection, kinds=["stations_lost_together"])
    return {alert.subject: alert.detail["stations"] for alert in listed}


async def test_half_of_a_location_is_an_alert_until_they_are_back(
    db: Database, owner: Connection
) -> None:
    await build(db, mall=6, park=9)
    await lost(owner, AWAY, "mall-0", "mall-1")
    assert await watched(db) == {}
    await lost(owner, AWAY, "mall-2")
    three = {"location mall": ["mall-0", "mall-1", "mall-2"]}
    assert await watched(db) == three
    await lost(owner, timedelta(hours=3), "mall-0", "mall-1", "mall-2")
    assert await watched(db) == three  # still away
    await lost(owner, FRESH, "mall-0")
    assert await watched(db) == three
    await lost(owner, FRESH, "mall-1")
    assert await watched(db) == {}


async def test_a_station_is_away_from_its_90th_second_on(db: Database, owner: Connection) -> None:
    await build(db, mall=6)
    await lost(owner, ONLINE_FOR - MOMENT, "mall-0", "mall-1", "mall-2")
    assert await watched(db) == {}
    async with db.connection() as connection:
        assert await count_online(connection, NOON - ONLINE_FOR) == (6, 0, 0)
    await lost(owner, ONLINE_FOR, "mall-0", "mall-1", "mall-2")
    three = {"location mall": ["mall-0", "mall-1", "mall-2"]}
    assert await watched(db) == three
    async with db.connection() as connection:
        assert await count_online(connection, NOON - ONLINE_FOR) == (3, 3, 0)
    await lost(owner, FRESH, "mall-0")
    assert await watched(db) == three, "two of the three are away for exactly 90 s"


async def test_stations_count_as_lost_together_for_less_than_5_minutes(
    db: Database, owner: Connection
) -> None:
    await build(db, mall=3)
    await lost(owner, ONLINE_FOR + WITHIN, "mall-0")
    await lost(owner, ONLINE_FOR + WITHIN - MOMENT, "mall-1", "mall-2")
    assert await watched(db) == {}
    await lost(owner, ONLINE_FOR + WITHIN - MOMENT, "mall-0")
    assert list(await watched(db)) == ["location mall"]


async def test_less_than_half_of_a_location_is_none(db: Database, owner: Connection) -> None:
    await build(db, mall=7)
    await lost(owner, AWAY, "mall-0", "mall-1", "mall-2")
    assert await watched(db) == {}


async def test_stations_lost_one_by_one_are_none(db: Database, owner: Connection) -> None:
    await build(db, mall=6)
    for index in range(6):
        await lost(owner, AWAY + index * timedelta(minutes=4), f"mall-{index}")
    assert await watched(db) == {}


async def test_some_of_several_locations_are_one_alert(db: Database, owner: Connection) -> None:
    await build(db, **{f"L{number}": 2 for number in range(12)})
    await lost(owner, AWAY, *(f"L{number}-0" for number in range(5)))
    assert list(await watched(db)) == ["all"]


async def test_a_few_of_many_are_none(db: Database, owner: Connection) -> None:
    await build(db, **{f"L{number}": 2 for number in range(26)})
    await lost(owner, AWAY, *(f"L{number}-0" for number in range(5)))
    assert await watched(db) == {}


async def test_retired_stations_are_not_missed(db: Database, owner: Connection) -> None:
    await build(db, mall=3)
    await lost(owner, AWAY, "mall-0", "mall-1", "mall-2")
    assert list(await watched(db)) == ["location mall"]
    await owner.execute(
        "update stations.connections set closed_at = opened_at, close_reason = 'lost'"
    )
    await owner.execute("update stations.stations set retired_at = now() where id <> 'mall-0'")
    assert await watched(db) == {}

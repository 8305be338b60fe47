"""What drivers see of a location can be put right; its id stays."""

import asyncio
import json
from decimal import Decimal
from typing import Any

import pytest

from evpower.foundation.clock import utc_now
from evpower.foundation.db import Connection, Database
from evpower.foundation.errors import EvPowerError
from evpower.stations import Location, LocationChange, add_station, change_location
from tests.stations.scenario import draft
from tests.waiting import until

PENDING = """
select count(*) from sync.pending p join sync.row_keys k on (k.topic, k.key) = (p.topic, p.key)
 where k.topic = 'location' and k.id = 'mall'
"""


@pytest.fixture(autouse=True)
async def mall(db: Database) -> None:
    for station, place in (("S1", "mall"), ("S2", "mall"), ("S3", "park")):
        location = Location(place, place.title(), "Chuy 1")
        async with db.transaction() as connection:
            added = draft(station, no_auth=True, location=location)
            await add_station(connection, added, now=utc_now(), actor="aida")


async def change(db: Database, location: str = "mall", **facts: Any) -> tuple[Location, list[str]]:
    async with db.transaction() as connection:
        changed = await change_location(
            connection, location=location, change=LocationChange(**facts), actor="aida",
            reason="moved",
        )  # fmt: skip
    return changed.location, changed.station_ids


async def test_what_is_given_changes_and_is_sent_to_supabase(
    db: Database, owner: Connection
) -> None:
    await owner.execute("delete from sync.pending")
    place: dict[str, Any] = {"latitude": Decimal("42.875500"), "longitude": Decimal("74.590200")}
    location, stations = await change(db, "Mall", name="Bishkek Park", address="", **place)
    assert location == Location("mall", "Bishkek Park", "", **place)
    assert stations == ["S1", "S2"]
    stored = await owner.fetchrow("select * from stations.locations where id = 'mall'")
    assert stored is not None
    assert (stored["name"], stored["address"]) == ("Bishkek Park", "")
    assert (stored["latitude"], stored["longitude"]) == tuple(place.values())
    assert await owner.fetchval(PENDING) == 1
    audit = await owner.fetchrow("select * from identity.audit where action = 'location.change'")
    assert audit is not None
    assert (audit["actor"], audit["subject"], audit["reason"]) == ("aida", "location:mall", "moved")
    details = json.loads(audit["details"])
    assert details["before"] == {
        "name": "Mall", "address": "Chuy 1", "latitude": None, "longitude": None,
    }  # fmt: skip
    assert details["latitude"] == "42.875500"


@pytest.mark.parametrize(
    ("location", "facts", "code"),
    [
        ("nowhere", {"name": "X"}, "location_not_found"),
        ("mall", {"name": "park"}, "location_name_taken"),
        ("mall", {"name": " "}, "location_invalid"),
        ("mall", {"name": ""}, "location_invalid"),
        ("mall", {"name": "\u3164"}, "location_invalid"),
        ("mall", {"latitude": Decimal(42)}, "location_invalid"),
        ("mall", {"country": "Kyrgyzstan"}, "location_invalid"),
        ("mall", {"time_zone": "Asia/Nowhere"}, "location_invalid"),
        ("mall", {"time_zone": "localtime"}, "location_invalid"),
    ],
)
async def test_what_can_not_be_is_refused(
    db: Database, owner: Connection, location: str, facts: dict[str, Any], code: str
) -> None:
    before = await owner.fetch("select * from stations.locations order by id")
    with pytest.raises(EvPowerError) as refused:
        await change(db, location, **facts)
    assert refused.value.code == code
    assert await owner.fetch("select * from stations.locations order by id") == before


async def test_its_own_name_may_be_written_in_other_letters(db: Database) -> None:
    assert (await change(db, "mall", name="MALL"))[0].name == "MALL"


async def test_what_was_stored_before_it_was_judged_may_stay(
    db: Database, owner: Connection
) -> None:
    await owner.execute(
        "update stations.locations set time_zone = 'localtime', name = U&'\\200b' where id = 'mall'"
    )
    changed, _ = await change(db, "mall", address="Chuy 2")
    assert (changed.time_zone, changed.name) == ("localtime", "\u200b")
    assert (await change(db, "mall", name="Osh"))[0].time_zone == "localtime"
    assert (await change(db, "mall", time_zone="Asia/Almaty"))[0].time_zone == "Asia/Almaty"


async def test_its_id_may_be_its_name_again(db: Database) -> None:
    await change(db, "mall", name="Bishkek Park")
    assert (await change(db, "bishkek park", name="mall"))[0] == Location("mall", "mall", "Chuy 1")


async def test_of_two_who_give_one_name_at_once_the_second_is_refused(
    db: Database, owner: Connection
) -> None:
    async def waits() -> bool:
        return await owner.fetchval(
            "select exists (select from pg_stat_activity where datname = current_database()"
            " and wait_event_type = 'Lock')"
        )

    async with db.transaction() as connection:
        await change_location(
            connection, location="mall", change=LocationChange(name="Osh"), actor="aida"
        )
        second = asyncio.create_task(change(db, "park", name="osh"))
        await until(waits)
    with pytest.raises(EvPowerError) as refused:
        await second
    assert refused.value.code == "location_name_taken"

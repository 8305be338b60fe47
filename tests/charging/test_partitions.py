"""Meter values stand in a partition for each day, made ahead and dropped after 400 days."""

from datetime import timedelta
from typing import Any

from evpower import tariffs
from evpower.charging import preview_session
from evpower.charging.partitions import keep_meter_values
from evpower.foundation.db import Connection
from tests.charging.place import NOON, ChargingPlace

BY_THE_HOUR: dict[str, Any] = {
    "name": "by the hour",
    "elements": [
        {"prices": {"energy_per_kwh": "10"}, "if": {"to": "12:10", "from": "06:00"}},
        {"prices": {"energy_per_kwh": "15"}},
    ],
}


async def partitions(owner: Connection) -> list[str]:
    rows = await owner.fetch(
        "select c.relname::text as name from pg_inherits i join pg_class c on c.oid = i.inhrelid"
        " where i.inhparent = 'charging.meter_values'::regclass order by 1"
    )
    return [row["name"].removeprefix("meter_values_") for row in rows]


async def keep(place: ChargingPlace) -> list[tuple[str, str]]:
    async with place.db.transaction() as connection:
        return await keep_meter_values(connection, place.now)


async def test_a_week_is_made_ahead_and_again_nothing(place: ChargingPlace) -> None:
    made = await keep(place)
    assert [outcome for outcome, _ in made] == ["made"] * 8
    assert await partitions(place.owner) == [
        *(f"{NOON + timedelta(days=day):%Y%m%d}" for day in range(8)), "default",
    ]  # fmt: skip
    assert await keep(place) == []


async def test_values_go_to_their_day(place: ChargingPlace) -> None:
    await keep(place)
    await place.values(None, 700)
    place = await place.owner.fetchval("select tableoid::regclass::text from charging.meter_values")
    assert place == "charging.meter_values_20260308"


async def test_a_day_is_dropped_after_400_days(place: ChargingPlace) -> None:
    await keep(place)
    place.now += timedelta(days=400)
    assert "dropped" not in {outcome for outcome, _ in await keep(place)}
    place.now += timedelta(days=1)
    assert ("dropped", "2026-03-08") in await keep(place)
    assert "20260308" not in await partitions(place.owner)


async def test_values_without_a_partition_get_one_and_are_alerted_once(
    place: ChargingPlace,
) -> None:
    await place.values(None, 700)
    place.now += timedelta(days=1)
    await place.values(None, 800)
    outcomes = await keep(place)
    assert [day for outcome, day in outcomes if outcome == "moved"] == ["2026-03-08", "2026-03-09"]
    stored = await place.owner.fetch(
        "select tableoid::regclass::text as place, energy_wh from charging.meter_values order by 2"
    )
    assert [tuple(row) for row in stored] == [
        ("charging.meter_values_20260308", 700),
        ("charging.meter_values_20260309", 800),
    ]
    assert await place.alerts() == ["partition_missing"]
    await keep(place)
    assert await place.alerts() == []


async def test_values_without_a_partition_are_deleted_after_400_days(place: ChargingPlace) -> None:
    await place.values(None, 700)
    place.now += timedelta(days=401)
    await keep(place)
    assert await place.owner.fetchval("select count(*) from charging.meter_values") == 0


async def test_a_partition_has_the_indexes_of_its_table(place: ChargingPlace) -> None:
    await keep(place)
    indexes = await place.owner.fetchval(
        "select count(*) from pg_indexes where tablename = 'meter_values_20260308'"
    )
    assert indexes == 1


async def test_values_of_a_session_in_quarantine_are_copied_before_their_day_is_dropped(
    place: ChargingPlace,
) -> None:
    await keep(place)
    sessions = {}
    for connector in (1, 2):
        session = await place.start(await place.driver(), connector)
        transaction = await place.begin(session, connector=connector)
        await place.values(transaction, 0, connector=connector)
        sessions[connector] = session
    await place.owner.execute(
        "update charging.sessions set quarantined_at = now(), quarantine_reason = 'a jump'"
        " where id = $1",
        sessions[1],
    )
    place.now += timedelta(days=401)
    for _ in range(2):
        await keep(place)
    rows = await place.owner.fetch(
        "select session_id, energy_wh from charging.quarantined_meter_values"
    )
    assert [tuple(row) for row in rows] == [(sessions[1], 0)]
    assert await place.owner.fetchval("select count(*) from charging.meter_values") == 0


async def test_what_was_copied_still_prices_a_session(place: ChargingPlace) -> None:
    """The operator's decision may come when the day of the session is dropped."""
    async with place.db.transaction() as connection:
        saved = await tariffs.save(
            connection, plan="next", document=BY_THE_HOUR, valid_from=None, now=place.now, actor="a"
        )
    other = tariffs.snapshot_of(saved.version)
    await keep(place)
    session = await place.start(await place.driver(), 1)
    transaction = await place.begin(session)
    for minute, wh in ((5, 8_000), (15, 9_000)):
        place.now = NOON + timedelta(minutes=minute)
        await place.values(transaction, wh)
    await place.stop(transaction, 10_000)
    await place.owner.execute(
        "update charging.sessions set quarantined_at = now(), quarantine_reason = 'a jump'"
        " where id = $1",
        session,
    )
    costs = []
    for days in (0, 401):
        place.now += timedelta(days=days)
        await keep(place)
        async with place.db.connection() as connection:
            bill = await preview_session(connection, session, other)
        costs.append((bill.cost_minor, bill.is_even))
    assert costs == [costs[0]] * 2
    assert costs[0][1] is False

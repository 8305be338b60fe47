"""Stations and tariffs in the tables of an older backend, which phones read."""

import json
from collections.abc import AsyncGenerator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from uuid import uuid4

import httpx
import pytest

from evpower import stations, tariffs
from evpower.cli.sync_report import facts_text
from evpower.config import Settings
from evpower.foundation.db import Connection, Database
from evpower.stations import StatusReport, Touch
from evpower.sync import Relay, check, status
from evpower.sync.outbound import old_rows, store_first, store_rows
from evpower.sync.outbound.old_row import OldRow
from evpower.sync.outbound.old_rows import plan_key, read_rows
from evpower.sync.outbound.presence import Presence
from tests.charging.site import Site
from tests.conftest import Server
from tests.stations.scenario import MALL, Operator
from tests.sync.conftest import rpc_to
from tests.sync.old_backend import OldBackend, old_backend_project, switch
from tests.sync.scenario import Scenario, Target

NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)
DOCUMENT: dict[str, Any] = {
    "name": "Day and night",
    "elements": [
        {"prices": {"energy_per_kwh": "9.5"}, "if": {"from": "23:00", "to": "07:00"}},
        {
            "prices": {"energy_per_kwh": "13.5", "time_per_hour": "60", "flat": "5"},
            "if": {"days": [1, 2, 3, 4, 5]},
        },
        {"prices": {"energy_per_kwh": "12", "time_per_hour": "0", "flat": "0"}},
    ],
}
FREE_TIME = {"prices": {"time_per_hour": "0"}}
CONSTANT = {"prices": {"energy_per_kwh": "13.5"}}


@pytest.fixture(scope="session")
async def project(server: Server) -> AsyncGenerator[Target]:
    async with old_backend_project(server, "supabase_rows") as target:
        async with target.psql() as there:
            await switch(there, enable=True)
        yield target


@pytest.fixture
async def there(project: Target) -> AsyncGenerator[Connection]:
    async with project.psql() as connection:
        await connection.execute("delete from public.charging_sessions")
        await connection.execute("delete from public.transactions")
        await connection.execute("delete from public.clients")
        yield connection


@pytest.fixture
def relay(
    db: Database, http: httpx.AsyncClient, project: Target, settings: Settings,
    there: Connection,  # noqa: ARG001 - empties the project first
) -> Relay:  # fmt: skip
    return Relay(db, rpc_to(http, project), settings, lambda: NOW)


@pytest.fixture
def station_id() -> str:
    """One of its own for each test: rows of stations stay in the project."""
    return f"CHR-{uuid4().hex[:8]}"


async def price(db: Database, station_id: str, document: dict[str, Any] = DOCUMENT) -> str:
    """Saves a plan and assigns it to a station; returns its code."""
    plan = station_id.lower()
    async with db.transaction() as connection:
        begins = NOW - timedelta(days=9)  # a reconciliation prices by the real clock
        await tariffs.save(
            connection, plan=plan, document=document, valid_from=begins, now=begins, actor="aida"
        )
        await tariffs.assign(
            connection, scope="station", scope_id=station_id, plan=plan, valid_from=begins,
            now=begins, actor="aida",
        )  # fmt: skip
    return plan


async def row(there: Connection, table: str, **match: Any) -> dict[str, Any]:
    (name, value), *more = match.items()
    listed = await there.fetch(
        f"select to_jsonb(t)::text as row from public.{table} t where {name}::text = $1",
        str(value),
    )
    rows = [json.loads(entry["row"]) for entry in listed]
    [matching] = [entry for entry in rows if all(entry[key] == wanted for key, wanted in more)]
    return matching


async def test_a_new_station_is_shown_with_its_location_connectors_and_price(
    operator: Operator, db: Database, relay: Relay, there: Connection, station_id: str
) -> None:
    location = replace(MALL, id=f"loc-{station_id}", name=f"Mall {station_id}")
    await operator.add(station_id, location=location)
    plan = await price(db, station_id)
    done = await relay.drain()
    assert done.refused == 0
    shown = await row(there, "locations", id=location.id)
    assert (shown["name"], shown["city"], shown["user_id"]) == (location.name, "Bishkek", "u-1")
    assert (shown["stations_count"], shown["connectors_count"]) == (1, 2)
    assert (shown["latitude"], shown["longitude"]) == (42.8746, 74.5698)
    station = await row(there, "stations", id=station_id)
    assert (station["location_id"], station["user_id"], station["status"]) == (
        location.id, "u-1", "active",
    )  # fmt: skip
    assert (station["serial_number"], station["power_capacity"]) == (station_id, 22)
    assert station["connector_types"] == ["Type 2"]
    # Tuesday, 18:00 in Bishkek.
    assert (station["price_per_kwh"], station["session_fee"], station["currency"]) == (
        13.5, 5, "KGS",
    )  # fmt: skip
    assert station["tariff_plan_id"] == str(plan_key(plan))
    assert (station["is_available"], station["last_heartbeat_at"]) == (False, None)
    connector = await row(there, "connectors", station_id=station_id, connector_number=2)
    assert (connector["status"], connector["power_kw"], connector["connector_type"]) == (
        "unavailable", 22, "Type 2",
    )  # fmt: skip


async def test_a_tariff_is_a_plan_with_a_rule_for_each_set_of_conditions(
    db: Database, operator: Operator, relay: Relay, there: Connection, station_id: str
) -> None:
    await operator.add(station_id)
    plan = await price(db, station_id)
    await relay.drain()
    shown = await row(there, "tariff_plans", id=plan_key(plan))
    assert (shown["name"], shown["is_active"]) == ("Day and night", True)
    rules = await there.fetch(
        "select * from public.tariff_rules where tariff_plan_id = $1 and is_active"
        " order by priority desc",
        str(plan_key(plan)),
    )
    assert [
        (str(rule["tariff_type"]), float(rule["price"]), float(rule["price_per_minute"] or 0),
         float(rule["session_fee"] or 0), str(rule["time_start"]), str(rule["time_end"]),
         rule["days_of_week"])
        for rule in rules
    ] == [
        ("per_kwh", 13.5, 1, 5, "07:00:00", "22:59:59", [1, 2, 3, 4, 5]),
        ("per_kwh", 12, 0, 0, "07:00:00", "22:59:59", [6, 7]),
        ("per_kwh", 9.5, 1, 5, "00:00:00", "06:59:59", [1, 2, 3, 4, 5]),
        ("per_kwh", 9.5, 1, 5, "23:00:00", "23:59:59", [1, 2, 3, 4, 5]),
        ("per_kwh", 9.5, 0, 0, "00:00:00", "06:59:59", [6, 7]),
        ("per_kwh", 9.5, 0, 0, "23:00:00", "23:59:59", [6, 7]),
        ("per_kwh", 13.5, 1, 5, "None", "None", None),
        ("per_minute", 1, 0, 0, "None", "None", [1, 2, 3, 4, 5]),
        ("per_minute", 0, 0, 0, "None", "None", [6, 7]),
        ("per_minute", 1, 0, 0, "None", "None", None),
        ("session_fee", 5, 0, 0, "None", "None", [1, 2, 3, 4, 5]),
        ("session_fee", 0, 0, 0, "None", "None", [6, 7]),
        ("session_fee", 5, 0, 0, "None", "None", None),
    ]  # fmt: skip
    assert {rule["is_weekend"] for rule in rules} == {None}
    await there.execute(
        "alter table public.tariff_rules"
        " alter is_weekend type boolean using coalesce(is_weekend, false),"
        " alter is_weekend set not null"
    )
    await price(
        db, station_id, {"name": "Flat", "elements": [{"prices": {"energy_per_kwh": "11"}}]}
    )
    await relay.drain()
    [rule] = await there.fetch(
        "select price from public.tariff_rules where tariff_plan_id = $1 and is_active",
        str(plan_key(plan)),
    )
    assert float(rule["price"]) == 11
    await there.execute("alter table public.tariff_rules alter is_weekend drop not null")
    assert (await row(there, "stations", id=station_id))["price_per_kwh"] == 11


async def test_a_station_shows_the_highest_price_of_its_connectors_until_it_is_sent_again(
    operator: Operator, db: Database, relay: Relay, there: Connection, station_id: str
) -> None:
    await operator.add(station_id)
    dear = {"prices": {"energy_per_kwh": "20"}, "if": {"from": "18:09", "to": "19:00"}}
    far = {"prices": {"energy_per_kwh": "30"}, "if": {"from": "18:10", "to": "19:00"}}
    for number, elements in enumerate(
        ([{"prices": {"energy_per_kwh": "14", "flat": "5"}}], [dear, far, CONSTANT]), 1
    ):
        plan, begins = f"{station_id}-{number}".lower(), NOW - timedelta(days=9)
        async with db.transaction() as connection:
            await tariffs.save(
                connection, plan=plan, document={"name": plan, "elements": elements},
                valid_from=begins, now=begins, actor="aida",
            )  # fmt: skip
            await tariffs.assign(
                connection, scope="connector", scope_id=f"{station_id}/{number}", plan=plan,
                valid_from=begins, now=begins, actor="aida",
            )  # fmt: skip
    await relay.drain()
    station = await row(there, "stations", id=station_id)  # it is 18:00 in Bishkek
    assert (station["price_per_kwh"], station["session_fee"]) == (20, 5)
    assert station["tariff_plan_id"] == str(plan_key(f"{station_id}-2".lower()))


async def test_a_station_that_was_there_keeps_what_describes_it(
    db: Database, relay: Relay, there: Connection
) -> None:
    async with db.transaction() as connection:
        await stations.add_station(
            connection,
            stations.StationDraft(
                "CHR-BGK-001",
                stations.Location("loc-1", "Old Mall", "Chui 1"),
                (stations.usual_connector(1, 22_000),),
                no_auth=True,
            ),
            now=NOW,
            actor="aida",
        )
    document = {"name": "One", "elements": [{"prices": {"energy_per_kwh": "14"}}]}
    await price(db, "CHR-BGK-001", document)
    await relay.drain()
    station = await row(there, "stations", id="CHR-BGK-001")
    assert (station["model"], station["manufacturer"], station["connector_types"]) == (
        "AC 22", "Star", ["Type2"],
    )  # fmt: skip
    assert (station["user_id"], station["serial_number"]) == ("u-2", "SN-1")
    assert station["price_per_kwh"] == 14
    location = await row(there, "locations", id="loc-1")
    assert (location["country"], location["user_id"]) == ("Кыргызстан", "u-2")


async def test_what_a_station_reports_is_shown(
    operator: Operator, db: Database, relay: Relay, there: Connection, station_id: str
) -> None:
    await operator.add(station_id)
    async with db.transaction() as connection:
        opened = await stations.open_connection(
            connection, station_id, address="a", version="ocpp1.6", is_authenticated=True,
            node="n", now=NOW,
        )  # fmt: skip
        await stations.touch(connection, [Touch(station_id, opened.epoch, NOW)])
        for number, status in ((1, "preparing"), (2, "available")):
            await stations.report_status(
                connection,
                StatusReport(station_id, number, status, None, None, NOW, None, NOW),
            )
    await relay.drain()
    station = await row(there, "stations", id=station_id)
    assert station["is_available"] is True
    assert datetime.fromisoformat(station["last_heartbeat_at"]) == NOW
    for number, status in ((1, "occupied"), (2, "available")):
        shown = await row(there, "connectors", station_id=station_id, connector_number=number)
        assert shown["status"] == status
    await operator.retire(station_id)
    await relay.drain()
    station = await row(there, "stations", id=station_id)
    assert (station["status"], station["is_available"]) == ("inactive", False)


async def test_a_station_goes_before_its_session(
    operator: Operator, relay: Relay, scenario: Scenario, there: Connection, station_id: str,
    owner: Connection,
) -> None:  # fmt: skip
    await operator.add(station_id)
    client = await scenario.client()
    await scenario.top_up(client, 100_000)
    session = await scenario.session(client, station=station_id)
    await owner.execute(  # the session and its client alone are claimed
        "update sync.pending set next_at = now() + interval '1 hour'"
        " where topic not in ('client', 'session')"
    )
    done = await relay.drain()
    assert done.refused == 0
    shown = await row(there, "charging_sessions", id=session)
    assert shown["station_id"] == station_id


async def test_a_session_waits_for_a_station_that_another_call_is_writing(
    operator: Operator, db: Database, relay: Relay, scenario: Scenario, there: Connection,
    project: Target, station_id: str,
) -> None:  # fmt: skip
    await operator.add(station_id)
    session = await scenario.session(await scenario.client(), station=station_id, cost_minor=0)
    payload = json.dumps({"rows": [await station_payload(db, station_id)]})
    async with project.psql() as other:
        transaction = other.transaction()
        await transaction.start()
        await other.fetchval("select public.evpower_apply($1)::text", payload)
        assert (await relay.drain()).refused == 0
        reasons = await scenario.db.fetch(
            "select topic, last_error from sync.pending where topic in ('session', 'station')"
        )
        assert {row["topic"]: row["last_error"] for row in reasons} == {
            "session": "Supabase lacks its station",
            "station": "busy: another transaction is in its way",
        }
        await transaction.commit()
    await scenario.db.execute("update sync.pending set next_at = now()")
    assert (await relay.drain()).refused == 0
    assert (await row(there, "charging_sessions", id=session))["station_id"] == station_id
    assert await scenario.pending() == 0


async def test_a_station_that_supabase_lost_is_sent_for_its_session(
    operator: Operator, relay: Relay, scenario: Scenario, there: Connection, station_id: str
) -> None:
    await operator.add(station_id)
    await relay.drain()
    await switch(there, enable=False)
    await there.execute("delete from public.connectors where station_id = $1", station_id)
    await there.execute("delete from public.stations where id = $1", station_id)
    await switch(there, enable=True)
    session = await scenario.session(await scenario.client(), station=station_id, cost_minor=0)
    assert (await relay.drain()).refused == 0
    assert (await row(there, "charging_sessions", id=session))["station_id"] == station_id
    assert await scenario.pending() == 0


@pytest.mark.parametrize("is_known", [True, False])
async def test_a_session_is_parked_if_its_station_can_not_come(
    operator: Operator, relay: Relay, scenario: Scenario, there: Connection, station_id: str,
    is_known: bool,  # noqa: FBT001
) -> None:  # fmt: skip
    if is_known:
        await there.execute(
            "alter table public.stations add constraint few check (id not like 'CHR-%-x')"
        )
        station_id += "-x"
        await operator.add(station_id)
        assert (await relay.drain()).refused == 1
    session = await scenario.session(await scenario.client(), station=station_id, cost_minor=0)
    try:
        assert (await relay.drain()).refused == 1
    finally:
        await there.execute("alter table public.stations drop constraint if exists few")
    parked = await scenario.db.fetchrow(
        "select key, last_error from sync.pending where parked_at is not null and topic = 'session'"
    )
    assert parked is not None
    assert tuple(parked) == (session, "23503: Supabase refuses its station, or EvPower has none")


async def test_a_station_that_is_to_be_sent_is_not_enqueued_for_each_of_its_sessions(
    operator: Operator, relay: Relay, scenario: Scenario, station_id: str
) -> None:
    """Else it would have changed in each call that refuses it, and never be parked."""
    await operator.add(station_id)
    session = await scenario.session(await scenario.client(), station=station_id, cost_minor=0)
    await relay.drain()
    entries = "select count(*), sum(generation) from sync.pending where topic = 'station'"

    async def enqueued() -> tuple[object, ...]:
        assert await store_first.enqueue_stations_of(scenario.db, [session]) == set()
        row = await scenario.db.fetchrow(entries)
        assert row is not None
        return tuple(row)

    first = await enqueued()
    assert first[0] == 1
    assert await enqueued() == first


async def station_payload(db: Database, station_id: str) -> dict[str, object]:
    """A station as evpower_apply takes it."""
    async with db.connection() as connection:
        keys = await connection.fetch("select key from sync.row_keys where id = $1", station_id)
        ids = await store_rows.ids_of(connection, [row["key"] for row in keys])
        [station] = await read_rows(connection, ids, NOW)
    return station.payload(1)


async def test_a_tariff_is_read_once_for_all_its_connectors(
    operator: Operator, db: Database, monkeypatch: pytest.MonkeyPatch, station_id: str
) -> None:
    await operator.add(station_id)
    await price(db, station_id)
    read: list[tariffs.Tariff] = []

    def counted(tariff: tariffs.Tariff) -> tariffs.RateCard:
        read.append(tariff)
        return tariffs.RateCard(tariff)

    monkeypatch.setattr(old_rows, "RateCard", counted)
    payload = await station_payload(db, station_id)
    assert json.dumps(payload).count("connector_number") == 2
    assert len(read) == 1


async def test_a_late_write_changes_nothing(
    operator: Operator, db: Database, relay: Relay, there: Connection, station_id: str
) -> None:
    await operator.add(station_id)
    await relay.drain()
    async with db.connection() as connection:
        keys = await connection.fetch("select key from sync.row_keys where id = $1", station_id)
        ids = await store_rows.ids_of(connection, [row["key"] for row in keys])
        [station] = await read_rows(connection, ids, NOW)
    station.writes[-3]["always"]["status"] = "maintenance"
    answers: list[str] = []
    for number, force in ((1, False), (1, True)):
        payload = json.dumps({"rows": [station.payload(number, force=force)]})
        answer = await there.fetchval("select public.evpower_apply($1)::text", payload)
        answers.append(json.loads(answer)["keys"][0][2])
        shown = await row(there, "stations", id=station_id)
        assert shown["status"] == ("maintenance" if force else "active")
    assert answers == ["stale", "applied"]


async def test_a_row_that_the_project_refuses_is_parked_and_the_others_go(
    operator: Operator,
    db: Database,
    relay: Relay,
    there: Connection,
    station_id: str,
    owner: Connection,
) -> None:
    await there.execute("alter table public.connectors add constraint few check (power_kw < 100)")
    connectors = (stations.usual_connector(1, 150_000),)
    await operator.add(station_id, connectors=connectors)
    await operator.add(f"{station_id}-2")
    try:
        assert (await relay.drain()).refused == 1
    finally:
        await there.execute("alter table public.connectors drop constraint few")
    assert await there.fetchval(
        "select array_agg(id order by id) from public.stations where id like $1", f"{station_id}%"
    ) == [f"{station_id}-2"]
    parked = await owner.fetchrow(
        "select p.topic, k.id, p.last_error from sync.pending p join sync.row_keys k using (key)"
        " where p.parked_at is not null"
    )
    assert parked is not None
    assert (parked["topic"], parked["id"]) == ("station", station_id)
    assert parked["last_error"].startswith("23514")
    async with db.connection() as connection:
        [listed] = (await status(connection)).parked_keys
    assert (listed.topic, listed.key) == ("station", station_id)


async def test_a_project_without_the_tables_takes_it_for_done(
    operator: Operator, relay_fresh: Relay, scenario: Scenario, station_id: str
) -> None:
    await operator.add(station_id)
    done = await relay_fresh.drain()
    assert (done.refused, await scenario.pending()) == (0, 0)


async def test_progress_is_due_after_a_minute_and_a_state_at_once(
    db: Database, owner: Connection, relay_fresh: Relay, there_fresh: Connection
) -> None:
    site = Site(db, owner)
    await site.open()
    answer = await site.started(await site.driver())
    session = await site.session_of(answer.transaction_id)
    await relay_fresh.drain()

    async def due_s() -> float | None:
        due = await owner.fetchval(
            "select extract(epoch from next_at - now()) from sync.pending where key = $1", session
        )
        return due and float(due)

    async def shown() -> tuple[str, float, float]:
        row = await there_fresh.fetchrow(
            "select status, energy, amount from public.charging_sessions where id = $1", session
        )
        assert row is not None
        return row["status"], float(row["energy"]), float(row["amount"])

    assert await due_s() is None
    assert await shown() == ("started", 0, 0)
    for energy_wh in (100, 200):
        await owner.execute(
            "update charging.progress set energy_wh = $1, cost_minor = $1,"
            " revision = revision + 1 where session_id = $2",
            energy_wh,
            session,
        )
        due = await due_s()
        assert due is not None
        assert 50 < due <= 60
    assert (await relay_fresh.drain()).keys == 0
    await owner.execute("update sync.pending set next_at = now() where key = $1", session)
    await relay_fresh.drain()
    assert await shown() == ("started", 0.2, 2)
    await owner.execute(
        "update charging.progress set energy_wh = 300, revision = revision + 1"
        " where session_id = $1",
        session,
    )
    await owner.execute(
        "update charging.sessions set vehicle_plate = '01KG' where id = $1", session
    )
    due = await due_s()
    assert due is not None
    assert due <= 0
    await relay_fresh.drain()
    assert await shown() == ("started", 0.3, 2)


@pytest.mark.parametrize(("limit_minor", "shown_som"), [(10_000, 100), (None, 110.6)])
async def test_progress_is_shown_up_to_the_amount_that_limits_it(
    db: Database, owner: Connection, relay_fresh: Relay, there_fresh: Connection,
    limit_minor: int | None, shown_som: float,
) -> None:  # fmt: skip
    site = Site(db, owner)
    await site.open()
    answer = await site.started(await site.driver(), amount_minor=limit_minor)
    session = await site.session_of(answer.transaction_id)
    await owner.execute(
        "update charging.progress set energy_wh = 7900, cost_minor = 11060,"
        " revision = revision + 1 where session_id = $1",
        session,
    )
    await owner.execute("update sync.pending set next_at = now() where key = $1", session)
    await relay_fresh.drain()
    amount = "select amount::float8 from public.charging_sessions where id = $1"
    assert await there_fresh.fetchval(amount, session) == shown_som


async def test_stations_are_refreshed_while_online_and_once_after(
    operator: Operator, db: Database, owner: Connection, station_id: str
) -> None:
    await operator.add(station_id)
    async with db.transaction() as connection:
        await stations.open_connection(
            connection, station_id, address="a", version="ocpp1.6", is_authenticated=True,
            node="n", now=NOW,
        )  # fmt: skip
    now = [NOW]
    presence = Presence(db, lambda: now[0])

    async def round_at(seconds: int) -> bool:
        await owner.execute("delete from sync.pending")
        now[0] = NOW + timedelta(seconds=seconds)
        await presence.refresh()
        return await owner.fetchval("select exists (select from sync.pending)")

    assert [await round_at(seconds) for seconds in (1, 120, 240, 360)] == [
        True, True, False, False,
    ]  # fmt: skip
    begins = NOW + timedelta(seconds=400)
    async with db.transaction() as connection:
        await tariffs.save(
            connection, plan="later", document=DOCUMENT, valid_from=begins, now=NOW, actor="aida"
        )
    assert [await round_at(seconds) for seconds in (399, 400, 520)] == [True, True, False]


async def test_a_reconciliation_finds_and_repairs_what_differs(
    operator: Operator, db: Database, relay: Relay, there: Connection, station_id: str,
    project: Target, http: httpx.AsyncClient,
) -> None:  # fmt: skip
    rpc = rpc_to(http, project)
    await operator.add(station_id)
    plan = await price(db, station_id, {"name": "One", "elements": [CONSTANT]})
    await relay.drain()
    equal = await check(db, rpc)
    assert (equal.equal, equal.differ) == (True, 0)
    await switch(there, enable=False)  # as the older backend, or an owner in psql
    await there.execute(
        "update public.stations set price_per_kwh = 1, is_available = true where id = $1",
        station_id,
    )
    await there.execute("delete from public.connectors where station_id = $1", station_id)
    await there.execute(
        "update public.tariff_rules set price = 1 where tariff_plan_id = $1", str(plan_key(plan))
    )
    assert (await check(db, rpc)).differ == 0  # its tables, as long as the guard is disabled
    await switch(there, enable=True)
    differing = await check(db, rpc)
    by_title = {drift.title: drift for drift in differing.drift}
    assert set(by_title) == {f"station {station_id}", f"tariff {plan}"}
    station, tariff = by_title[f"station {station_id}"], by_title[f"tariff {plan}"]
    assert station.action == "differs in an older backend's table stations, connectors"
    there_facts = facts_text(station.theirs, station.fields)
    assert f"stations {station_id} price per kwh 1" in there_facts
    assert f"connectors {station_id}/2 status no row" in there_facts
    assert f"stations {station_id} price per kwh 13.5" in facts_text(station.ours, station.fields)
    assert facts_text(tariff.theirs, tariff.fields) == "price 1"
    repaired = await check(db, rpc, repair=True, deliver=relay.drain)
    assert (repaired.differ, repaired.closed, repaired.equal) == (2, 2, True)
    assert (await row(there, "stations", id=station_id))["price_per_kwh"] == 13.5
    assert (
        await there.fetchval(
            "select count(*) from public.connectors where station_id = $1", station_id
        )
        == 2
    )


async def test_rules_that_are_others_since_midnight_are_no_difference_until_they_are_sent(
    db: Database, station_id: str
) -> None:
    """They are too many for the hours until the first feast is over for two days."""
    hours = [
        {"prices": {"time_per_hour": str(60 * hour)}, "if": {"from": f"0{hour}:00", "to": "12:00"}}
        for hour in (2, 1)
    ]
    feasts = [
        {"prices": {"energy_per_kwh": str(20 + number)}, "if": {
            "from_date": (NOW.date() + timedelta(days=2 * number)).isoformat(),
            "to_date": (NOW.date() + timedelta(days=2 * number + 1)).isoformat(),
        }} for number in range(34)
    ]  # fmt: skip
    document = {"name": "Feasts", "elements": [*feasts, *hours, CONSTANT, FREE_TIME]}
    plan = await price(db, station_id, document)

    async def read_at(now: datetime) -> OldRow:
        async with db.connection() as connection:
            ids = await store_rows.ids_of(connection, [plan_key(plan)])
            [tariff] = await read_rows(connection, ids, now)
        return tariff

    def compared_tables(tariff: OldRow) -> set[str]:
        writes = cast("list[dict[str, Any]]", tariff.compared()["writes"])
        return {write["table"] for write in writes}

    over = datetime(2026, 12, 3, 18, tzinfo=UTC)  # midnight in Bishkek
    before, late, after = [
        await read_at(over + timedelta(minutes=minutes)) for minutes in (-1, 0, 20)
    ]
    assert len(before.writes) < len(late.writes) == len(after.writes) == 202
    assert [compared_tables(tariff) for tariff in (before, late, after)] == [
        {"tariff_plans", "tariff_rules"}, {"tariff_plans"}, {"tariff_plans", "tariff_rules"},
    ]  # fmt: skip


async def test_a_change_under_way_is_no_difference(
    operator: Operator, db: Database, relay: Relay, station_id: str, project: Target,
    http: httpx.AsyncClient,
) -> None:  # fmt: skip
    await operator.add(station_id)
    assert relay  # it does not run

    async def no_pause(_: float) -> None: ...

    result = await check(db, rpc_to(http, project), pause=no_pause)
    assert result.differ == 0
    assert result.in_flight in {1, 2}  # the station, and its location unless another test sent it


# What the app's revisions ask Supabase for, as PostgREST takes it.
LOCATIONS = (
    "locations?select=id,name,address,city,country,latitude,longitude,status&status=eq.active"
)
STATIONS = (
    "stations?select=id,serial_number,model,manufacturer,location_id,power_capacity,connector_types,"
    "status,connectors_count,price_per_kwh,session_fee,currency,is_available,last_heartbeat_at"
)
CONNECTORS = "connectors?select=connector_number,connector_type,power_kw,status,error_code"
PRICE = "stations?select=price_per_kwh,session_fee,currency,tariff_plan_id,location_id"
RULES = "tariff_rules?select=*&is_active=eq.true&order=priority.desc"
HISTORY = (
    "charging_sessions?select=*,stations(model,locations(name,address))"
    "&order=created_at.desc&limit=20"
)


async def test_the_apps_queries_are_answered_before_the_switch_and_after_it(
    operator: Operator, db: Database, relay: Relay, scenario: Scenario, there: Connection,
    station_id: str, project: Target, http: httpx.AsyncClient,
) -> None:  # fmt: skip
    client = await scenario.client()
    keys = {"apikey": project.local.publishable_key}

    async def ask(query: str, *, as_service: bool = False) -> list[dict[str, Any]]:
        headers = {"apikey": project.local.secret_key} if as_service else keys
        answer = await http.get(f"{project.local.url}/rest/v1/{query}", headers=headers)
        assert answer.status_code == 200, answer.text
        return answer.json()

    await switch(there, enable=False)
    old = OldBackend(there)
    await old.sign_up(str(client))
    await there.execute(
        "insert into public.charging_sessions (user_id, station_id, energy, amount, status)"
        " values ($1, 'CHR-BGK-001', 10, 135, 'stopped')",
        str(client),
    )
    before = await ask(f"{HISTORY}&user_id=eq.{client}", as_service=True)
    assert [entry["stations"]["locations"]["name"] for entry in before] == ["Old Mall"]
    assert await ask(f"{PRICE}&serial_number=eq.SN-1")

    await switch(there, enable=True)
    location = replace(MALL, id=f"loc-{station_id}", name=f"Mall {station_id}")
    await operator.add(station_id, location=location)
    plan = await price(db, station_id)
    await scenario.top_up(client, 100_000)
    await scenario.session(client, station=station_id)
    await relay.drain()
    [shown] = await ask(f"{LOCATIONS}&id=eq.{location.id}")
    assert shown["latitude"] == 42.8746
    [station] = await ask(f"{STATIONS}&location_id=eq.{location.id}")
    assert (station["id"], station["price_per_kwh"]) == (station_id, 13.5)
    assert len(await ask(f"{CONNECTORS}&station_id=eq.{station_id}")) == 2
    [priced] = await ask(f"{PRICE}&serial_number=eq.{station_id}")
    rules = await ask(f"{RULES}&tariff_plan_id=eq.{priced['tariff_plan_id']}")
    assert priced["tariff_plan_id"] == str(plan_key(plan))
    energy = [rule["price"] for rule in rules if rule["tariff_type"] == "per_kwh"]
    assert energy == [13.5, 12, 9.5, 9.5, 9.5, 9.5, 13.5]
    after = await ask(f"{HISTORY}&user_id=eq.{client}", as_service=True)
    assert {entry["stations"]["locations"]["name"] for entry in after} == {
        "Old Mall", location.name,
    }  # fmt: skip
    assert await ask(f"{HISTORY}&user_id=eq.{client}") == []  # anon never reads sessions


async def test_only_what_is_shown_makes_an_entry(
    operator: Operator, db: Database, owner: Connection, station_id: str
) -> None:
    await operator.add(station_id)

    async def entries() -> list[str]:
        rows = await owner.fetch("select topic from sync.pending order by topic")
        await owner.execute("delete from sync.pending")
        return [row["topic"] for row in rows]

    async def report(status: str, second: int) -> None:
        at = NOW + timedelta(seconds=second)
        async with db.transaction() as connection:
            await stations.report_status(
                connection, StatusReport(station_id, 1, status, None, None, at, None, at)
            )

    assert await entries() == ["location", "station"]
    await report("available", 0)
    assert await entries() == ["station"]
    await report("available", 1)
    assert await entries() == []
    async with db.transaction() as connection:
        await stations.report_boot(
            connection, station_id, vendor="v", model="m", firmware="f", now=NOW
        )
    assert await entries() == ["station"]
    await operator.retire(station_id)
    assert await entries() == ["location", "station"]

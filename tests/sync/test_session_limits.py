"""Columns of an older backend for a session's limit: written, compared, never taken away."""

from uuid import UUID, uuid4

import httpx
import pytest

from evpower.foundation.db import Connection, Database
from evpower.sync import Relay, SupabaseRpc, check
from evpower.sync.reconciliation.digests import Digests
from tests.sync.conftest import rpc_to
from tests.sync.scenario import STATION, Scenario, Target

Limit = tuple[str | None, float | None]
_SHOWN = (
    "select limit_type::text, limit_value::float8 from public.charging_sessions where id::text = $1"
)
_BY_HAND = "update public.charging_sessions set limit_type = 'amount', limit_value = 7.5"


async def started_session(
    scenario: Scenario,
    *,
    energy_wh: int | None = None,
    amount_minor: int | None = None,
    soc_percent: int | None = None,
) -> UUID:
    """A session begun here; its start failed, so that it needs no transaction."""
    session = uuid4()
    await scenario.db.execute(
        "insert into charging.sessions (id, client_id, station_id, connector_id, state, source,"
        " started_by, start_failure, limit_energy_wh, limit_amount_minor, limit_soc_percent)"
        " values ($1, $2, $3, 1, 'failed', 'evpower', 'card', 'fault', $4, $5, $6)",
        session, await scenario.client(), STATION, energy_wh, amount_minor, soc_percent,
    )  # fmt: skip
    return session


async def shown(there: Connection, session: UUID) -> Limit:
    row = await there.fetchrow(_SHOWN, str(session))
    assert row is not None
    return row[0], row[1]


async def sent_again(scenario: Scenario, session: UUID) -> None:
    """Enqueues a session, to be written whatever Supabase has."""
    await scenario.db.execute(
        "insert into sync.pending (topic, key, force) values ('session', $1, true)", session
    )


async def differing_sessions(db: Database, rpc: SupabaseRpc) -> dict[str, tuple[str, ...]]:
    result = await check(db, rpc)
    return {drift.key: drift.fields for drift in result.drift if drift.topic == "session"}


WITH_COLUMNS = pytest.mark.parametrize("target", ["older_project"], indirect=True)


@WITH_COLUMNS
@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({"energy_wh": 20_500}, ("energy", 20.5)),
        ({"amount_minor": 15_050}, ("amount", 150.5)),
        ({"energy_wh": 20_501, "amount_minor": 15_050}, ("energy", 20.501)),
        ({"soc_percent": 80}, ("none", None)),
        ({}, ("none", None)),
    ],
)
async def test_the_limit_of_a_session_begun_here_is_written(
    there: Connection,
    scenario: Scenario,
    relay: Relay,
    limits: dict[str, int],
    expected: Limit,
) -> None:
    session = await started_session(scenario, **limits)
    await relay.drain()
    assert await shown(there, session) == expected


@WITH_COLUMNS
async def test_a_session_of_an_unknown_limit_keeps_what_supabase_has(
    there: Connection, scenario: Scenario, relay: Relay
) -> None:
    imported = await scenario.session(await scenario.client(), charge=False)
    await relay.drain()
    assert await shown(there, imported) == ("none", None)
    await there.execute(_BY_HAND)
    await sent_again(scenario, imported)
    assert (await relay.drain()).keys == 1
    assert await shown(there, imported) == ("amount", 7.5)


@WITH_COLUMNS
async def test_a_limit_changed_by_hand_is_found_and_repaired_where_evpower_knows_it(
    there: Connection,
    scenario: Scenario,
    relay: Relay,
    target: Target,
    db: Database,
    http: httpx.AsyncClient,
) -> None:
    imported = await scenario.session(await scenario.client(), charge=False)
    limited = await started_session(scenario, energy_wh=20_501)
    unlimited = await started_session(scenario)
    await relay.drain()
    rpc = rpc_to(http, target)
    assert not await differing_sessions(db, rpc)
    await there.execute(_BY_HAND)
    both = ("limit_type", "limit_value")
    assert await differing_sessions(db, rpc) == {str(limited): both, str(unlimited): both}
    await check(db, rpc, repair=True, deliver=relay.drain)
    assert [await shown(there, key) for key in (limited, unlimited, imported)] == [
        ("energy", 20.501), ("none", 0), ("amount", 7.5),
    ]  # fmt: skip
    assert not await differing_sessions(db, rpc)


async def test_a_project_without_the_columns_gets_none_and_agrees(
    there_fresh: Connection,
    scenario: Scenario,
    relay_fresh: Relay,
    fresh_project: Target,
    db: Database,
    http: httpx.AsyncClient,
) -> None:
    session = await started_session(scenario, energy_wh=20_500)
    await relay_fresh.drain()
    row = await there_fresh.fetchrow(
        "select to_jsonb(s) ? 'limit_type' as is_there from public.charging_sessions s"
        " where id = $1",
        session,
    )
    assert row is not None
    assert not row["is_there"]
    assert not await differing_sessions(db, rpc_to(http, fresh_project))


@WITH_COLUMNS
@pytest.mark.parametrize(
    "column",
    [
        "limit_type int",
        "limit_type varchar(4)",
        "limit_type text generated always as ('none') stored",
        "limit_type public.session_status",
    ],
)
async def test_columns_that_hold_something_else_are_left_alone(
    there: Connection, column: str
) -> None:
    undone = there.transaction()
    await undone.start()
    assert await there.fetchval("select evpower.session_limits()")
    await there.execute(
        "alter table public.charging_sessions rename limit_type to before;"
        f"alter table public.charging_sessions add {column}"
    )
    assert not await there.fetchval("select evpower.session_limits()")
    await undone.rollback()


async def test_columns_added_later_are_written_and_removed_ones_break_nothing(
    there_fresh: Connection, scenario: Scenario, relay_fresh: Relay, fresh_project: Target,
    db: Database, http: httpx.AsyncClient,
) -> None:  # fmt: skip
    await there_fresh.execute(
        "alter table public.charging_sessions add limit_type text, add limit_value numeric(10, 2)"
    )
    digests = Digests(db, rpc_to(http, fresh_project))
    try:
        session = await started_session(scenario, energy_wh=20_125)
        await relay_fresh.drain()
        assert await shown(there_fresh, session) == ("energy", 20.13)
        theirs = await digests.theirs("session", [str(session)])
        assert theirs == await digests.ours("session", [session])
    finally:
        await there_fresh.execute(
            "alter table public.charging_sessions drop limit_type, drop limit_value"
        )
    await sent_again(scenario, session)
    assert (await relay_fresh.drain()).keys == 1
    theirs = await digests.theirs("session", [str(session)])
    assert theirs == await digests.ours("session", [session])

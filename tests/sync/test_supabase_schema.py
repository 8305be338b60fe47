"""What EvPower installs in Supabase: in both shapes, twice the same, money out of reach."""

import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest

from evpower.devstack import children
from evpower.devstack.stack import supabase_migrations
from evpower.devstack.supabase.server import SERVER_DIR, node_binary
from evpower.foundation.db import Connection
from tests.conftest import Server
from tests.sync.projects import AUTH_UID, bare_project
from tests.sync.scenario import Target, balance, versions
from tests.waiting import COMMAND_S, WAIT_LIMIT_S

DENIED = {401, 403}


async def test_every_migration_may_be_applied_again(there: Connection) -> None:
    async def shape() -> list[str]:
        rows = await there.fetch(
            "select format('%s.%s %s', table_name, column_name, udt_name) as line"
            " from information_schema.columns"
            " where table_schema in ('public', 'evpower')"
            " union all select format('%s on %s: %s', policyname, tablename, qual) from pg_policies"
            " union all select indexdef from pg_indexes where schemaname = 'public'"
            " union all select format('%s %s %s', grantee, table_name, privilege_type)"
            "   from information_schema.role_table_grants where table_schema = 'public' order by 1"
        )
        return [row["line"] for row in rows]

    before = await shape()
    for path in sorted(supabase_migrations().glob("*.sql")):
        await there.execute(path.read_text())
    assert await shape() == before


async def test_older_rows_stay_as_they_were(older_project: Target) -> None:
    async with older_project.psql() as connection:
        await older_project.empty(connection)
        await connection.execute(
            "insert into public.clients (id, name) values ('client_007', 'Old');"
            "insert into public.charging_sessions (id, user_id, station_id, energy, amount)"
            " values ('old-1', 'client_007', 'CHR-BGK-001', 12.5, 168.75)"
        )
        for path in sorted(supabase_migrations().glob("*.sql")):
            await connection.execute(path.read_text())
        row = await connection.fetchrow("select * from public.charging_sessions")
        assert row is not None
        assert (row["energy"], row["amount"], row["status"], row["revision"]) == (
            12.5,
            168.75,
            "started",
            None,
        )


@pytest.fixture
async def driver(
    target: Target,
    there: Connection,  # noqa: ARG001 - empties the project first
) -> AsyncGenerator[tuple[UUID, httpx.AsyncClient]]:
    """A driver who signed up in the app, and the app's client with the driver's token."""
    headers = {"apikey": target.local.publishable_key}
    async with httpx.AsyncClient(
        base_url=target.local.url, headers=headers, timeout=WAIT_LIMIT_S
    ) as app:
        email = f"{uuid4().hex}@example.kg"
        answer = await app.post("/auth/v1/signup", json={"email": email, "password": "secret12"})
        session = answer.json()
        app.headers["Authorization"] = f"Bearer {session['access_token']}"
        yield UUID(session["user"]["id"]), app


async def _apply(
    there: Connection, **payload: Sequence[Mapping[str, object]]
) -> list[list[object]]:
    answer = await there.fetchval("select public.evpower_apply($1::jsonb)", json.dumps(payload))
    return json.loads(answer)["keys"]


def _client(key: UUID, **more: object) -> dict[str, object]:
    return {
        "id": str(key),
        "email": None,
        "phone": None,
        "name": "Aida",
        "status": "active",
        "currency": "KGS",
        "balance": "100.00",
        "held": "0.00",
        "balance_version": 1,
        "wallet_revision": 1,
        "revision": 1,
        "from_version": 0,
        "created_at": "2026-11-22T10:00:00+00:00",
        "updated_at": "2026-11-22T10:00:00+00:00",
        **more,
    }


def _transaction(client: UUID, version: int = 1, **more: object) -> dict[str, object]:
    return {
        "id": str(uuid4()),
        "client_id": str(client),
        "version": version,
        "type": "topup",
        "amount": "100.00",
        "balance_before": f"{(version - 1) * 100}.00",
        "balance_after": f"{version * 100}.00",
        "invoice_id": "inv-1",
        "session_id": None,
        "event_at": "2026-11-22T10:00:00+00:00",
        "created_at": "2026-11-22T10:00:00+00:00",
        **more,
    }


async def test_driver_reads_the_own_rows_only(
    driver: tuple[UUID, httpx.AsyncClient], there: Connection
) -> None:
    me, app = driver
    other = uuid4()
    await _apply(
        there,
        clients=[_client(me), _client(other)],
        transactions=[_transaction(me), _transaction(other)],
        sessions=[_session(uuid4(), me), _session(uuid4(), other)],
    )
    for path, owner in (
        ("clients", "id"),
        ("transactions", "client_id"),
        ("charging_sessions", "user_id"),
    ):
        rows = (await app.get(f"/rest/v1/{path}?select={owner}")).json()
        assert rows == [{owner: str(me)}]


def _session(key: UUID, client: UUID, **more: object) -> dict[str, object]:
    return {
        "id": str(key),
        "user_id": str(client),
        "client_id": str(client),
        "station_id": "CHR-BGK-001",
        "connector_id": 1,
        "start_time": "2026-11-22T10:00:00+00:00",
        "stop_time": None,
        "end_time": None,
        "energy": "1.500",
        "energy_consumed": "1.500",
        "amount": "20.25",
        "total_cost": "20.25",
        "status": "started",
        "revision": 1,
        "created_at": "2026-11-22T10:00:00+00:00",
        "updated_at": "2026-11-22T10:00:00+00:00",
        **more,
    }


async def test_driver_cannot_write_money(
    driver: tuple[UUID, httpx.AsyncClient], there: Connection
) -> None:
    me, app = driver
    await _apply(
        there,
        clients=[_client(me)],
        transactions=[_transaction(me)],
        sessions=[_session(uuid4(), me)],
    )
    own_row = f"/rest/v1/clients?id=eq.{me}"
    for change in ({"balance": 1e6}, {"held": 1}, {"balance_version": 9}, {"status": "blocked"}):
        assert (await app.patch(own_row, json=change)).status_code in DENIED
    written = {**_transaction(me, 2), "id": str(uuid4())}
    assert (await app.post("/rest/v1/transactions", json=written)).status_code in DENIED
    assert (await app.patch("/rest/v1/transactions", json={"amount": 5})).status_code in DENIED
    assert (await app.delete("/rest/v1/transactions")).status_code in DENIED
    assert (await app.delete(own_row)).status_code in DENIED
    made = _session(uuid4(), me)
    assert (await app.post("/rest/v1/charging_sessions", json=made)).status_code in DENIED
    assert (await app.patch("/rest/v1/charging_sessions", json={"amount": 0})).status_code in DENIED
    for function in ("evpower_apply", "evpower_digest"):
        answer = await app.post(f"/rest/v1/rpc/{function}", json={"payload": {"topic": "clients"}})
        assert answer.status_code in {*DENIED, 404}
    assert await balance(there, me) == "100.00"
    assert await versions(there, me) == [1]


@pytest.mark.parametrize("right", ["truncate", "delete", "references", "trigger"])
async def test_apps_have_no_right_that_no_policy_limits(there: Connection, right: str) -> None:
    allowed = await there.fetch(
        "select role, relation from unnest(array['anon', 'authenticated']) role,"
        " unnest(array['public.clients', 'public.transactions', 'public.charging_sessions'])"
        "  relation where has_table_privilege(role, relation, $1)",
        right,
    )
    assert allowed == []


async def test_driver_changes_the_own_profile_only(
    driver: tuple[UUID, httpx.AsyncClient], there: Connection
) -> None:
    me, app = driver
    other = uuid4()
    await _apply(there, clients=[_client(me), _client(other)])
    for key in (me, other):
        assert (
            await app.patch(f"/rest/v1/clients?id=eq.{key}", json={"name": "New"})
        ).status_code < 300
    names = {
        row["id"]: row["name"]
        for row in await there.fetch("select id::text, name from public.clients")
    }
    assert names == {str(me): "New", str(other): "Aida"}


async def test_app_makes_its_own_row_without_money(
    driver: tuple[UUID, httpx.AsyncClient], there: Connection
) -> None:
    me, app = driver
    assert (
        await app.post("/rest/v1/clients", json={"id": str(me), "balance": 500})
    ).status_code in DENIED
    assert (
        await app.post("/rest/v1/clients", json={"id": str(uuid4()), "balance": 0})
    ).status_code in DENIED
    assert (
        await app.post("/rest/v1/clients", json={"id": str(me), "balance": 0})
    ).status_code < 300
    assert await balance(there, me) == "0.00"


async def test_supabase_js_upserts_the_own_profile_and_nothing_else(
    target: Target, there: Connection
) -> None:
    script = [node_binary(), Path(__file__).parent / "upsert.mjs"]
    done = await children.run(
        [*script, target.local.url, target.local.publishable_key, SERVER_DIR], timeout_s=COMMAND_S
    )
    assert done.returncode == 0, done.stdout
    output = json.loads(done.stdout.splitlines()[-1])
    assert (output["first"], output["again"]) == ("done", "done")
    assert (output["other"], output["money"], output["moved"]) == ("42501", "42501", "42501")
    rows = await there.fetch("select id::text, name from public.clients")
    assert [tuple(row) for row in rows] == [(output["id"], "Bermet")]


async def test_a_wider_policy_of_the_project_moves_no_row_to_another_id(
    there: Connection, driver: tuple[UUID, httpx.AsyncClient]
) -> None:
    """Policies add up: one that lets the old and the new row pass would let an id be changed."""
    me, app = driver
    await _apply(there, clients=[_client(me)])
    await there.execute(
        "create policy wide on public.clients for all to authenticated using (true)"
    )
    try:
        answer = await app.patch(f"/rest/v1/clients?id=eq.{me}", json={"id": str(uuid4())})
        assert answer.status_code in DENIED
        assert await balance(there, me) == "100.00"
    finally:
        await there.execute("drop policy wide on public.clients")


async def test_app_without_a_token_reads_and_writes_nothing(
    target: Target, there: Connection
) -> None:
    client = uuid4()
    await _apply(there, clients=[_client(client)], transactions=[_transaction(client)])
    headers = {"apikey": target.local.publishable_key}
    async with httpx.AsyncClient(
        base_url=target.local.url, headers=headers, timeout=WAIT_LIMIT_S
    ) as app:
        for table in ("clients", "transactions", "charging_sessions"):
            answer = await app.get(f"/rest/v1/{table}")
            assert answer.status_code in DENIED or answer.json() == []
        assert (await app.patch("/rest/v1/clients", json={"name": "x"})).status_code in DENIED
        answer = await app.post("/rest/v1/rpc/evpower_apply", json={"payload": {}})
        assert answer.status_code in {*DENIED, 404}


# What evpower_apply alone sets: money, and what orders it.
MONEY = ["balance", "held", "balance_version", "wallet_revision", "evpower_revision"]


@pytest.mark.parametrize("column", MONEY)
async def test_owner_cannot_set_money_by_a_bare_update(there: Connection, column: str) -> None:
    client = uuid4()
    await _apply(there, clients=[_client(client)])
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="set by EvPower alone"):
        await there.execute(f"update public.clients set {column} = 77")
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="set by EvPower alone"):
        await there.execute(f"insert into public.clients (id, {column}) values ('{uuid4()}', 77)")
    await there.execute("update public.clients set name = 'Renamed'")


@pytest.mark.parametrize("column", MONEY)
async def test_secret_key_alone_cannot_set_money(
    target: Target, there: Connection, column: str
) -> None:
    client = uuid4()
    await _apply(there, clients=[_client(client)])
    row = "select to_jsonb(c) from public.clients c"
    before = await there.fetchval(row)
    headers = {"apikey": target.local.secret_key}
    async with httpx.AsyncClient(
        base_url=target.local.url, headers=headers, timeout=WAIT_LIMIT_S
    ) as server:
        changed = await server.patch(f"/rest/v1/clients?id=eq.{client}", json={column: 9})
        made = await server.post("/rest/v1/clients", json={"id": str(uuid4()), column: 9})
    assert {changed.status_code, made.status_code} <= set(DENIED)
    assert [stored[0] for stored in await there.fetch(row)] == [before]


class TestApply:
    """evpower_apply by itself."""

    async def test_a_late_figure_of_a_session_does_not_replace_a_newer_one(
        self, there: Connection
    ) -> None:
        client, session = uuid4(), uuid4()
        await _apply(there, clients=[_client(client)])
        corrected = _session(session, client, revision=5, amount="18.00", total_cost="18.00")
        for figure, outcome in (
            (corrected, "applied"), (corrected, "stale"), (_session(session, client), "stale"),
            (_session(session, client, force=True), "applied"),
        ):  # fmt: skip
            keys = await _apply(there, sessions=[figure])
            assert keys == [["session", str(session), outcome, None]]
            shown = await there.fetchval(
                "select round(total_cost::numeric, 2)::text from public.charging_sessions"
            )
            assert shown == ("20.25" if "force" in figure else "18.00")

    async def test_repeated_and_reordered_calls_change_nothing(self, there: Connection) -> None:
        client = uuid4()
        first = {"clients": [_client(client)], "transactions": [_transaction(client)]}
        second = {
            "clients": [
                _client(client, balance="200.00", balance_version=2, from_version=1, revision=2)
            ],
            "transactions": [_transaction(client, 2)],
        }
        assert await _apply(there, **first) == [["client", str(client), "applied", None]]
        assert await _apply(there, **second) == [["client", str(client), "applied", None]]
        for late in (first, second, first):
            assert await _apply(there, **late) == [["client", str(client), "stale", None]]
        assert await balance(there, client) == "200.00"
        assert await versions(there, client) == [1, 2]

    async def test_lower_hold_revision_does_not_bring_back_held(self, there: Connection) -> None:
        client = uuid4()
        await _apply(there, clients=[_client(client, held="30.00", wallet_revision=3, revision=5)])
        await _apply(there, clients=[_client(client, held="10.00", wallet_revision=2, revision=6)])
        assert await there.fetchval("select held from public.clients") == 30

    async def test_argument_as_json_text_is_read(self, there: Connection) -> None:
        client = uuid4()
        text = json.dumps(json.dumps({"clients": [_client(client)]}))
        await there.fetchval("select public.evpower_apply($1::jsonb)", text)
        assert await balance(there, client) == "100.00"

    async def test_missing_transactions_are_a_gap(self, there: Connection) -> None:
        client = uuid4()
        late = _client(client, balance_version=5, from_version=4)
        answer = await _apply(there, clients=[late], transactions=[_transaction(client, 5)])
        assert answer == [["client", str(client), "gap", 0]]
        assert await there.fetchval("select count(*) from public.clients") == 0
        assert await versions(there, client) == []

    async def test_one_bad_key_does_not_hold_up_the_others(self, there: Connection) -> None:
        good, bad = uuid4(), uuid4()
        answer = await _apply(
            there,
            clients=[_client(good), _client(bad, balance="a lot")],
            transactions=[_transaction(good), _transaction(bad)],
            sessions=[_session(uuid4(), good), _session(uuid4(), good, status="dancing")],
        )
        outcomes = sorted((str(topic), str(outcome)) for topic, _, outcome, _ in answer)
        assert outcomes == [
            ("client", "applied"),
            ("client", "refused"),
            ("session", "applied"),
            ("session", "refused"),
        ]
        assert all(why for _, _, outcome, why in answer if outcome == "refused")
        assert await balance(there, good) == "100.00"
        assert await versions(there, bad) == []

    async def test_a_forged_transaction_does_not_count_as_ours(self, there: Connection) -> None:
        client = uuid4()
        await _apply(
            there, clients=[_client(client)], transactions=[_transaction(client, amount="1.00")]
        )
        answer = await _apply(
            there,
            clients=[_client(client, revision=2, balance_version=2)],
            transactions=[_transaction(client), _transaction(client, 2)],
        )
        assert answer[0][2] == "refused"
        assert await versions(there, client) == [1]
        answer = await _apply(
            there,
            clients=[_client(client, revision=3, balance_version=2, force=True)],
            transactions=[_transaction(client), _transaction(client, 2)],
        )
        assert answer[0][2] == "applied"
        assert await there.fetchval("select sum(amount) from public.transactions") == 200

    async def test_force_writes_over_a_newer_row(self, there: Connection) -> None:
        client = uuid4()
        await _apply(there, clients=[_client(client, balance_version=9)])
        await _apply(there, clients=[_client(client, balance="1.00")])
        assert await balance(there, client) == "100.00"
        await _apply(there, clients=[_client(client, balance="1.00", force=True)])
        assert await balance(there, client) == "1.00"

    async def test_profile_of_a_known_client_is_supabases(self, there: Connection) -> None:
        client = uuid4()
        await _apply(there, clients=[_client(client)])
        await there.execute("update public.clients set name = 'Renamed'")
        await _apply(there, clients=[_client(client, revision=2, name="Stale")])
        assert await there.fetchval("select name from public.clients") == "Renamed"

    async def test_client_on_the_way_out_is_not_made_active(self, there: Connection) -> None:
        client = uuid4()
        await _apply(there, clients=[_client(client)])
        await there.execute("update public.clients set status = 'inactive'")
        await _apply(there, clients=[_client(client, revision=2)])
        assert await there.fetchval("select status::text from public.clients") == "inactive"
        await _apply(there, clients=[_client(client, revision=3, status="blocked")])
        await _apply(there, clients=[_client(client, revision=4, status="active")])
        assert await there.fetchval("select status::text from public.clients") == "inactive"

    @pytest.mark.parametrize("blocked_by", ["evpower", "hand"])
    async def test_a_deletion_request_withdrawn_under_a_block_does_not_return(
        self, there: Connection, blocked_by: str
    ) -> None:
        client = uuid4()
        await _apply(there, clients=[_client(client)])
        await there.execute("update public.clients set status = 'inactive'")
        await _apply(there, clients=[_client(client, revision=2, status="blocked")])
        await there.execute("update public.clients set status = 'active'")
        if blocked_by == "hand":
            await there.execute("update public.clients set status = 'blocked'")
        await _apply(there, clients=[_client(client, revision=3, status="blocked")])
        await _apply(there, clients=[_client(client, revision=4, status="active")])
        assert await there.fetchval("select status::text from public.clients") == "active"

    async def test_older_and_newer_columns_say_the_same(self, there: Connection) -> None:
        client, session = uuid4(), uuid4()
        await _apply(there, clients=[_client(client)], sessions=[_session(session, client)])
        row = await there.fetchrow("select * from public.charging_sessions")
        assert row is not None
        assert str(row["user_id"]) == str(row["client_id"]) == str(client)
        assert float(row["energy"]) == float(row["energy_consumed"]) == 1.5
        assert float(row["amount"]) == float(row["total_cost"]) == 20.25

    async def test_a_session_makes_no_row_of_its_client(self, there: Connection) -> None:
        client, session, other = uuid4(), uuid4(), uuid4()
        results = await _apply(
            there,
            clients=[_client(other)],
            sessions=[_session(session, client), _session(uuid4(), other)],
        )
        assert {result[2] for result in results} == {"applied", "orphan"}
        assert [result[1] for result in results if result[2] == "orphan"] == [str(session)]
        assert await there.fetchval("select count(*) from public.clients") == 1
        assert await there.fetchval("select count(*) from public.charging_sessions") == 1

    @pytest.mark.parametrize("stands", ["active", "inactive", "pending_deletion"])
    async def test_a_request_for_deletion_is_stated_here(
        self, there: Connection, stands: str
    ) -> None:
        client = uuid4()
        await _apply(there, clients=[_client(client)])
        await there.execute(f"update public.clients set status = '{stands}'")
        for revision, force in ((2, False), (3, True)):
            sent = _client(client, revision=revision, status="inactive")
            await _apply(there, clients=[{**sent, "deletion_requested": True, "force": force}])
            assert await there.fetchval("select status::text from public.clients") == stands

    async def test_who_leaves_still_does_in_a_new_row_and_after_a_block(
        self, there: Connection
    ) -> None:
        client = uuid4()
        for revision, status in ((1, "inactive"), (2, "blocked"), (3, "inactive")):
            sent = _client(client, revision=revision, status=status)
            await _apply(there, clients=[{**sent, "deletion_requested": status == "inactive"}])
            assert await there.fetchval("select status::text from public.clients") == status

    async def test_the_guard_is_back_after_a_call(self, there: Connection) -> None:
        client = uuid4()
        async with there.transaction():
            await _apply(there, clients=[_client(client)])
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                async with there.transaction():
                    await there.execute("update public.clients set balance = 1")


NUMBERED = """
create table public.clients (id text primary key, balance numeric default 0, status text);
create table public.transactions (
  id bigserial primary key, client_id text, type varchar(20) not null, amount double precision,
  balance_before numeric, balance_after numeric, description text, status text default 'pending',
  payment_method text, invoice_id varchar(40), created_at timestamp default now());
insert into public.transactions (client_id, type, amount) values ('legacy', 'topup', 5);
"""


async def test_project_with_numbered_transactions_keeps_its_ids(server: Server) -> None:
    """It has no auth.users either."""
    dsn = await bare_project(server, "supabase_numbered", auth=AUTH_UID)
    connection: Connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(NUMBERED)
        for _ in range(2):
            for path in sorted(supabase_migrations().glob("*.sql")):
                await connection.execute(path.read_text())
        client = uuid4()
        answer = await _apply(
            connection,
            clients=[_client(client)],
            transactions=[_transaction(client)],
            sessions=[_session(uuid4(), client)],
        )
        assert [outcome for _, _, outcome, _ in answer] == ["applied", "applied"]
        rows = await connection.fetch("select id, amount, version from public.transactions")
        assert [tuple(row) for row in rows] == [(1, 5.0, None), (2, 100.0, 1)]
    finally:
        await connection.close()

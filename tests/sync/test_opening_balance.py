"""Money Supabase had before EvPower is never written over unseen; it is imported once."""

import asyncio
import os
import subprocess
import sys
from decimal import Decimal
from uuid import UUID, uuid4

import httpx
import orjson
import pytest

from evpower.client_migration import OpeningBalances, import_opening_balances
from evpower.client_migration.opening_balances import OpeningProgress, SkippedBalance
from evpower.config import Settings
from evpower.foundation.clock import utc_now
from evpower.foundation.db import Connection, Database
from evpower.foundation.errors import Invalid
from evpower.sync import (
    Relay,
    SupabaseRpc,
    check,
    replay,
    replay_parked,
    status,
)
from tests.conftest import Server
from tests.sync.conftest import rpc_to
from tests.sync.scenario import Meanwhile, Scenario, Target, balance, by_hand, versions
from tests.waiting import COMMAND_S, WAIT_LIMIT_S


@pytest.fixture
def rpc(http: httpx.AsyncClient, target: Target) -> SupabaseRpc:
    return rpc_to(http, target)


async def old_row(
    there: Connection, money: str, *, key: UUID | str | None = None, status: str = "active"
) -> UUID:
    """A row of the time before EvPower, whose balance another program wrote."""
    key = key or uuid4()
    async with by_hand(there):
        await there.execute(
            f"insert into public.clients (id, name, email, balance, status)"
            f" values ('{key}', 'Old', '{key}@example.kg', {money}, '{status}')"
        )
    return key if isinstance(key, UUID) else UUID(int=0)


async def taken_over(
    db: Database, rpc: SupabaseRpc, *, dry_run: bool = False, page: int = 500
) -> OpeningBalances:
    return await import_opening_balances(
        db,
        rpc,
        operator="Aibek",
        reason="cut-over",
        clock=utc_now,
        dry_run=dry_run,
        page=page,
    )


async def parked(db: Database) -> dict[str, str]:
    async with db.connection() as connection:
        return {entry.key: entry.reason for entry in (await status(connection)).parked_keys}


async def ours(scenario: Scenario, client: UUID) -> int | None:
    return await scenario.db.fetchval(
        "select balance_minor from wallet.wallets where client_id = $1", client
    )


async def with_id(scenario: Scenario, client: UUID) -> None:
    await scenario.db.execute(
        "insert into identity.clients (id, name, email, origin)"
        " values ($1, 'Old', $1::uuid || '@example.kg', 'token')",
        client,
    )


class TestNotImported:
    """A balance EvPower never wrote and does not know."""

    async def test_is_not_written_over_and_the_others_flow(
        self, db: Database, scenario: Scenario, relay: Relay, there: Connection
    ) -> None:
        old, other = await old_row(there, "150"), await scenario.client()
        await with_id(scenario, old)
        await scenario.top_up(other, 500)
        session = await scenario.session(old, charge=False)
        done = await relay.drain()
        assert (done.refused, done.applied) == (1, 2)
        assert await balance(there, old) == "150.00"
        assert await balance(there, other) == "5.00"
        assert await there.fetchval("select id::text from public.charging_sessions") == str(session)
        assert await parked(db) == {
            str(old): "opening_balance: Supabase has 150.00, EvPower has no transactions"
        }

    async def test_is_not_written_over_by_a_client_with_transactions(
        self, db: Database, scenario: Scenario, relay: Relay, there: Connection
    ) -> None:
        old = await old_row(there, "150")
        await with_id(scenario, old)
        await scenario.top_up(old, 500, 700)
        assert (await relay.drain()).refused == 1
        assert await balance(there, old) == "150.00"
        assert await versions(there, old) == []
        assert await parked(db) == {
            str(old): "opening_balance: Supabase has 150.00,"
            " EvPower has 2 transactions and none of them is it"
        }

    async def test_survives_replay_by_force(
        self, db: Database, scenario: Scenario, relay: Relay, there: Connection
    ) -> None:
        old = await old_row(there, "150")
        await with_id(scenario, old)
        await scenario.top_up(old, 500)
        async with db.transaction() as connection:
            await replay(connection, "client", old)
        assert (await relay.drain()).refused == 1
        assert await balance(there, old) == "150.00"
        assert await versions(there, old) == []

    async def test_survives_repair(
        self, db: Database, rpc: SupabaseRpc, scenario: Scenario, relay: Relay, there: Connection
    ) -> None:
        old = await old_row(there, "150")
        stranger = await old_row(there, "20")
        await with_id(scenario, old)
        await relay.drain()
        result = await check(db, rpc, repair=True, overwrite_ahead=True, deliver=relay.drain)
        assert {difference.key: difference.action for difference in result.drift} == {
            str(old): "reported: opening balance, see evpower sync import-balances",
            str(stranger): "reported: opening balance, see evpower sync import-balances",
        }
        assert result.closed == 0
        assert await balance(there, old) == "150.00"

    async def test_does_not_slow_down_the_rest_of_its_call(
        self, there: Connection, db: Database, scenario: Scenario, relay: Relay
    ) -> None:
        clients = await scenario.clients(30)
        old = await old_row(there, "-50", key=clients[7])
        assert (await relay.drain()).calls == 1
        assert await balance(there, old) == "-50.00"
        assert list((await parked(db)).values()) == [
            "opening_balance: Supabase has -50.00, EvPower has no transactions"
        ]

    async def test_dust_of_floats_is_no_balance(
        self, scenario: Scenario, relay: Relay, there: Connection, target: Target
    ) -> None:
        old = await old_row(there, "0.1::float8 + 0.2 - 0.3" if target.older else "0")
        await with_id(scenario, old)
        await scenario.top_up(old, 500)
        assert (await relay.drain()).applied == 1
        assert await balance(there, old) == "5.00"


class TestImport:
    """`evpower sync import-balances`."""

    async def test_carries_balances_over_once(
        self, db: Database, rpc: SupabaseRpc, scenario: Scenario, relay: Relay, there: Connection
    ) -> None:
        known, unknown = await old_row(there, "150"), await old_row(there, "70.50")
        await with_id(scenario, known)
        await scenario.top_up(known, 500)
        await relay.drain()
        seen: list[OpeningProgress] = []
        done = await import_opening_balances(
            db,
            rpc,
            operator="Aibek",
            reason="cut-over",
            clock=utc_now,
            page=1,
            on_progress=seen.append,
        )
        assert (done.rows_read, done.imported, done.imported_minor) == (2, 2, 22_050)
        assert done.skipped == ()
        assert seen[-1] == OpeningProgress(2, 2)
        assert (await relay.drain()).applied == 2
        assert await balance(there, known) == "155.00"
        assert await balance(there, unknown) == "70.50"
        assert (await check(db, rpc)).drift == ()
        row = await scenario.db.fetchrow(
            "select c.origin, c.name, p.provider, p.provider_ref, p.status, p.paid_minor"
            " from identity.clients c join payments.payments p on p.client_id = c.id"
            " where c.id = $1",
            unknown,
        )
        assert row is not None
        assert tuple(row) == (
            ("supabase", "Old", "manual", f"opening:{unknown}", "approved", 7_050)
        )
        acts = await scenario.db.fetch("select actor, reason, subject from identity.audit")
        assert ("Aibek", "cut-over", f"client:{unknown}") in [tuple(act) for act in acts]
        again = await taken_over(db, rpc)
        assert (again.rows_read, again.imported, again.already) == (0, 0, 0)
        assert await ours(scenario, unknown) == 7_050

    async def test_repeated_before_the_relay_ran_imports_nothing_twice(
        self, db: Database, rpc: SupabaseRpc, scenario: Scenario, relay: Relay, there: Connection
    ) -> None:
        old = await old_row(there, "150")
        await taken_over(db, rpc)
        again = await taken_over(db, rpc)
        assert (again.rows_read, again.imported, again.already) == (1, 0, 1)
        assert await ours(scenario, old) == 15_000
        await relay.drain()
        assert await balance(there, old) == "150.00"
        assert await versions(there, old) == [1]

    async def test_during_a_call_that_is_refused_is_sent_and_not_parked(
        self, db: Database, rpc: SupabaseRpc, scenario: Scenario, there: Connection,
        settings: Settings,
    ) -> None:  # fmt: skip
        old = await old_row(there, "150")
        await with_id(scenario, old)
        await scenario.top_up(old, 500)

        async def import_balances() -> None:
            assert (await taken_over(db, rpc)).imported == 1

        relay = Relay(db, Meanwhile(rpc, import_balances), settings, utc_now)
        assert (await relay.run_once()).refused == 1
        entry = await scenario.db.fetchrow("select * from sync.pending")
        assert entry is not None
        assert (entry["parked_at"], entry["leased_until"], entry["last_error"]) == (None,) * 3
        assert (await relay.drain()).applied == 1
        assert await balance(there, old) == "155.00"
        assert await scenario.pending() == 0

    async def test_stopped_run_carries_on(
        self, db: Database, rpc: SupabaseRpc, scenario: Scenario, there: Connection
    ) -> None:
        for _ in range(5):
            await old_row(there, "10")

        def stop(at: OpeningProgress) -> None:
            if at.done == 2:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            await import_opening_balances(
                db,
                rpc,
                operator="Aibek",
                reason="cut-over",
                clock=utc_now,
                page=2,
                on_progress=stop,
            )
        done = await taken_over(db, rpc, page=2)
        assert (done.imported, done.already, done.imported_minor) == (3, 2, 3_000)
        assert await scenario.db.fetchval("select sum(balance_minor) from wallet.wallets") == 5_000

    async def test_balance_that_changed_since_is_refused_with_the_new_figure(
        self, db: Database, rpc: SupabaseRpc, scenario: Scenario, relay: Relay, there: Connection
    ) -> None:
        old = await old_row(there, "150")
        await taken_over(db, rpc)
        async with by_hand(there):
            await there.execute("update public.clients set balance = 175")
        assert (await relay.drain()).refused == 1
        why = "opening_balance: Supabase has 175.00, EvPower imported 150.00"
        assert await parked(db) == {str(old): why}
        again = await taken_over(db, rpc)
        assert again.skipped == (SkippedBalance(str(old), "175.00", "150.00 was imported before"),)
        assert await ours(scenario, old) == 15_000
        assert (await relay.drain()).refused == 1  # tried again, refused again
        assert await balance(there, old) == "175.00"
        await there.execute(  # the way out that docs/deploy.md names
            "begin; select set_config('evpower.applying', 'on', true);"
            f" update public.clients set balance = 150 where id = '{old}'; commit"
        )
        async with db.transaction() as connection:
            assert await replay_parked(connection) == 1
        assert (await relay.drain()).applied == 1
        assert await balance(there, old) == "150.00"

    async def test_imported_balance_is_forced_like_any_other_later(
        self, db: Database, rpc: SupabaseRpc, relay: Relay, there: Connection
    ) -> None:
        old = await old_row(there, "150")
        await taken_over(db, rpc)
        async with db.transaction() as connection:
            await replay(connection, "client", old)
        await relay.drain()
        assert await versions(there, old) == [1]
        async with by_hand(there):
            await there.execute("update public.clients set balance = 3")
        assert (await check(db, rpc, repair=True, deliver=relay.drain)).closed == 1
        assert await balance(there, old) == "150.00"

    async def test_imported_client_returns_to_a_supabase_restored_to_before(
        self, db: Database, rpc: SupabaseRpc, scenario: Scenario, relay: Relay, there: Connection,
        target: Target,
    ) -> None:  # fmt: skip
        old = await old_row(there, "150")
        await taken_over(db, rpc)
        await scenario.top_up(old, 100)
        await relay.drain()
        await target.empty(there)
        await old_row(there, "150", key=old)
        await scenario.top_up(old, 100)
        await relay.drain()
        assert await balance(there, old) == "152.00"
        assert await versions(there, old) == [1, 2, 3]

    async def test_what_cannot_be_imported_is_reported(
        self, db: Database, rpc: SupabaseRpc, scenario: Scenario, relay: Relay, there: Connection,
        target: Target,
    ) -> None:  # fmt: skip
        negative, huge = await old_row(there, "-50"), await old_row(there, "99999999999")
        closed = await old_row(there, "5")
        await with_id(scenario, closed)
        await scenario.db.execute("update identity.clients set status = 'closed'")
        expected = {
            SkippedBalance(str(negative), "-50", "negative"),
            SkippedBalance(str(huge), "99999999999", "too large"),
            SkippedBalance(str(closed), "5", "client_closed"),
        }
        if target.older:
            await old_row(there, "7", key="client_007")
            nan = await old_row(there, "'NaN'")
            expected |= {SkippedBalance("client_007", "7", "the id is not a UUID")}
            expected |= {SkippedBalance(str(nan), "NaN", "not a number")}
        good = await old_row(there, "3")
        done = await taken_over(db, rpc)
        assert {
            SkippedBalance(row.id, row.balance.removesuffix(".00"), row.reason)
            for row in done.skipped
        } == (expected)
        assert (done.imported, done.imported_minor) == (1, 300)
        await relay.drain()
        assert await balance(there, good) == "3.00"
        assert await balance(there, closed) == "5.00"

    async def test_fractions_of_a_tyiyn_are_rounded_half_up_and_reported(
        self, db: Database, rpc: SupabaseRpc, scenario: Scenario, relay: Relay, there: Connection,
        target: Target,
    ) -> None:  # fmt: skip
        if target.older:
            up, down = await old_row(there, "10.005"), await old_row(there, "20.0149")
            dust = await old_row(there, "0.1::float8 + 0.2 - 0.3")
            whole = await old_row(there, "1.1::float8 * 3")
        else:  # numeric(14, 2) holds none
            up, down = await old_row(there, "10.01"), await old_row(there, "20.01")
            dust, whole = uuid4(), await old_row(there, "3.3")
        done = await taken_over(db, rpc)
        assert (done.imported, done.imported_minor) == (3, 1_001 + 2_001 + 330)
        if target.older:
            assert done.rounded == 2
            assert done.rounded_by == Decimal("0.0001")
            assert (
                await scenario.db.fetchval(
                    "select details ->> 'found' from identity.audit"
                    " where action = 'sync.adopt' and subject = $1",
                    f"client:{down}",
                )
                == "20.0149"
            )
        else:
            assert (done.rounded, done.rounded_by) == (0, 0)
        await relay.drain()
        assert await balance(there, up) == "10.01"
        assert await balance(there, down) == "20.01"
        assert await balance(there, whole) == "3.30"
        assert await ours(scenario, dust) is None

    async def test_blocked_driver_stays_blocked(
        self, db: Database, rpc: SupabaseRpc, relay: Relay, there: Connection
    ) -> None:
        await old_row(there, "150", status="blocked")
        done = await taken_over(db, rpc)
        assert (done.imported, done.blocked) == (1, 1)
        await relay.drain()
        assert await there.fetchval("select status::text from public.clients") == "blocked"

    async def test_dry_run_writes_nothing(
        self, db: Database, rpc: SupabaseRpc, scenario: Scenario, relay: Relay, there: Connection
    ) -> None:
        await old_row(there, "150")
        await old_row(there, "-1")
        done = await taken_over(db, rpc, dry_run=True)
        assert (done.rows_read, done.imported, done.imported_minor, len(done.skipped)) == (
            2,
            1,
            15_000,
            1,
        )
        assert await scenario.db.fetchval("select count(*) from identity.clients") == 0
        assert await scenario.db.fetchval("select count(*) from identity.audit") == 0
        await relay.drain()

    async def test_two_runs_at_once_import_once(
        self, db: Database, rpc: SupabaseRpc, scenario: Scenario, there: Connection
    ) -> None:
        keys = [await old_row(there, "10") for _ in range(10)]
        both = await asyncio.gather(taken_over(db, rpc), taken_over(db, rpc))
        assert sum(done.imported for done in both) == len(keys)
        assert await scenario.db.fetchval("select sum(balance_minor) from wallet.wallets") == 10_000

    async def test_wants_a_name_and_a_reason(
        self, db: Database, rpc: SupabaseRpc, there: Connection
    ) -> None:
        await old_row(there, "1")
        with pytest.raises(Invalid):
            await import_opening_balances(db, rpc, operator="Aibek", reason=" ", clock=utc_now)

    async def test_only_the_secret_key_may_ask(self, target: Target, there: Connection) -> None:
        await old_row(there, "1")
        headers = {"apikey": target.local.publishable_key}
        async with httpx.AsyncClient(
            base_url=target.local.url, headers=headers, timeout=WAIT_LIMIT_S
        ) as anyone:
            for name in ("evpower_openings", "evpower_archive"):
                answer = await anyone.post(f"/rest/v1/rpc/{name}", json={"payload": {}})
                assert answer.status_code in {401, 403, 404}


async def test_the_command_tells_what_it_did(
    dsn: str, server: Server, target: Target, there: Connection
) -> None:
    assert server
    await old_row(there, "150")
    await old_row(there, "-1")
    env = {
        **os.environ,
        "EVPOWER_ENV": "development",
        "EVPOWER_DATABASE_URL": dsn,
        "EVPOWER_SUPABASE_URL": target.local.url,
        "EVPOWER_SUPABASE_SECRET_KEY": target.local.secret_key,
        "EVPOWER_SUPABASE_PUBLISHABLE_KEY": target.local.publishable_key,
        "EVPOWER_SUPABASE_JWT_SECRET": "x" * 40,
        "EVPOWER_SUPABASE_TIMEOUT_S": str(WAIT_LIMIT_S),
    }

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", "evpower", "sync", "import-balances", *words]
        return subprocess.run(
            [*line, "--operator", "Aibek", "--reason", "cut-over"],
            capture_output=True, text=True, timeout=COMMAND_S, env=env, check=False,
        )  # fmt: skip

    dry = run("--dry-run")
    assert dry.returncode == 0, dry.stderr
    assert "would import 1 balance, 150.00 som" in dry.stdout
    done = run("--json")
    assert done.returncode == 1
    output = orjson.loads(done.stdout)
    assert (output["rows_read"], output["imported"], output["sum"]) == (2, 1, "150.00")
    assert [row["reason"] for row in output["skipped"]] == ["negative"]
    assert "1 not imported" in done.stderr

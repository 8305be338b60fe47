"""A run closes only drift of keys that it compared."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import httpx
import pytest

from evpower.config import Settings
from evpower.foundation.db import Connection, Database
from evpower.sync import Relay, SupabaseRpc
from evpower.sync.model import SessionDigest
from evpower.sync.reconciliation.drift import agree
from evpower.sync.reconciliation.scheduler import ReconciliationScheduler
from tests.sync.checking import compare, drift_rows, empty, give_users, past_every_guard
from tests.sync.conftest import rpc_to
from tests.sync.scenario import Scenario, Target, by_hand


@pytest.fixture
def rpc(http: httpx.AsyncClient, target: Target) -> SupabaseRpc:
    return rpc_to(http, target)


@pytest.fixture
async def client(
    db: Database, rpc: SupabaseRpc, scenario: Scenario, relay: Relay, there: Connection
) -> UUID:
    """A client whose balance differs, which a run has found."""
    await empty(there)
    client = await scenario.client()
    await give_users(scenario, there)
    await scenario.top_up(client, 500)
    await relay.drain()
    async with by_hand(there):
        await there.execute("update public.clients set balance = balance + 1")
    assert (await compare(db, rpc)).differ == 1
    return client


async def test_drift_of_a_key_in_flight_stays_open(
    db: Database, rpc: SupabaseRpc, scenario: Scenario, relay: Relay, client: UUID
) -> None:
    await scenario.top_up(client, 300)
    undecided = await compare(db, rpc)
    assert (undecided.differ, undecided.in_flight) == (0, 1)
    assert await drift_rows(db) == {("client", str(client)): "balance"}
    await relay.drain()
    assert (await compare(db, rpc)).equal
    assert await drift_rows(db) == {}


async def test_profile_drift_of_a_change_that_is_not_applied_stays_open(
    db: Database, rpc: SupabaseRpc, there: Connection, client: UUID
) -> None:
    async with past_every_guard(there):
        await there.execute("update public.clients set name = 'Another'")
    assert (await compare(db, rpc)).differ == 2
    await there.execute("update public.clients set name = 'A third'")
    undecided = await compare(db, rpc)
    assert (undecided.differ, undecided.in_flight) == (1, 1)
    assert set(await drift_rows(db)) == {("client", str(client)), ("profile", str(client))}


async def test_a_run_of_recent_changes_leaves_the_drift_of_other_clients_open(
    db: Database,
    rpc: SupabaseRpc,
    settings: Settings,
    scenario: Scenario,
    there: Connection,
    client: UUID,
) -> None:
    async with past_every_guard(scenario.db):
        for table in ("identity.clients", "wallet.wallets"):
            await scenario.db.execute(f"update {table} set updated_at = now() - interval '30 days'")
        await scenario.db.execute(
            "update wallet.transactions set created_at = now() - interval '30 days'"
        )
    async with by_hand(there):
        await there.execute("update public.clients set balance = balance - 1")
    settings.check_at, settings.check_recent_s, settings.check_pause_s = "", 3600, 0
    times = [datetime.now(UTC)]
    scheduler = ReconciliationScheduler(db, rpc, settings, lambda: times[-1])
    assert await scheduler.run_due() is None
    times.append(times[0] + timedelta(hours=1))
    leased = await scheduler.run_due()
    assert leased is not None
    assert leased.result is not None
    assert (leased.kind, leased.result.clients) == ("recent", 0)
    assert await drift_rows(db) == {("client", str(client)): "balance"}


@pytest.mark.parametrize(
    ("our_time", "their_time", "same"),
    [
        (None, "2026-11-01T12:00:00Z", True),  # what a project fills
        ("2026-11-01T12:00:00Z", None, False),
        ("2026-11-01T12:00:00Z", "2026-11-01T12:00:01Z", False),
        ("2026-11-01T12:00:00Z", "9999999999999999999", False),
    ],
)
def test_a_time_that_evpower_does_not_have_is_not_compared(
    our_time: str | None, their_time: str | None, *, same: bool
) -> None:
    ours, theirs = (
        SessionDigest("s", "c", 1, "started", 0, 0, {}, facts={"stop_time": stop_time})
        for stop_time in (our_time, their_time)
    )
    assert agree(ours, theirs) is same

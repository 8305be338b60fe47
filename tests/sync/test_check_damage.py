"""A run finds exactly the damage of either side, and repairs what may be repaired."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg
import httpx
from hypothesis import given
from hypothesis import settings as searched
from hypothesis import strategies as st

from evpower.config import Settings
from evpower.foundation.clock import utc_now
from evpower.foundation.db import Connection, Database
from evpower.sync import Relay, SupabaseRpc
from tests.conftest import Server, as_owner, patient_database
from tests.sync.checking import compare, drift_rows, empty, give_users, past_every_guard
from tests.sync.conftest import rpc_to
from tests.sync.scenario import Scenario, Target
from tests.waiting import COMMAND_S

_CLIENTS = 12


@dataclass(frozen=True)
class Damage:
    """`sql` breaks one client ($1, as text) on a side; `kind` is how the check must call it."""

    side: str
    kind: str
    sql: str
    topic: str = "client"

    @property
    def heals(self) -> bool:
        return self.kind not in {"ahead", "diverged", "only_there", "opening"}


_T, _C, _S = "public.transactions", "public.clients", "public.charging_sessions"
DAMAGES = [
    Damage("there", "balance", f"update {_C} set balance = balance + 0.01 where id::text = $1"),
    Damage("there", "balance", f"update {_C} set held = 1 where id::text = $1"),
    Damage("there", "balance", f"update {_C} set balance_version = 1 where id::text = $1"),
    Damage("there", "missing", f"delete from {_C} where id::text = $1"),
    Damage("there", "status", f"update {_C} set status = 'blocked' where id::text = $1"),
    Damage("there", "transactions", f"delete from {_T} where client_id::text = $1 and version = 2"),
    Damage("there", "transactions", f"delete from {_T} where client_id::text = $1"),
    Damage(
        "there",
        "transactions",
        f"update {_T} set balance_before = 1 where client_id::text = $1 and version = 1",
    ),
    Damage(
        "there",
        "transactions",
        f"update {_T} set type = 'refund' where client_id::text = $1 and version = 3",
    ),
    Damage(
        "there",
        "diverged",
        f"update {_T} set id = gen_random_uuid() where client_id::text = $1 and version = 2",
    ),
    Damage(
        "there",
        "ahead",
        f"insert into {_T} (client_id, version, type, amount, balance_before, balance_after)"
        f" select id, 4, 'topup', 1, 0, 1 from {_C} where id::text = $1",
    ),
    Damage("there", "ahead", f"update {_C} set balance_version = 9 where id::text = $1"),
    Damage("there", "profile", f"update {_C} set name = 'Someone' where id::text = $1", "profile"),
    Damage(
        "there",
        "profile",
        f"update {_C} set phone = '+99670' || lpad((abs(hashtext($1)) % 10000000)::text, 7, '0')"
        " where id::text = $1",
        "profile",
    ),
    Damage(
        "there",
        "deletion",
        f"update {_C} set status = 'pending_deletion' where id::text = $1",
        "profile",
    ),
    Damage("here", "profile", "update identity.clients set name = null where id = $1", "profile"),
    Damage(
        "here",
        "profile",
        "update identity.clients set email = id || '@b.kg' where id = $1",
        "profile",
    ),
    Damage(
        "here",
        "deletion",
        "update identity.clients set deletion_requested_at = now() where id = $1",
        "profile",
    ),
    Damage("here", "status", "update identity.clients set status = 'blocked' where id = $1"),
    Damage(
        "here",
        "ahead",
        "with gone as (delete from wallet.transactions where client_id = $1 and version = 3"
        " returning balance_before_minor) update wallet.wallets set version = 2,"
        " balance_minor = (select balance_before_minor from gone) where client_id = $1",
    ),
    Damage("there", "session", f"update {_S} set energy = 1 where user_id::text = $1", "session"),
    Damage(
        "there", "session", f"update {_S} set status = 'error' where user_id::text = $1", "session"
    ),
    Damage(
        "there",
        "session",
        f"update {_S} set vehicle_plate = '01KG' where user_id::text = $1",
        "session",
    ),
    Damage("there", "missing", f"delete from {_S} where user_id::text = $1", "session"),
    Damage("there", "ahead", f"update {_S} set revision = 99 where user_id::text = $1", "session"),
]


class Sides:
    """One EvPower and one Supabase, equal until something is broken."""

    def __init__(
        self, db: Database, scenario: Scenario, there: Connection, rpc: SupabaseRpc
    ) -> None:
        self.db = db
        self.scenario = scenario
        self.there = there
        self.rpc = rpc

    async def breaks_and_heals(
        self, relay: Relay, damages: Sequence[Damage | None], batch: int
    ) -> None:
        clients = await self.scenario.clients(len(damages))
        await self.scenario.top_up_everyone(clients, 3)
        await give_users(self.scenario, self.there)
        sessions = {client: await self.scenario.session(client, charge=False) for client in clients}
        await relay.drain()
        expected: dict[tuple[str, str], Damage] = {}
        for client, damage in zip(clients, damages, strict=True):
            if damage is not None:
                key = sessions[client] if damage.topic == "session" else client
                expected[damage.topic, str(key)] = damage
                side = self.there if damage.side == "there" else self.scenario.db
                async with past_every_guard(side):
                    id_ = str(client) if damage.side == "there" else client
                    done = await side.execute(damage.sql, id_)
                assert not done.endswith(" 0"), damage
        await self.scenario.db.execute("delete from sync.pending")

        result = await compare(self.db, self.rpc, batch=batch)
        assert {
            (difference.topic, difference.key): difference.kind for difference in result.drift
        } == {key: damage.kind for key, damage in expected.items()}
        left = {key: damage.kind for key, damage in expected.items() if not damage.heals}
        repaired = await compare(self.db, self.rpc, repair=True, deliver=relay.drain, batch=batch)
        assert repaired.closed == len(expected) - len(left)
        again = await compare(self.db, self.rpc, batch=batch)
        assert {
            (difference.topic, difference.key): difference.kind for difference in again.drift
        } == left
        assert await drift_rows(self.db) == left
        repaired = await compare(
            self.db, self.rpc, repair=True, overwrite_ahead=True, deliver=relay.drain, batch=batch
        )
        assert repaired.equal, repaired.drift
        assert (await compare(self.db, self.rpc, batch=batch)).differ == 0
        assert await drift_rows(self.db) == {}


@asynccontextmanager
async def equal_sides(
    server: Server, target: Target, http: httpx.AsyncClient, configured: Settings
) -> AsyncGenerator[tuple[Sides, Relay]]:
    dsn = await server.new_database()
    owner: Connection = await asyncpg.connect(as_owner(dsn))
    db = patient_database(dsn, size=4)
    await db.start()
    try:
        async with target.psql() as there:
            await empty(there)
            rpc = rpc_to(http, target)
            yield Sides(db, Scenario(owner), there, rpc), Relay(db, rpc, configured, utc_now)
    finally:
        await db.close()
        await owner.close()


async def test_each_damage_alone_is_reported_by_its_kind(
    server: Server, fresh_project: Target, http: httpx.AsyncClient, settings: Settings
) -> None:
    async with equal_sides(server, fresh_project, http, settings) as (sides, relay):
        await sides.breaks_and_heals(relay, DAMAGES, 1000)


async def test_any_damage_is_found_and_repaired(
    server: Server, older_project: Target, http: httpx.AsyncClient
) -> None:
    loop = asyncio.get_running_loop()
    configured = Settings(_env_file=None)  # pyright: ignore[reportCallIssue]

    async def once(damages: Sequence[Damage | None], batch: int) -> None:
        async with equal_sides(server, older_project, http, configured) as (sides, relay):
            await sides.breaks_and_heals(relay, damages, batch)

    @searched(max_examples=8)
    @given(
        st.lists(st.none() | st.sampled_from(DAMAGES), min_size=1, max_size=_CLIENTS),
        st.integers(3, 30),
    )
    def any_damage(damages: list[Damage | None], batch: int) -> None:
        asyncio.run_coroutine_threadsafe(once(damages, batch), loop).result(COMMAND_S)

    await asyncio.to_thread(any_damage)

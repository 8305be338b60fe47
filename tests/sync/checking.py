"""Helpers of reconciliation tests: clients on both sides, damage that bypasses every guard."""

import asyncio
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

from evpower.foundation.db import Connection, Database, Record
from evpower.sync import Relay, Rpc, RunResult, check
from tests.sync.scenario import Scenario


async def compare(db: Database, rpc: Rpc, **more: Any) -> RunResult:
    """Makes a run on demand without pauses."""

    async def at_once(_: float) -> None: ...

    return await check(db, rpc, **{"pause": at_once, **more})


@asynccontextmanager
async def past_every_guard(side: Connection) -> AsyncGenerator[None]:
    """No trigger fires and no foreign key is looked at: what a superuser can do."""
    await side.execute("set session_replication_role = replica")
    try:
        yield
    finally:
        await side.execute("reset session_replication_role")


async def empty(there: Connection) -> None:
    """Empties a project: no user, no row, no logged change."""
    async with past_every_guard(there):
        await there.execute(
            "delete from public.transactions; delete from public.charging_sessions;"
            " delete from public.clients; delete from auth.users; delete from evpower.changes;"
            " delete from evpower.archive"
        )


async def give_users(scenario: Scenario, there: Connection) -> None:
    """Every client of EvPower has a user in Supabase Auth, with the same contacts."""
    rows: list[Record] = await scenario.db.fetch(
        "select id, email, ltrim(phone, '+') as phone, name from identity.clients"
    )
    async with past_every_guard(there):
        await there.executemany(
            "insert into auth.users (id, email, phone, raw_user_meta_data)"
            " values ($1, $2, $3, jsonb_build_object('name', $4::text)) on conflict do nothing",
            [tuple(row) for row in rows],
        )


async def client_on_both_sides(scenario: Scenario, relay: Relay, there: Connection) -> UUID:
    """Makes a client with two top-ups and a charge, equal on both sides."""
    client = await scenario.client()
    await give_users(scenario, there)
    await scenario.top_up(client, 50_000, 20_000)
    await scenario.session(client)
    await relay.drain()
    return client


async def drift_rows(db: Database, *, repaired: bool = False) -> dict[tuple[str, str], str]:
    """Returns (topic, key) to kind of the open drift, or of the closed."""
    async with db.connection() as connection:
        rows: list[Record] = await connection.fetch(
            "select topic, key, kind from sync.drift where (closed_at is not null) = $1", repaired
        )
    return {(row["topic"], row["key"]): row["kind"] for row in rows}


def kinds(result: RunResult) -> dict[str, str]:
    """Which keys differ, and how."""
    return {difference.key: difference.kind for difference in result.drift}


def keys(clients: Iterable[UUID]) -> set[str]:
    return {str(client) for client in clients}


class Calls:
    """Passes calls on, counts them, and fails from a given call on."""

    def __init__(self, rpc: Rpc) -> None:
        self.rpc = rpc
        self.bodies: list[tuple[str, bytes]] = []
        self.failure: Exception | None = None
        self.fail_from: int | None = None
        self.gate: asyncio.Event | None = None
        self._called = asyncio.Event()

    async def call(self, function: str, body: bytes) -> object:
        self.bodies.append((function, body))
        self._called.set()
        if self.gate is not None:
            await self.gate.wait()
        if self.fail_from is not None and len(self.bodies) >= self.fail_from:
            assert self.failure is not None
            raise self.failure
        return await self.rpc.call(function, body)

    async def reached(self, text: bytes, count: int) -> None:
        """Wait until so many calls had this in their body."""
        while self.calls_with(text) < count:
            self._called.clear()
            await self._called.wait()

    def calls_with(self, text: bytes) -> int:
        """How many calls had this in their body."""
        return sum(text in body for _, body in self.bodies)

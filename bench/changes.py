"""A profile changed in Supabase until EvPower has it: rung, and without any doorbell."""

import asyncio
import random
import time
from contextlib import AsyncExitStack
from uuid import UUID, uuid4

from bench.evpower_server import EvPowerServer
from bench.harness import Bar, Row, say
from bench.house import House
from evpower import sync
from evpower.devstack.ports import LOOPBACK
from evpower.foundation.db import Connection, Database
from evpower.foundation.http import HttpClient

_RUNG_AT = 20.0  # changes a second
_ALONE_AT = 10.0
_SECONDS = 20.0
_PATIENCE_S = 30.0


async def change_rung(house: House) -> list[Row]:
    """The doorbell rings at a process of role api, which never looks by itself."""
    lags = await _measure(house, rate=_RUNG_AT, role="api", rung=True)
    return [_row("change_rung_p99", lags, 300)]


async def change_alone(house: House) -> list[Row]:
    """Nobody rings: a worker looks every two seconds, the default."""
    lags = await _measure(house, rate=_ALONE_AT, role="worker", rung=False)
    return [_row("change_alone_p99", lags, 3_000)]


def _row(name: str, lags: list[float], bar_ms: float) -> Row:
    p50, p99 = lags[len(lags) // 2], lags[int(len(lags) * 0.99)]
    note = f"p50 {p50:.0f} ms, worst {lags[-1]:.0f} ms of {len(lags)} changes"
    say(f"    {note}")
    return Row(name, p99, "ms", "limit", bar_ms, Bar("<=", bar_ms, of="value"), note)


async def _measure(house: House, *, rate: float, role: str, rung: bool) -> list[float]:
    """Milliseconds from before the UPDATE in Supabase to EvPower's commit, by PostgreSQL's clock.

    Both databases are on one cluster here (track_commit_timestamp is on), on this machine's clock.
    """
    await house.supabase()
    dsn = await house.new_database()
    ids = [uuid4() for _ in range(int(rate * _SECONDS))]
    async with house.owner(dsn) as owner, house.owner(house.supabase_dsn) as theirs:
        await _people(owner, theirs, ids)
        async with AsyncExitStack() as stack:
            server = await EvPowerServer.start(house, stack, dsn, role=role)
            await _doorbell(house, dsn, server.port if rung else None)
            began = await _change(theirs, ids, rate)
            await _all_here(owner, len(ids))
            await _doorbell(house, dsn, None)
        arrived = await owner.fetch(
            "select id, extract(epoch from pg_xact_commit_timestamp(xmin))::float8 as at"
            " from identity.clients where name like 'changed %'"
        )
    return sorted((row["at"] - began[row["id"]]) * 1000 for row in arrived)


async def _people(owner: Connection, theirs: Connection, ids: list[UUID]) -> None:
    """The same people on both sides, and nothing to be told of them."""
    await theirs.execute(
        "insert into public.clients (id, name) select i, 'as before' from unnest($1::uuid[]) i", ids
    )
    await theirs.execute("truncate evpower.changes")
    await owner.execute(
        "insert into identity.clients (id, name, origin)"
        " select i, 'as before', 'import' from unnest($1::uuid[]) i",
        ids,
    )
    await owner.execute("delete from sync.pending")
    await owner.execute("update sync.cursors set walking = false")


async def _doorbell(house: House, dsn: str, port: int | None) -> None:
    """Hang it at this port, or take it away."""
    supabase = await house.supabase()
    database = await Database.open(dsn, size=2)
    try:
        async with HttpClient() as http:
            rpc = sync.SupabaseRpc(http, supabase.url, supabase.secret_key)
            if port is None:
                await rpc.call("evpower_webhook_configure", b'{"payload": {"url": null}}')
            else:
                url = f"http://{LOOPBACK}:{port}{sync.WEBHOOK_PATH}"
                await sync.rotate_secret(database, rpc, url)
    finally:
        await database.close()


async def _change(theirs: Connection, ids: list[UUID], rate: float) -> dict[UUID, float]:
    """One by one, at moments that keep no step with anything; answers when each began."""
    began: dict[UUID, float] = {}
    start = time.monotonic()
    moments = sorted(random.uniform(0, len(ids) / rate) for _ in ids)
    for client, moment in zip(ids, moments, strict=True):
        await asyncio.sleep(max(0.0, start + moment - time.monotonic()))
        began[client] = time.time()
        await theirs.execute(
            "update public.clients set name = 'changed ' || $2::text where id = $1",
            client,
            client.hex,
        )
    return began


async def _all_here(owner: Connection, count: int) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    arrived = -1
    while arrived < count:
        if time.monotonic() > deadline:
            raise RuntimeError(f"of {count} changes {arrived} arrived")
        await asyncio.sleep(0.1)
        arrived = await owner.fetchval(
            "select count(*) from identity.clients where name like 'changed %'"
        )

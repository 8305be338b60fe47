"""A profile changed in Supabase until EvPower has it: with a webhook, and without."""

import asyncio
import json
import random
import time
from contextlib import AsyncExitStack, closing, suppress
from uuid import UUID, uuid4

from bench.evpower_server import EvPowerServer
from bench.harness import Bar, Row, in_turn, p99, say
from bench.rig import Rig
from evpower import sync
from evpower.config import Settings
from evpower.devstack.ports import LOOPBACK
from evpower.foundation.db import Connection, Database
from evpower.foundation.http import HttpClient

_NOTIFIED_AT = 20.0  # changes a second
_ALONE_AT = 10.0
_SECONDS = 12.0
_WAIT_LIMIT_S = 30.0


async def change_notified(rig: Rig) -> list[Row]:
    """The webhook calls a process of role api, which never looks by itself.

    The limit is Supabase's own call: a listener that does nothing stands in EvPower's place.
    """
    notes: list[str] = []

    async def ours() -> float:
        lags = await _measure(rig, rate=_NOTIFIED_AT, role="api", notification=True)
        notes.append(_note(lags))
        return p99(lags)

    async def limit() -> float:
        return p99(await _calls_alone(rig, rate=_NOTIFIED_AT))

    turns = await in_turn(ours, limit, rounds=3)
    lag, bare = turns
    bar, ratio = Bar("<=", 12), turns.ratio()
    return [Row("change_notified_p99", lag, "ms", "Supabase's call", bare, bar, notes[-1], ratio)]


async def change_alone(rig: Rig) -> list[Row]:
    """Without a webhook: a worker looks every two seconds, the default.

    The limit is a bare poller beside it: the same changes, looked for as often, nothing done.
    """
    bare: list[float] = []
    lags = await _measure(rig, rate=_ALONE_AT, role="worker", notification=False, polled=bare)
    name, limited = "change_alone_p99", "a bare poller"
    return [Row(name, p99(lags), "ms", limited, p99(sorted(bare)), Bar("<=", 1.5), _note(lags))]


def _note(lags: list[float]) -> str:
    note = f"p50 {lags[len(lags) // 2]:.0f} ms, worst {lags[-1]:.0f} ms of {len(lags)} changes"
    say(f"    {note}")
    return note


async def _measure(
    rig: Rig, *, rate: float, role: str, notification: bool, polled: list[float] | None = None
) -> list[float]:
    """Milliseconds from before the UPDATE in Supabase to EvPower's commit, by PostgreSQL's clock.

    Both databases are on one cluster here (track_commit_timestamp is on), on this machine's clock.
    `polled` gets those of a bare poller.
    """
    await rig.supabase()
    dsn = await rig.new_database()
    ids = [uuid4() for _ in range(int(rate * _SECONDS))]
    async with rig.owner(dsn) as owner, rig.owner(rig.supabase_dsn) as theirs:
        await _people(owner, theirs, ids)
        async with AsyncExitStack() as stack:
            server = await EvPowerServer.start(rig, stack, dsn, role=role)
            await _notification(rig, dsn, server.port if notification else None)
            polling = asyncio.create_task(_poll(rig, ids)) if polled is not None else None
            began = await _change(theirs, ids, rate)
            await _all_here(owner, len(ids))
            await _notification(rig, dsn, None)
            if polling is not None and polled is not None:
                seen = await polling
                polled += [(at - began[client]) * 1000 for client, at in seen.items()]
        arrived = await owner.fetch(
            "select id, extract(epoch from pg_xact_commit_timestamp(xmin))::float8 as at"
            " from identity.clients where name like 'changed %'"
        )
    return sorted((row["at"] - began[row["id"]]) * 1000 for row in arrived)


async def _poll(rig: Rig, ids: list[UUID]) -> dict[UUID, float]:
    """When each change was seen by one who looks as often as the worker does."""
    pause_s = Settings.model_fields["pull_poll_s"].default
    seen: dict[UUID, float] = {}
    async with rig.owner(rig.supabase_dsn) as theirs:
        while len(seen) < len(ids):
            rows = await theirs.fetch(
                "select id from public.clients where id = any ($1) and name like 'changed %'", ids
            )
            now = time.time()
            for row in rows:
                seen.setdefault(UUID(str(row["id"])), now)
            await asyncio.sleep(pause_s)
    return seen


async def _calls_alone(rig: Rig, *, rate: float) -> list[float]:
    """Milliseconds from before the UPDATE until Supabase's call of it came."""
    dsn = await rig.new_database()
    ids = [uuid4() for _ in range(int(rate * _SECONDS))]
    came: dict[UUID, float] = {}

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, OSError), closing(writer):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = int(head.partition(b"content-length:")[2].split(b"\r\n", 1)[0])
                body = json.loads(await reader.readexactly(length))
                came.setdefault(UUID(body["record"]["id"]), time.time())
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
                await writer.drain()

    listener = await asyncio.start_server(answer, LOOPBACK, 0)
    async with rig.owner(dsn) as owner, rig.owner(rig.supabase_dsn) as theirs, listener:
        await _people(owner, theirs, ids)
        await _notification(rig, dsn, listener.sockets[0].getsockname()[1])
        began = await _change(theirs, ids, rate)
        deadline = time.monotonic() + _WAIT_LIMIT_S
        while len(came) < len(ids):
            if time.monotonic() > deadline:
                raise RuntimeError(f"of {len(ids)} calls {len(came)} came")
            await asyncio.sleep(0.05)
        await _notification(rig, dsn, None)
    return sorted((came[client] - began[client]) * 1000 for client in ids)


async def _people(owner: Connection, theirs: Connection, ids: list[UUID]) -> None:
    """The same users on both sides, and no change of them to send."""
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
    await owner.execute("update sync.cursors set scanning = false")


async def _notification(rig: Rig, dsn: str, port: int | None) -> None:
    """Hang it at this port, or take it away."""
    supabase = await rig.supabase()
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
    deadline = time.monotonic() + _WAIT_LIMIT_S
    arrived = -1
    while arrived < count:
        if time.monotonic() > deadline:
            raise RuntimeError(f"of {count} changes {arrived} arrived")
        await asyncio.sleep(0.1)
        arrived = await owner.fetchval(
            "select count(*) from identity.clients where name like 'changed %'"
        )

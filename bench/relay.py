"""Carrying transactions to Supabase: how fast a backlog goes, how late a single one is."""

import asyncio
import time
from contextlib import AsyncExitStack

from bench import seed
from bench.evpower_server import EvPowerServer
from bench.harness import Bar, Row, in_turn, p99
from bench.rig import Rig
from bench.webhooks import fresh_webhooks
from evpower.config import Settings
from evpower.foundation.clock import utc_now
from evpower.foundation.db import Connection, Database
from evpower.foundation.http import HttpClient
from evpower.sync import SupabaseRpc
from evpower.sync.outbound import store

_BACKLOG = 60_000
_CLIENTS = 6_000
_WAIT_LIMIT_S = 120.0
_RATE_PER_S = 200.0
_PACED_S = 8.0
_BARE_CALLS = 1_000
_BARE_PAUSE_S = 0.01
_ROUNDS = 3
_NOTHING_PENDING = "not exists (select from sync.pending)"


async def relay(rig: Rig) -> list[Row]:
    """Transactions a second of `evpower serve --role worker` after an outage of Supabase.

    The limit is Supabase itself: the same calls, made beforehand, sent one after the other as
    many at once as the relay does, with nothing read, logged or waited for in between.
    """

    async def ours() -> float:
        return await _backlog(rig)

    async def limit() -> float:
        return await _bare_calls(rig)

    turns = await in_turn(ours, limit, rounds=_ROUNDS)
    rate, bare = turns
    bar, ratio = Bar(">=", 0.25), turns.ratio()
    unit, limited = "transactions/s", "the calls alone"
    return [Row("relay", rate, unit, limited, bare, bar, _BACKLOG_NOTE, ratio)]


async def relay_lag(rig: Rig) -> list[Row]:
    """From commit in EvPower to commit in Supabase, by PostgreSQL's own commit timestamps.

    Both databases are on one cluster here (track_commit_timestamp is on): one clock for both. The
    limit is one call of evpower_apply with one client, while the same top-ups come in.
    """
    notes: list[str] = []

    async def ours() -> float:
        lags, rate = await _paced_lags(rig)
        notes.append(
            f"p50 {lags[len(lags) // 2]:.0f} ms, worst {lags[-1]:.0f} ms of {len(lags)} top-ups at"
            f" {rate:.0f}/s"
        )
        return p99(lags)

    async def limit() -> float:
        return p99(await _paced_bare_calls(rig))

    turns = await in_turn(ours, limit, rounds=_ROUNDS)
    lag, bare = turns
    bar, ratio = Bar("<=", 12), turns.ratio()
    return [Row("relay_lag_p99", lag, "ms", "one bare call", bare, bar, notes[-1], ratio)]


async def _paced_lags(rig: Rig) -> tuple[list[float], float]:
    dsn = await rig.new_database()
    async with rig.owner(dsn) as owner:
        await seed.add_clients(owner, _CLIENTS)
    async with AsyncExitStack() as stack:
        server = await EvPowerServer.start(rig, stack, dsn, role="all")
        await _carried(rig, dsn)  # the new clients themselves
        first, webhooks = await fresh_webhooks(rig, dsn, int(_RATE_PER_S * (_PACED_S + 1)))
        report = await server.load(
            webhooks, rate=_RATE_PER_S, seconds=_PACED_S, warmup_s=1.0, cycle=False
        )
        await _carried(rig, dsn)
        lags = await _lags_ms(rig, dsn, first)
    if len(lags) < report.answered:
        raise RuntimeError(f"{report.answered} were confirmed, Supabase has {len(lags)}")
    return lags, report.rate


async def _paced_bare_calls(rig: Rig) -> list[float]:
    """Milliseconds of each call, one after the other, while a process without a relay is loaded."""
    supabase = await rig.supabase()
    dsn = await rig.new_database()
    async with rig.owner(dsn) as owner:
        await seed.add_clients(owner, _CLIENTS)
        bodies = await _bodies(dsn, keys=1, most=_BARE_CALLS)
    async with AsyncExitStack() as stack:
        server = await EvPowerServer.start(rig, stack, dsn)
        _, webhooks = await fresh_webhooks(rig, dsn, int(_RATE_PER_S * (_PACED_S + 1)))
        loading = asyncio.create_task(
            server.load(webhooks, rate=_RATE_PER_S, seconds=_PACED_S, warmup_s=1.0, cycle=False)
        )
        took_ms: list[float] = []
        async with HttpClient() as http:
            rpc = SupabaseRpc(http, supabase.url, supabase.secret_key, timeout_s=_WAIT_LIMIT_S)
            for body in bodies:
                if loading.done():
                    break
                began = time.perf_counter()
                await rpc.call("evpower_apply", body)
                took_ms.append((time.perf_counter() - began) * 1000)
                await asyncio.sleep(_BARE_PAUSE_S)
        await loading
    return sorted(took_ms)


async def _bare_calls(rig: Rig) -> float:
    supabase = await rig.supabase()
    dsn = await rig.new_database()
    settings = Settings(_env_file=None)  # pyright: ignore[reportCallIssue]
    async with rig.owner(dsn) as owner:
        await _fill(owner)
    bodies = iter(await _bodies(dsn, keys=settings.relay_batch, most=_BACKLOG))
    began = time.perf_counter()
    async with HttpClient() as http:
        rpc = SupabaseRpc(http, supabase.url, supabase.secret_key, timeout_s=_WAIT_LIMIT_S)

        async def send() -> None:
            for body in bodies:
                await rpc.call("evpower_apply", body)

        await asyncio.gather(*(send() for _ in range(settings.relay_in_flight)))
    took_s = time.perf_counter() - began
    await _require_equal(rig, dsn)
    return _BACKLOG / took_s


async def _bodies(dsn: str, *, keys: int, most: int) -> list[bytes]:
    """What a relay would send, at most so many calls."""
    settings = Settings(_env_file=None)  # pyright: ignore[reportCallIssue]
    database = await Database.open(dsn, size=2)
    bodies: list[bytes] = []
    try:
        async with database.connection() as connection:
            while len(bodies) < most and (
                claims := await store.claim(
                    connection, keys=keys, transactions=settings.relay_transactions, lease_s=3600
                )
            ):
                sent = await store.read(
                    connection, claims, chunk=settings.relay_transactions, now=utc_now()
                )
                bodies.append(sent.body())
    finally:
        await database.close()
    return bodies


async def _fill(owner: Connection) -> None:
    await seed.add_clients(owner, _CLIENTS)
    first = await seed.add_payments(owner, _BACKLOG, confirmed=True)
    await seed.credit_all(owner, first, _BACKLOG)
    await seed.settle_down(owner)


_BACKLOG_NOTE = (
    f"{_BACKLOG:,} transactions of {_CLIENTS:,} clients, from the first call to the last"
)


async def _backlog(rig: Rig) -> float:
    dsn = await rig.new_database()
    async with rig.owner(dsn) as owner:
        await _fill(owner)
        async with AsyncExitStack() as stack:
            watch = asyncio.create_task(_time_of_work(owner))
            await EvPowerServer.start(rig, stack, dsn, role="worker")
            took_s = await watch
        await _require_equal(rig, dsn)
    return _BACKLOG / took_s


async def _time_of_work(owner: Connection) -> float:
    """Seconds from the first key taken to the last one gone."""
    began = await _until(owner, "exists (select from sync.pending where leased_until is not null)")
    return await _until(owner, _NOTHING_PENDING) - began


async def _until(owner: Connection, condition: str) -> float:
    """The moment when it came true."""
    deadline = time.monotonic() + _WAIT_LIMIT_S
    while not await owner.fetchval(f"select {condition}"):
        if time.monotonic() > deadline:
            raise RuntimeError(f"the relay does not get on: never {condition}")
        await asyncio.sleep(0.02)
    return time.monotonic()


async def _carried(rig: Rig, dsn: str) -> None:
    async with rig.owner(dsn) as owner:
        await _until(owner, _NOTHING_PENDING)


async def _require_equal(rig: Rig, dsn: str) -> None:
    """Everything is there, once: counts and sums of this database's clients agree."""
    sums = "select count(*), coalesce(sum({}), 0)::bigint from {} where client_id::text = any ($1)"
    async with rig.owner(dsn) as owner, rig.owner(rig.supabase_dsn) as theirs:
        ids = [
            str(client)
            for client in await owner.fetchval("select array_agg(id) from bench.clients")
        ]
        ours = await owner.fetchrow(sums.format("amount_minor", "wallet.transactions"), ids)
        there = await theirs.fetchrow(sums.format("amount * 100", "public.transactions"), ids)
    if tuple(ours or ()) != tuple(there or ()):
        raise RuntimeError(f"EvPower has {ours}, Supabase has {there}")


async def _lags_ms(rig: Rig, dsn: str, first: int) -> list[float]:
    commits = "select client_id::text, version, pg_xact_commit_timestamp(xmin) as at from {}"
    async with rig.owner(dsn) as owner, rig.owner(rig.supabase_dsn) as theirs:
        ours = await owner.fetch(
            commits.format("wallet.transactions") + " where payment_id >= $1", first
        )
        there = await theirs.fetch(
            commits.format("public.transactions") + " where client_id::text = any ($1)",
            list({row["client_id"] for row in ours}),
        )
    seen = {(row["client_id"], row["version"]): row["at"] for row in there}
    return sorted(
        (seen[key] - row["at"]).total_seconds() * 1000
        for row in ours
        if (key := (row["client_id"], row["version"])) in seen
    )

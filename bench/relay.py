"""Carrying transactions to Supabase: how fast a backlog goes, how late a single one is."""

import asyncio
import time
from contextlib import AsyncExitStack

from bench import seed
from bench.evpower_server import EvPowerServer
from bench.harness import Bar, Row, say
from bench.house import House
from bench.webhooks import fresh_webhooks
from evpower.foundation.db import Connection

_BACKLOG = 60_000
_CLIENTS = 6_000
_PATIENCE_S = 120.0
_PACE = 200.0
_PACED_S = 20.0
_ROUNDS = 3
_NOTHING_PENDING = "not exists (select from sync.pending)"


async def relay(house: House) -> list[Row]:
    """Transactions a second of `evpower serve --role worker` after an outage of Supabase."""
    rates = sorted([await _backlog(house) for _ in range(_ROUNDS)])
    say("    " + "  ".join(f"{rate:,.0f}" for rate in rates))
    rate = rates[len(rates) // 2]
    bar = Bar(">=", 8_000, of="value")
    return [Row("relay", rate, "transactions/s", "limit", 8_000, bar, _BACKLOG_NOTE)]


async def relay_lag(house: House) -> list[Row]:
    """From commit in EvPower to commit in Supabase, by PostgreSQL's own commit timestamps.

    Both databases are on one cluster here (track_commit_timestamp is on): one clock for both.
    """
    dsn = await house.new_database()
    async with house.owner(dsn) as owner:
        await seed.add_clients(owner, _CLIENTS)
    async with AsyncExitStack() as stack:
        server = await EvPowerServer.start(house, stack, dsn, role="all")
        await _carried(house, dsn)  # the new clients themselves
        first, webhooks = await fresh_webhooks(house, dsn, int(_PACE * (_PACED_S + 1)))
        report = await server.load(
            webhooks, rate=_PACE, seconds=_PACED_S, warmup_s=1.0, cycle=False
        )
        await _carried(house, dsn)
        lags = await _lags_ms(house, dsn, first)
    if len(lags) < report.answered:
        raise RuntimeError(f"{report.answered} were confirmed, Supabase has {len(lags)}")
    p50, p99 = lags[len(lags) // 2], lags[int(len(lags) * 0.99)]
    say(f"    {report.rate:.0f}/s, answered p99 {report.p99_ms:.1f} ms")
    note = (
        f"p50 {p50:.0f} ms, worst {lags[-1]:.0f} ms of {len(lags)} top-ups at {report.rate:.0f}/s"
    )
    return [Row("relay_lag_p99", p99, "ms", "limit", 500, Bar("<=", 500, of="value"), note)]


_BACKLOG_NOTE = (
    f"{_BACKLOG:,} transactions of {_CLIENTS:,} clients, from the first call to the last"
)


async def _backlog(house: House) -> float:
    dsn = await house.new_database()
    async with house.owner(dsn) as owner:
        await seed.add_clients(owner, _CLIENTS)
        first = await seed.add_payments(owner, _BACKLOG, confirmed=True)
        await seed.credit_all(owner, first, _BACKLOG)
        await seed.settle_down(owner)
        async with AsyncExitStack() as stack:
            watch = asyncio.create_task(_time_of_work(owner))
            await EvPowerServer.start(house, stack, dsn, role="worker")
            took_s = await watch
        await _require_equal(house, dsn)
    return _BACKLOG / took_s


async def _time_of_work(owner: Connection) -> float:
    """Seconds from the first key taken to the last one gone."""
    began = await _until(owner, "exists (select from sync.pending where leased_until is not null)")
    return await _until(owner, _NOTHING_PENDING) - began


async def _until(owner: Connection, condition: str) -> float:
    """The moment when it came true."""
    deadline = time.monotonic() + _PATIENCE_S
    while not await owner.fetchval(f"select {condition}"):
        if time.monotonic() > deadline:
            raise RuntimeError(f"the relay does not get on: never {condition}")
        await asyncio.sleep(0.02)
    return time.monotonic()


async def _carried(house: House, dsn: str) -> None:
    async with house.owner(dsn) as owner:
        await _until(owner, _NOTHING_PENDING)


async def _require_equal(house: House, dsn: str) -> None:
    """Everything is there, once: counts and sums of this database's clients agree."""
    sums = "select count(*), coalesce(sum({}), 0)::bigint from {} where client_id::text = any ($1)"
    async with house.owner(dsn) as owner, house.owner(house.supabase_dsn) as theirs:
        ids = [str(one) for one in await owner.fetchval("select array_agg(id) from bench.clients")]
        ours = await owner.fetchrow(sums.format("amount_minor", "wallet.transactions"), ids)
        there = await theirs.fetchrow(sums.format("amount * 100", "public.transactions"), ids)
    if tuple(ours or ()) != tuple(there or ()):
        raise RuntimeError(f"EvPower has {ours}, Supabase has {there}")


async def _lags_ms(house: House, dsn: str, first: int) -> list[float]:
    commits = "select client_id::text, version, pg_xact_commit_timestamp(xmin) as at from {}"
    async with house.owner(dsn) as owner, house.owner(house.supabase_dsn) as theirs:
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

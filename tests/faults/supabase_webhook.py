"""Configures the webhook of the local Supabase, and disables it."""

import os
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import asyncpg
import httpx

from evpower.devstack.local import LocalEvPower
from tests.conftest import as_owner
from tests.faults.driver import Driver
from tests.waiting import freeze, until


async def set_webhook(evpower: LocalEvPower, http: httpx.AsyncClient) -> None:
    """Supabase calls the API, as it did when the stack started."""
    await _configure(evpower, http, f"{evpower.urls().api}/api/v1/webhooks/supabase")


async def cut_webhook(evpower: LocalEvPower, http: httpx.AsyncClient) -> None:
    """Supabase calls no webhook."""
    await _configure(evpower, http, None)


async def _configure(evpower: LocalEvPower, http: httpx.AsyncClient, url: str | None) -> None:
    urls = evpower.urls()
    answer = await http.post(
        f"{urls.supabase}/rest/v1/rpc/evpower_webhook_configure",
        headers={"apikey": urls.secret_key},
        json={"payload": {"url": url}},
    )
    assert answer.status_code == 200, answer.text


async def is_looked_up(evpower: LocalEvPower) -> bool:
    """Nothing is behind the cursor: the worker has read the log to its end."""
    here = await asyncpg.connect(as_owner(evpower.urls().database_url))
    there = await asyncpg.connect(evpower.urls().supabase_database_url)
    try:
        at = await here.fetchrow("select xid, seq from sync.cursors where name = 'supabase'")
        last = await there.fetchrow(
            "select xid::text, seq from evpower.changes"
            " order by evpower.changes.xid desc, seq desc limit 1"
        )
        return at is not None and last is not None and tuple(at) == tuple(last)
    finally:
        await here.close()
        await there.close()


async def ring_once_more(evpower: LocalEvPower, http: httpx.AsyncClient) -> None:
    """Waits until all committed changes are returned: another user signs up.

    A notified process pulls for half a second; what an older transaction blocks for longer would
    wait for the worker.
    """
    await until(lambda: _nothing_is_held(evpower), "an older transaction never ended")
    await Driver(evpower, http).sign_up_there()


async def _nothing_is_held(evpower: LocalEvPower) -> bool:
    return await _holds(
        evpower.urls().supabase_database_url,
        "select not exists (select from evpower.changes"
        " where xid >= pg_snapshot_xmin(pg_current_snapshot()))",
    )


@asynccontextmanager
async def worker_away(evpower: LocalEvPower) -> AsyncGenerator[None]:
    """The worker hangs, so that only a notified process pulls.

    Between two of its transactions: one that stays open would hold up the change log of Supabase,
    whose database is in the same PostgreSQL, and a notified process pulls for a moment only.
    """
    worker = evpower.worker
    assert worker is not None

    async def hangs_at_rest() -> bool:
        await freeze(worker.pid)
        if await _no_one_is_in_a_transaction(evpower):
            return True
        os.kill(worker.pid, signal.SIGCONT)
        return False

    try:
        await until(hangs_at_rest, "EvPower is always in a transaction")
        yield
    finally:
        os.kill(worker.pid, signal.SIGCONT)


async def _no_one_is_in_a_transaction(evpower: LocalEvPower) -> bool:
    """A `begin` that PostgreSQL has not read yet is none: without a statement it holds nothing."""
    return await _holds(
        evpower.urls().database_url,
        "select not exists (select from pg_stat_activity"
        " where usename = 'evpower' and state <> 'idle' and pid <> pg_backend_pid())",
    )


async def _holds(database_url: str, fact: str) -> bool:
    connection = await asyncpg.connect(as_owner(database_url))
    try:
        return await connection.fetchval(fact)
    finally:
        await connection.close()

"""Hangs the doorbell of the local Supabase, and takes it away."""

import asyncpg
import httpx

from evpower.devstack.local import LocalEvPower


async def hang_bell(evpower: LocalEvPower, http: httpx.AsyncClient) -> None:
    """It rings at the API, as it did when the stack started."""
    await _configure(evpower, http, f"{evpower.urls().api}/api/v1/webhooks/supabase")


async def cut_bell(evpower: LocalEvPower, http: httpx.AsyncClient) -> None:
    """Nobody is rung."""
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
    here = await asyncpg.connect(evpower.urls().database_url)
    there = await asyncpg.connect(evpower.urls().supabase_database_url)
    try:
        seq = await here.fetchval("select seq from sync.cursors where name = 'supabase'")
        last = await there.fetchval("select max(seq) from evpower.changes")
        return seq == last
    finally:
        await here.close()
        await there.close()

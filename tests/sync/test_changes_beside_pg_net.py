"""pg_net's worker keeps a transaction open while any webhook is slow; changes do not wait for it.

The worker is a background process that only that extension has: here a session of the test takes
its place, by the function that says which transactions are the worker's.
"""

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from evpower.foundation.db import Connection
from tests.conftest import Server
from tests.sync.scenario import Target
from tests.waiting import until

WORKER = "stands in for pg_net"
IS_WORKER = f"""
create or replace function evpower.pg_net_transactions() returns setof xid language sql stable as $$
  select a.backend_xid from pg_stat_activity a
   where a.application_name = '{WORKER}' and a.backend_xid is not null
     and not exists (select from pg_trigger t join pg_class c on c.oid = t.tgrelid
                       join pg_namespace n on n.oid = c.relnamespace
                      where n.nspname = 'net' and not t.tgisinternal)
$$"""


@pytest.fixture
async def worker_is_a_session(there: Connection) -> AsyncGenerator[None]:
    as_it_is: str = await there.fetchval(
        "select pg_get_functiondef('evpower.pg_net_transactions()'::regprocedure)"
    )
    await there.execute(IS_WORKER)
    yield
    await there.execute(as_it_is)


@asynccontextmanager
async def transaction(target: Target, name: str) -> AsyncGenerator[Connection]:
    """One that has its number and stays open."""
    connection: Connection = await asyncpg.connect(
        target.dsn, server_settings={"application_name": name}
    )
    try:
        await connection.execute("begin")
        await connection.fetchval("select pg_current_xact_id()")
        yield connection
    finally:
        await connection.close()


async def changes(there: Connection) -> dict[str, Any]:
    raw: str = await there.fetchval("select public.evpower_changes('{\"limit\": 1000}')::text")
    return json.loads(raw)


async def new_row(there: Connection) -> str:
    client = str(uuid4())
    await there.execute("insert into public.clients (id, balance) values ($1::uuid, 0)", client)
    return client


async def is_read(there: Connection, client: str) -> bool:
    return client in {change["id"] for change in (await changes(there))["changes"]}


@pytest.mark.usefixtures("worker_is_a_session")
async def test_the_worker_holds_nothing_back(target: Target, there: Connection) -> None:
    async with transaction(target, WORKER):
        client = await new_row(there)
        await until(lambda: is_read(there, client))


@pytest.mark.usefixtures("worker_is_a_session")
async def test_any_other_transaction_does(target: Target, there: Connection) -> None:
    async with transaction(target, WORKER), transaction(target, "an app"):
        client = await new_row(there)
        answer = await changes(there)
        assert client not in {change["id"] for change in answer["changes"]}
        assert answer["held"] is True
    await until(lambda: is_read(there, client))


@pytest.mark.usefixtures("worker_is_a_session")
async def test_a_worker_that_a_trigger_could_make_write_changes_counts(
    server: Server, target: Target, there: Connection
) -> None:
    extension: Connection = await asyncpg.connect(server.dsn(target.dsn.rsplit("/", 1)[1]))
    await extension.execute(
        "create function public.on_response() returns trigger language plpgsql"
        " as $$ begin return null; end $$;"
        " create trigger responded after insert on net._http_response"
        " for each row execute function public.on_response()"
    )
    try:
        async with transaction(target, WORKER):
            client = await new_row(there)
            assert not await is_read(there, client)
    finally:
        await extension.execute(
            "drop trigger responded on net._http_response; drop function public.on_response()"
        )
        await extension.close()


async def test_no_session_of_an_app_counts_as_the_worker(target: Target, there: Connection) -> None:
    async with transaction(target, "pg_net 0.19.5 worker"):
        client = await new_row(there)
        assert not await is_read(there, client)

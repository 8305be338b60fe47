"""Of every column that EvPower writes in Supabase a change by hand is noticed, or has a reason."""

import json
import re
from typing import Any, cast
from uuid import UUID

import httpx
import pytest

from evpower.config import Settings
from evpower.foundation.clock import utc_now
from evpower.foundation.db import Connection, Database
from evpower.sync import Relay, Rpc, SupabaseRpc
from evpower.sync.model import ComparedTopic
from evpower.sync.reconciliation.digests import DigestKey, Digests
from evpower.sync.reconciliation.drift import agree
from tests.sync.checking import client_on_both_sides, compare, empty, kinds, past_every_guard
from tests.sync.conftest import rpc_to
from tests.sync.scenario import Scenario, Target

pytestmark = pytest.mark.parametrize("target", ["fresh_project"], indirect=True)

_PROFILE = "compared with the profile: Supabase is right about it"
_ORDER = "orders EvPower's writes: what it lets through is compared"
_AT_FIRST = "written to a new row alone, then the project's"
_ANY_WRITE = "is that of any write, the project's too"
NOT_COMPARED = {
    ("clients", "email"): _PROFILE,
    ("clients", "phone"): _PROFILE,
    ("clients", "name"): _PROFILE,
    ("clients", "wallet_revision"): _ORDER,
    ("clients", "evpower_revision"): _ORDER,
    ("clients", "created_at"): _AT_FIRST,
    ("clients", "updated_at"): _ANY_WRITE,
    ("charging_sessions", "updated_at"): _ANY_WRITE,
}
OTHER = {
    "uuid": "gen_random_uuid()",
    "text": "'x'",
    "numeric": "coalesce({0}, 0) + 1",
    "integer": "coalesce({0}, 0) + 1",
    "bigint": "coalesce({0}, 0) + 1",
    "timestamp with time zone": "coalesce({0}, now()) + interval '1 h'",
}
OTHER_WORDS = {
    ("clients", "status"): "'blocked'",
    ("charging_sessions", "status"): "'started'",
    ("transactions", "type"): "'refund'",
}


@pytest.fixture
def rpc(http: httpx.AsyncClient, target: Target) -> SupabaseRpc:
    return rpc_to(http, target)


@pytest.fixture
async def client(scenario: Scenario, relay: Relay, there: Connection) -> UUID:
    """A client with two top-ups and a charge, equal on both sides."""
    await empty(there)
    return await client_on_both_sides(scenario, relay, there)


async def written_columns(there: Connection) -> dict[tuple[str, str], str]:
    """Returns each column that the installed function writes, with its type."""
    source = await there.fetchval("select prosrc from pg_proc where proname = 'apply_set'")
    inserts = re.findall(r"insert into public\.(\w+) as \w+ \(([^)]*)\)", source)
    rows = await there.fetch(
        "select table_name, column_name, data_type from information_schema.columns"
        " where table_schema = 'public'"
    )
    types = {(row["table_name"], row["column_name"]): row["data_type"] for row in rows}
    keys = {(table, name.strip()) for table, names in inserts for name in names.split(",")}
    return {key: types[key] for key in keys}


async def is_noticed(digests: Digests, topic: ComparedTopic, key: UUID) -> bool:
    """Whether hashes differ, and the rows behind them."""
    if not await digests.differing(topic, [DigestKey(key, deletion_requested=False)]):
        return False
    theirs = await digests.theirs(topic, [str(key)])
    ours = await digests.ours(topic, [key])
    return not agree(ours.get(str(key)), theirs.get(str(key)))


async def test_a_change_in_any_written_column_is_noticed(
    db: Database, rpc: SupabaseRpc, scenario: Scenario, there: Connection, client: UUID
) -> None:
    session = await scenario.db.fetchval("select id from charging.sessions")
    digests, columns = Digests(db, rpc), await written_columns(there)
    assert {table for table, _ in columns} == {"clients", "transactions", "charging_sessions"}
    unnoticed: set[tuple[str, str]] = set()
    async with past_every_guard(there):
        for table in ("clients", "transactions", "charging_sessions"):
            await there.execute(f"create temp table was_{table} as table public.{table}")
        for (table, column), kind in columns.items():
            value = OTHER_WORDS.get((table, column)) or OTHER[kind].format(column)
            newest = " where version = 3" if table == "transactions" else ""
            await there.execute(f"update public.{table} set {column} = {value}{newest}")
            is_session = table == "charging_sessions"
            topic: ComparedTopic = "session" if is_session else "client"
            if not await is_noticed(digests, topic, session if is_session else client):
                unnoticed.add((table, column))
            await there.execute(
                f"delete from public.{table}; insert into public.{table} table was_{table}"
            )
        assert not await is_noticed(digests, "client", client)
        assert not await is_noticed(digests, "session", session)
    assert unnoticed == NOT_COMPARED.keys()


async def test_links_of_a_history_sent_in_parts_are_repaired(
    db: Database, rpc: SupabaseRpc, settings: Settings, there: Connection, client: UUID
) -> None:
    """A later part with the same money is written again, too."""
    await there.execute("update public.transactions set invoice_id = 'X', session_id = null")
    one_each = settings.model_copy(update={"relay_transactions": 1})
    deliver = Relay(db, rpc, one_each, utc_now).drain
    result = await compare(db, rpc, repair=True, deliver=deliver)
    assert (kinds(result), result.equal) == ({str(client): "transactions"}, True)


class OlderDigest:
    """The function as it was before it knew of links: it has no use for the member."""

    def __init__(self, rpc: Rpc) -> None:
        self.rpc = rpc

    async def call(self, function: str, body: bytes) -> object:
        request: dict[str, Any] = json.loads(body)
        request["payload"].pop("whole", None)
        answer = cast("dict[str, Any]", await self.rpc.call(function, json.dumps(request).encode()))
        answer.pop("whole", None)
        if request["payload"]["topic"] == "clients":
            for row in answer.get("rows", []):
                row.pop("currency", None)
        return answer


async def test_a_project_with_the_older_function_is_compared_as_before(
    db: Database, rpc: SupabaseRpc, there: Connection, client: UUID
) -> None:
    older, keys = OlderDigest(rpc), [DigestKey(client, deletion_requested=False)]
    assert await Digests(db, older).differing("client", keys) == []
    await there.execute("update public.transactions set invoice_id = 'X'")
    assert (await compare(db, older)).drift == ()
    await there.execute("update public.transactions set amount = amount + 1 where version = 1")
    assert kinds(await compare(db, older)) == {str(client): "transactions"}

"""A new secret: known here before Supabase signs with it, the older ones for a while longer."""

import asyncio
import base64
import hashlib
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from evpower import sync
from evpower.foundation.db import Connection, Database, Record
from evpower.sync.webhook import secrets
from tests.sync.conftest import rpc_to
from tests.sync.scenario import Target
from tests.waiting import until

URL = "http://127.0.0.1:9/api/v1/webhooks/supabase"


class FakeSupabase:
    """Returns a given response; stores each request, and the secrets EvPower accepted then."""

    def __init__(self, owner: Connection, answer: object = None) -> None:
        self.owner = owner
        self.answer: object = answer or {"pg_net": True, "kept_in": "vault"}
        self.calls: list[dict[str, Any]] = []
        self.known_then: list[list[str]] = []

    async def call(self, function: str, body: bytes) -> object:
        payload = json.loads(body)["payload"]
        self.calls.append({"function": function, **payload})
        rows = await self.owner.fetch("select secret from sync.webhook_secrets order by id")
        self.known_then.append([row["secret"] for row in rows])
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


async def _stored(owner: Connection) -> list[Record]:
    return await owner.fetch("select secret, not_after from sync.webhook_secrets order by id")


async def test_secret_is_known_here_before_supabase_has_it(db: Database, owner: Connection) -> None:
    supabase = FakeSupabase(owner)
    done = await sync.rotate_secret(db, supabase, URL, random_bytes=lambda n: b"\x07" * n)
    secret = "whsec_" + base64.b64encode(b"\x07" * 32).decode()
    assert supabase.calls == [
        {"function": "evpower_webhook_configure", "url": URL, "secret": secret}
    ]
    assert supabase.known_then == [[secret]]
    assert (done.stored_in, done.pg_net, done.retired) == ("vault", True, 0)


async def test_older_secrets_end_after_the_grace_and_not_later_than_before(
    db: Database, owner: Connection
) -> None:
    supabase = FakeSupabase(owner)
    await sync.rotate_secret(db, supabase, URL, grace=timedelta(hours=24))
    await sync.rotate_secret(db, supabase, URL, grace=timedelta(hours=1))
    await sync.rotate_secret(db, supabase, URL, grace=timedelta(hours=24))
    first, second, third = await _stored(owner)
    now = datetime.now(UTC)
    assert timedelta(minutes=59) < first["not_after"] - now <= timedelta(hours=1)
    assert timedelta(hours=23) < second["not_after"] - now <= timedelta(hours=24)
    assert third["not_after"] is None
    await owner.execute(
        "update sync.webhook_secrets set not_after = now() - interval '1 s'"
        " where not_after is not null"
    )
    await sync.rotate_secret(db, supabase, URL)
    assert len(await _stored(owner)) == 2


async def test_refused_secret_is_forgotten(db: Database, owner: Connection) -> None:
    await sync.rotate_secret(db, FakeSupabase(owner), URL)
    before = await _stored(owner)
    with pytest.raises(sync.TargetRefuses):
        await sync.rotate_secret(db, FakeSupabase(owner, sync.TargetRefuses("no")), URL)
    assert await _stored(owner) == before


async def test_without_an_answer_old_and_new_both_stay(db: Database, owner: Connection) -> None:
    await sync.rotate_secret(db, FakeSupabase(owner), URL)
    with pytest.raises(sync.TargetUnavailable):
        await sync.rotate_secret(db, FakeSupabase(owner, sync.TargetUnavailable("?")), URL)
    assert [row["not_after"] for row in await _stored(owner)] == [None, None]


async def test_of_two_rotations_at_once_the_one_supabase_has_stays(
    db: Database, owner: Connection
) -> None:
    """The first to begin was the last to reach Supabase: the other must not end its secret."""
    supabase = Slow(owner)
    first = asyncio.create_task(sync.rotate_secret(db, supabase, URL))
    await supabase.called.wait()
    waits = asyncio.Event()

    async def pause(_: float) -> None:
        waits.set()
        await supabase.may_answer.wait()

    second = asyncio.create_task(sync.rotate_secret(db, supabase, URL, pause=pause))
    await until(lambda: second.done() or waits.is_set())
    assert not second.done()
    supabase.may_answer.set()
    await asyncio.gather(first, second)
    ends = {row["secret"]: row["not_after"] for row in await _stored(owner)}
    assert len(ends) == 2
    assert ends[supabase.holds] is None


class Slow(FakeSupabase):
    """The first call takes long; whatever comes last is what Supabase holds."""

    def __init__(self, owner: Connection) -> None:
        super().__init__(owner)
        self.called, self.may_answer = asyncio.Event(), asyncio.Event()
        self.holds = ""

    async def call(self, function: str, body: bytes) -> object:
        if not self.called.is_set():
            self.called.set()
            await self.may_answer.wait()
        answer = await super().call(function, body)
        self.holds = json.loads(body)["payload"]["secret"]
        return answer


async def test_both_sides_hold_the_same_one(
    db: Database, owner: Connection, http: httpx.AsyncClient, target: Target, there: Connection
) -> None:
    rpc = rpc_to(http, target)
    await there.execute("delete from evpower.secrets; update evpower.webhook set kept_in = null")
    assert (await sync.webhook_status(db, rpc)).same is None
    try:
        done = await sync.rotate_secret(db, rpc, URL)
        assert (done.pg_net, done.stored_in) == (True, "table")
        now = await sync.webhook_status(db, rpc)
        assert (now.url, now.same, now.ends_at, now.cursor) == (URL, True, None, None)
        (stored,) = await _stored(owner)
        in_supabase = await there.fetchval("select secret from evpower.secrets")
        assert in_supabase == stored["secret"]
        await owner.execute("update sync.webhook_secrets set secret = 'another, long enough'")
        assert (await sync.webhook_status(db, rpc)).same is False
        assert (await sync.webhook_status(db, rpc, f"v1,{in_supabase}")).same is True
    finally:
        await sync.disable_webhook(rpc)
    assert (await sync.webhook_status(db, rpc)).url is None


async def test_waiting_changes_are_those_behind_the_cursor(
    db: Database, owner: Connection, http: httpx.AsyncClient, target: Target, there: Connection
) -> None:
    rpc = rpc_to(http, target)
    await there.execute("delete from evpower.changes")
    for n in range(3):
        await there.execute(
            f"insert into public.clients (id) values ('0b5a1d7e-0000-4000-8000-00000000000{n}')"
        )
    assert (await sync.webhook_status(db, rpc)).changes == 3
    first = await there.fetchrow("select xid::text, seq from evpower.changes order by seq limit 1")
    assert first is not None
    await owner.execute("update sync.cursors set xid = $1, seq = $2", first["xid"], first["seq"])
    now = await sync.webhook_status(db, rpc)
    assert (now.changes, now.cursor) == (2, (first["xid"], first["seq"]))
    assert now.oldest is not None


def test_digest_is_of_the_secrets_text() -> None:
    """As evpower_webhook_status tells it."""
    secret = "whsec_" + base64.b64encode(bytes(32)).decode()
    assert secrets._digest(bytes(32)) == hashlib.sha256(secret.encode()).hexdigest()

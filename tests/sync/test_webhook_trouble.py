"""The webhook while secrets change, the database is away, the inbox grows, and nonsense comes."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from evpower.foundation.bus import LocalBus
from evpower.foundation.db import Connection, Database
from evpower.sync.webhook.receive import SupabaseWebhooks
from tests.conftest import patient_database
from tests.sync.notifications import (
    NEWER,
    SECRET,
    STORED,
    Hook,
    add_secret,
    calling,
    change,
    counted,
    inbox,
    plain,
    raw_call,
)


@pytest.fixture
async def hook(db: Database) -> AsyncIterator[Hook]:
    async with calling(db) as hook:
        yield hook


class TestSecrets:
    async def test_without_any_secret_nothing_is_accepted(self, db: Database) -> None:
        async with calling(db, secrets="") as hook:
            raw = change()
            before = counted("standard", "no_secret")
            with structlog.testing.capture_logs() as logs:
                assert await hook.deliver(raw, secret="whsec_") == (401, "invalid_signature")
                assert (await hook.send(raw, plain(raw, "whsec_"))).status_code == 401
                assert await hook.deliver(raw) == (401, "invalid_signature")
            assert counted("standard", "no_secret") == before + 2
            assert (
                len([line for line in logs if line.get("reason") == "no_secret"]) == 2
            )  # one a form

    async def test_settings_and_database_both_count(self, hook: Hook, owner: Connection) -> None:
        await add_secret(owner, STORED)
        raw = change()
        for n, secret in enumerate([SECRET, STORED, SECRET]):
            assert await hook.deliver(raw, secret=secret, message_id=f"m{n}") == (200, True)
        assert (await hook.send(raw, plain(raw, STORED))).json()["accepted"] is True

    async def test_rotation_needs_no_restart(self, hook: Hook, owner: Connection) -> None:
        raw = change()
        assert await hook.deliver(raw) == (200, True)
        hook.time.forward(1)
        await add_secret(owner, NEWER)
        assert await hook.deliver(raw, secret=NEWER, message_id="m2") == (200, True)
        assert await hook.deliver(raw, secret=SECRET, message_id="m3") == (200, True)

    async def test_all_calls_with_a_new_secret_at_once_are_accepted(
        self, hook: Hook, owner: Connection
    ) -> None:
        raw = change()
        await hook.deliver(raw)
        hook.time.forward(1)
        await add_secret(owner, NEWER)
        responses = await asyncio.gather(
            *(hook.deliver(raw, secret=NEWER, message_id=f"n{n}") for n in range(20))
        )
        assert responses == [(200, True)] * 20

    async def test_forgeries_ask_the_database_once_a_second(
        self, hook: Hook, owner: Connection
    ) -> None:
        raw = change()
        assert await hook.deliver(raw, secret=NEWER) == (401, "invalid_signature")
        await add_secret(owner, NEWER)
        assert await hook.deliver(raw, secret=NEWER) == (401, "invalid_signature")
        hook.time.forward(0.9)
        assert await hook.deliver(raw, secret=NEWER) == (401, "invalid_signature")
        hook.time.forward(0.1)
        assert await hook.deliver(raw, secret=NEWER) == (200, True)

    async def test_a_secret_ends_at_its_time_and_when_it_is_deleted(
        self, hook: Hook, owner: Connection
    ) -> None:
        raw = change()
        # The database drops ended ones by its own clock: far enough ahead for both.
        end = datetime.now(UTC) + timedelta(days=365)
        await add_secret(owner, STORED, not_after=end)
        await add_secret(owner, NEWER)
        hook.time.now = end - timedelta(seconds=1)
        assert await hook.deliver(raw, secret=STORED, message_id="m1") == (200, True)
        hook.time.forward(1)
        assert await hook.deliver(raw, secret=STORED, message_id="m2") == (401, "invalid_signature")
        assert await hook.deliver(raw, secret=NEWER, message_id="m3") == (200, True)
        await owner.execute("delete from sync.webhook_secrets")
        hook.time.forward(30)
        assert await hook.deliver(raw, secret=NEWER, message_id="m4") == (401, "invalid_signature")

    async def test_an_unusable_secret_does_not_stop_the_others(
        self, hook: Hook, owner: Connection
    ) -> None:
        await add_secret(owner, STORED)
        await add_secret(owner, "whsec_this is not base64!")
        with structlog.testing.capture_logs() as logs:
            assert await hook.deliver(change(), secret=STORED) == (200, True)
        assert [line["event"] for line in logs if line["log_level"] == "error"] == [
            "webhook_secret_rejected"
        ]
        assert "this is not" not in str(logs)

    def test_unusable_settings_stop_the_start(self) -> None:
        with pytest.raises(ValueError, match="EVPOWER_SUPABASE_WEBHOOK_SECRETS"):
            SupabaseWebhooks(Database(""), LocalBus(), "whsec_!")


class TestDatabaseDown:
    async def test_an_authentic_call_is_deferred_and_then_accepted(self, hook: Hook) -> None:
        raw = change()
        await hook.db.close()
        answer = await hook.send(raw)
        assert (answer.status_code, answer.json()["error"]) == (503, "database_unavailable")
        assert int(answer.headers["retry-after"]) > 0
        assert hook.rings == []
        await hook.db.start()
        assert await hook.deliver(raw) == (200, True)

    async def test_a_forgery_is_refused_all_the_same(self, hook: Hook) -> None:
        raw = change()
        assert await hook.deliver(raw) == (200, True)
        await hook.db.close()
        hook.time.forward(100)
        assert await hook.deliver(raw, secret=NEWER) == (401, "invalid_signature")
        await hook.db.start()

    async def test_before_the_secrets_were_ever_read_no_one_is_called_a_forger(
        self, hook: Hook
    ) -> None:
        await hook.db.close()
        assert await hook.deliver(change(), secret=STORED) == (503, "database_unavailable")
        assert (await hook.send(change(), {})).status_code == 401
        await hook.db.start()

    async def test_stored_secrets_outlive_the_database(self, hook: Hook, owner: Connection) -> None:
        await add_secret(owner, STORED)
        assert await hook.deliver(change(), secret=STORED) == (200, True)
        await hook.db.close()
        hook.time.forward(100)
        raw = change(table="transactions")
        assert await hook.deliver(raw, secret=STORED) == (200, False)
        assert await hook.deliver(change(), secret=STORED) == (503, "database_unavailable")
        await hook.db.start()


class TestInbox:
    async def test_it_forgets_after_a_month(self, hook: Hook, owner: Connection) -> None:
        for n in range(3):
            await hook.deliver(change(), message_id=f"m{n}")
        now = await owner.fetchval("select now()")
        hook.time.now = now
        await owner.execute("update sync.inbox set received_at = $1 where event_id = 'm0'",
                            now - timedelta(days=30, seconds=1))  # fmt: skip
        await owner.execute("update sync.inbox set received_at = $1 where event_id = 'm1'",
                            now - timedelta(days=29))  # fmt: skip
        assert await hook.webhooks.purge() == 1
        assert await hook.webhooks.purge() == 0
        assert [row["event_id"] for row in await inbox(owner)] == ["m1", "m2"]

    async def test_many_are_forgotten_in_pieces_and_a_flood_is_bounded(
        self, hook: Hook, owner: Connection
    ) -> None:
        hook.time.now = await owner.fetchval("select now()")
        await owner.execute(
            "insert into sync.inbox (source, event_id, body_sha256, kind, received_at)"
            " select 'plain', 'e' || n, sha256(''), 'clients.update', now() - interval '31 days'"
            "   from generate_series(1, 11000) n"
        )
        await owner.execute("select setval(pg_get_serial_sequence('sync.inbox', 'id'), 2000000)")
        await owner.execute(
            "insert into sync.inbox (source, event_id, body_sha256, kind)"
            " values ('plain', 'recent', sha256(''), 'clients.update')"
        )
        await owner.execute("select setval(pg_get_serial_sequence('sync.inbox', 'id'), 3000000)")
        await hook.deliver(change())
        assert await hook.webhooks.purge() == 11_001
        assert [row["event_id"] for row in await inbox(owner)] == ["msg_1"]

    async def test_repeats_are_counted_at_their_event(self, hook: Hook, owner: Connection) -> None:
        raw = change("INSERT", "users")
        for message_id in ("m1", "m1", "m2"):
            await hook.deliver(raw, message_id=message_id)
        counted = await owner.fetch("select event_id, kind, repeats from sync.inbox order by id")
        assert [tuple(row) for row in counted] == [
            ("m1", "users.insert", 1),
            ("m2", "users.insert", 0),
        ]


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda child: st.lists(child, max_size=3)
    | st.dictionaries(st.text(max_size=9), child, max_size=3),
    max_leaves=8,
)  # fmt: skip
_EXAMPLES = settings(max_examples=60)


class TestAnything:
    def test_any_object_authentically_signed_is_accepted(self, dsn: str) -> None:
        @_EXAMPLES
        @given(st.lists(st.dictionaries(st.text(max_size=8), _JSON, max_size=4), max_size=5),
               st.sampled_from([None, 1, "\t"]), st.sampled_from([True, False]))  # fmt: skip
        def is_handled(objects: list[dict[str, Any]], indent: Any, ascii_only: Any) -> None:
            bodies = [
                json.dumps(
                    {"type": "INSERT", "table": "clients"} | {"record": child, "old_record": child},
                    indent=indent,
                    ensure_ascii=ascii_only,
                ).encode("utf-8", "surrogatepass")
                for child in objects
            ]
            assert all(
                status == 200 for status in asyncio.run(_statuses(dsn, bodies, sign_them=True))
            )

        is_handled()

    def test_no_header_and_no_body_breaks_it(self, dsn: str) -> None:
        @_EXAMPLES
        @given(
            st.lists(
                st.tuples(
                    st.sampled_from([b"webhook-id", b"webhook-timestamp", b"webhook-signature",
                                     b"x-supabase-signature", b"content-type"]),
                    st.binary(max_size=100) | st.sampled_from([b"msg_1", b"1764000000", b"v1,",
                                                               b"sha256=" + b"0" * 64]),
                ),
                max_size=8,
            ),
            st.binary(max_size=100),
        )  # fmt: skip
        def refused(headers: list[tuple[bytes, bytes]], raw: bytes) -> None:
            (status,) = asyncio.run(_statuses(dsn, [raw], headers=headers))
            assert status == 401

        refused()


async def _statuses(
    dsn: str,
    bodies: list[bytes],
    *,
    sign_them: bool = False,
    headers: list[tuple[bytes, bytes]] | None = None,
) -> list[int]:
    """The answers of an application in an event loop of its own; headers may be any bytes."""
    db = patient_database(dsn, size=2)
    await db.start()
    statuses: list[int] = []
    async with calling(db) as hook:
        for raw in bodies:
            signed = hook.headers(raw, message_id=f"m_{hashlib.sha256(raw).hexdigest()}")
            given_headers = (
                [(k.encode(), v.encode()) for k, v in signed.items()]
                if sign_them
                else headers or []
            )
            statuses.append(await raw_call(hook.app, given_headers, raw))
    await db.close()
    return statuses

"""POST /api/v1/webhooks/supabase, through the whole application and a real database."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest
import structlog

from evpower.foundation.db import Connection, Database
from tests.api.scenario import on_a_socket
from tests.conftest import patient_database
from tests.sync.notifications import (
    SECRET,
    URL,
    Hook,
    calling,
    change,
    counted,
    inbox,
    plain,
)


@pytest.fixture
async def hook(db: Database) -> AsyncIterator[Hook]:
    async with calling(db) as hook:
        yield hook


class TestTaken:
    async def test_a_change_is_published_and_stored_without_its_contents(
        self, hook: Hook, owner: Connection
    ) -> None:
        raw = change(record={"id": "7", "email": "driver@example.kg", "balance": 5})
        answer = await hook.send(raw)
        assert (answer.status_code, answer.json()) == (200, {"success": True, "accepted": True})
        assert hook.rings == [UUID(int=0)]
        (row,) = await inbox(owner)
        assert (row["source"], row["event_id"]) == ("webhook", "msg_1")
        assert (row["kind"], row["row_id"]) == ("clients.update", "7")
        assert row["body_sha256"] == hashlib.sha256(raw).digest()
        assert "driver@example.kg" not in str(row)

    async def test_a_repeat_is_accepted_and_published_but_is_not_new(
        self, hook: Hook, owner: Connection
    ) -> None:
        raw = change()
        assert await hook.deliver(raw) == (200, True)
        hook.time.forward(299)
        assert await hook.deliver(raw, age_s=299) == (200, False)
        assert await hook.deliver(raw) == (200, False)  # signed anew
        assert len(hook.rings) == 3
        (row,) = await inbox(owner)
        assert (row["repeats"], row["reuses"]) == (2, 0)

    async def test_an_old_call_is_not_accepted_again(self, hook: Hook, owner: Connection) -> None:
        raw = change()
        headers = hook.headers(raw)
        assert (await hook.send(raw, headers)).json()["accepted"] is True
        hook.time.forward(301)
        assert (await hook.send(raw, headers)).status_code == 401
        assert len(hook.rings) == len(await inbox(owner)) == 1

    async def test_one_id_with_another_body_is_exposed(self, hook: Hook, owner: Connection) -> None:
        assert await hook.deliver(change()) == (200, True)
        before = counted("standard", "reused")
        with structlog.testing.capture_logs() as logs:
            assert await hook.deliver(change()) == (200, False)
        assert counted("standard", "reused") == before + 1
        assert [line["event"] for line in logs if line["log_level"] == "warning"] == [
            "supabase_webhook_id_reused"
        ]
        assert len(hook.rings) == 1
        (row,) = await inbox(owner)
        assert (row["repeats"], row["reuses"]) == (0, 1)

    async def test_forty_of_one_id_at_once_are_one(self, hook: Hook, owner: Connection) -> None:
        raw = change()
        answers = await asyncio.gather(*(hook.deliver(raw) for _ in range(40)))
        assert sorted(answers) == [(200, False)] * 39 + [(200, True)]
        assert len(await inbox(owner)) == 1

    async def test_forty_of_one_id_in_two_processes_are_one(
        self, hook: Hook, dsn: str, owner: Connection
    ) -> None:
        other_db = patient_database(dsn, size=4)
        await other_db.start()
        async with calling(other_db) as other:
            raw = change()
            answers = await asyncio.gather(
                *((hook, other)[n % 2].deliver(raw) for n in range(40)),
                *(
                    (hook, other)[n % 2].deliver(change(), message_id=f"m{n % 5}")
                    for n in range(40)
                ),
            )
        await other_db.close()
        assert answers[:40].count((200, True)) == 1
        assert answers[40:].count((200, True)) == 5
        assert len(await inbox(owner)) == 6

    async def test_the_plain_form_is_published_each_time(
        self, hook: Hook, owner: Connection
    ) -> None:
        raw = change("INSERT", record={"id": "9"})
        first, second = await hook.send(raw, plain(raw)), await hook.send(raw, plain(raw))
        assert [response.json()["accepted"] for response in (first, second)] == [True, False]
        assert len(hook.rings) == 2  # an equal body may be another change
        (row,) = await inbox(owner)
        assert (row["source"], row["kind"], row["repeats"]) == ("plain", "clients.insert", 1)

    @pytest.mark.parametrize(
        ("raw", "kind", "row_id"),
        [
            (change("INSERT", "users", record={"id": "u"}), "users.insert", "u"),
            (change("DELETE", record=None, old_record={"id": 12}), "clients.delete", "12"),
            (b'{"type":"UPDATE","table":"clients"}', "clients.update", None),
            (change(record=[1]), "clients.update", None),
            (change(record={"id": "x" * 5000}), "clients.update", "x" * 100),
            (change(record={"id": "a\0b"}), "clients.update", "ab"),
            (b'{"table":"clients","type":"UPDATE","record":{"id":"\\ud800"}}', "clients.update",
             "?"),
            (b'{"table":"clients","type":"UPDATE","record":{"id":1' + b"0" * 5000 + b"}}",
             "clients.update", "1" + "0" * 99),
            (b'{"metadata":{"name":"before-user-created"},"user":{"id":"n"}}',
             "hook.before-user-created", "n"),
            (b'{"user_id":"q","metadata":{}}', "hook", "q"),
            (b'{"user":{"id":"s"},"metadata":{"name":"<b>"}}', "hook", "s"),
        ],
    )  # fmt: skip
    async def test_what_operators_may_search_for_is_stored(
        self, hook: Hook, owner: Connection, raw: bytes, kind: str, row_id: str | None
    ) -> None:
        assert await hook.deliver(raw) == (200, True)
        (row,) = await inbox(owner)
        assert (row["kind"], row["row_id"]) == (kind, row_id)
        assert len(hook.rings) == 1

    @pytest.mark.parametrize(
        "raw",
        [
            b'{"user":{"id":"s"},"email_data":{"token":"1"}}',
            b'{"user":{"id":"s"},"sms":{"otp":"1"}}',
            b'{"user_id":"q","claims":{}}',
        ],
        ids=["send-email", "send-sms", "custom-access-token"],
    )
    async def test_a_hook_that_expects_work_is_not_confirmed(
        self, hook: Hook, owner: Connection, raw: bytes
    ) -> None:
        assert await hook.deliver(raw) == (422, "invalid_webhook")
        assert await inbox(owner) == []

    async def test_a_hook_tried_again_under_a_new_id_is_one(
        self, hook: Hook, owner: Connection
    ) -> None:
        raw = b'{"metadata":{"uuid":"1","name":"before-user-created"},"user":{"id":"u"}}'
        assert await hook.deliver(raw, message_id="msg_1") == (200, True)
        hook.time.forward(2)
        assert await hook.deliver(raw, message_id="msg_2") == (200, False)
        other = raw.replace(b'"uuid":"1"', b'"uuid":"2"')
        assert await hook.deliver(other, message_id="msg_3") == (200, True)
        assert [row["source"] for row in await inbox(owner)] == ["auth", "auth"]

    @pytest.mark.parametrize(
        "raw",
        [
            change(table="transactions"),
            change(schema="private"),
            change(table="users", schema="public"),
            change("TRUNCATE"),
            change(type_="UPDATE", table="clients", type=None),
            b'{"table":["clients"],"type":"UPDATE"}',
            b"{}",
        ],
        ids=["another table", "private", "public users", "truncate", "no type", "list", "nothing"],
    )
    async def test_what_is_no_change_of_a_user_is_ignored(
        self, hook: Hook, owner: Connection, raw: bytes
    ) -> None:
        assert await hook.deliver(raw) == (200, False)
        assert hook.rings == []
        assert await inbox(owner) == []

    async def test_no_content_type_is_asked_for(self, hook: Hook) -> None:
        raw = change()
        for n, kind in enumerate(["text/plain", "", "application/xml"]):
            headers = hook.headers(raw, message_id=f"m{n}") | {"content-type": kind}
            assert (await hook.send(raw, headers)).json()["accepted"] is True

    async def test_a_body_in_chunks_is_verified_as_it_was_sent(self, hook: Hook) -> None:
        raw = (
            b' {"table" : "clients","type":"UPDATE",\n"record":{"name":"\\u0410\xd0\x90","n":1.0}} '
        )

        async def chunks() -> AsyncIterator[bytes]:
            for start in range(0, len(raw), 7):
                yield raw[start : start + 7]

        answer = await hook.http.post(URL, content=chunks(), headers=hook.headers(raw))
        assert (answer.status_code, answer.json()["accepted"]) == (200, True)


class TestRefused:
    @pytest.mark.parametrize(
        ("why", "changed"),
        [
            ("unsigned", dict.fromkeys(
                ["webhook-id", "webhook-timestamp", "webhook-signature", "x-supabase-signature"]
            )),
            ("malformed", {"webhook-id": None}),
            ("malformed", {"webhook-timestamp": "soon"}),
            ("stale", {"webhook-timestamp": "1"}),
            ("stale", {"webhook-timestamp": "99999999999"}),
            ("forged", {"webhook-id": "msg_2"}),
        ],
    )  # fmt: skip
    async def test_without_a_true_signature_no_one_learns_why(
        self, hook: Hook, owner: Connection, why: str, changed: dict[str, str | None]
    ) -> None:
        raw = change()
        form = "none" if why != "forged" else "standard"
        before = counted(form, why)
        headers = {
            name: text for name, text in (hook.headers(raw) | changed).items() if text is not None
        }
        answer = await hook.send(raw, headers)
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_signature")
        assert answer.json()["detail"] == "the signature does not match"
        assert counted(form, why) == before + 1
        assert hook.rings == []
        assert await inbox(owner) == []

    async def test_the_old_unsigned_webhook_is_refused(self, hook: Hook) -> None:
        static = {"Authorization": "Bearer secret", "X-Webhook-Secret": SECRET}
        for headers in (static, {"X-Supabase-Signature": SECRET}, {"x-supabase-signature": "v1,"}):
            assert (await hook.send(change(), headers)).status_code == 401

    async def test_svix_headers_are_no_signature(self, hook: Hook) -> None:
        raw = change()
        true = hook.headers(raw)
        svix = {
            f"svix-{part}": true[f"webhook-{part}"] for part in ("id", "timestamp", "signature")
        }
        assert (await hook.send(raw, svix)).status_code == 401

    @pytest.mark.parametrize("form", ["standard", "plain"])
    async def test_a_changed_body_is_refused(self, hook: Hook, form: str) -> None:
        raw = change()
        headers = hook.headers(raw) if form == "standard" else plain(raw)
        assert (await hook.send(raw.replace(b"UPDATE", b"DELETE"), headers)).status_code == 401
        assert (await hook.send(json.dumps(json.loads(raw)).encode() + b" ", headers)).is_error
        assert (await hook.send(b"", headers)).status_code == 401

    @pytest.mark.parametrize(
        "raw",
        [b"", b"[]", b"1", b'"clients"', b"null", b"{", b"\xff\xfe{", b"{}{}", b'{"a":NaN}',
         b"[" * 50_000, b'{"a":' * 50_000],
        ids=lambda raw: raw[:8].decode("latin-1"),
    )  # fmt: skip
    async def test_authentic_nonsense_makes_no_sense(
        self, hook: Hook, owner: Connection, raw: bytes
    ) -> None:
        assert await hook.deliver(raw) == (422, "invalid_webhook")
        answer = await hook.send(raw, plain(raw))
        assert (answer.status_code, answer.json()["error"]) == (422, "invalid_webhook")
        assert hook.rings == []
        assert await inbox(owner) == []

    async def test_the_largest_body_is_accepted_and_one_byte_more_is_not(self, hook: Hook) -> None:
        raw = b'{"table":"clients","type":"UPDATE","pad":"'
        raw += b"x" * (256 * 1024 - len(raw) - 2) + b'"}'
        assert await hook.deliver(raw) == (200, True)
        assert await hook.deliver(raw + b" ") == (413, "too_large")

    async def test_a_huge_body_without_a_length_is_cut(self, hook: Hook) -> None:
        given_away = 0

        async def endless() -> AsyncIterator[bytes]:
            nonlocal given_away
            for _ in range(1000):
                given_away += 10_000
                yield b"x" * 10_000

        answer = await hook.http.post(URL, content=endless(), headers=hook.headers(b""))
        assert (answer.status_code, answer.json()["error"]) == (413, "too_large")

    async def test_own_limit_holds_where_the_edge_allows_more(self, db: Database) -> None:
        async with calling(db, max_body_bytes=10_000_000) as hook:
            assert await hook.deliver(b"x" * 300_000) == (413, "too_large")

    async def test_the_body_of_a_headerless_call_is_not_read(self, hook: Hook) -> None:
        requests: list[str] = []

        async def receive() -> dict[str, Any]:
            requests.append("body")
            return {"type": "http.request", "body": b"{}", "more_body": False}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                requests.append(str(message["status"]))

        scope = {
            "type": "http", "method": "POST", "path": URL, "raw_path": URL.encode(), "headers": [],
            "query_string": b"", "client": ("10.0.0.1", 1), "http_version": "1.1", "scheme": "http",
            "server": ("api", 80),
        }  # fmt: skip
        await hook.app(scope, receive, send)
        assert requests == ["401"]

    async def test_an_unread_body_does_not_break_the_connection(self, hook: Hook) -> None:
        raw = change()
        async with on_a_socket(hook.app) as url:
            reader, writer = await asyncio.open_connection(*_address(url))
            statuses: list[bytes] = []
            for body, headers in ((b"x" * 200_000, {}), (raw, hook.headers(raw))):
                lines = [f"POST {URL} HTTP/1.1", "Host: api", f"Content-Length: {len(body)}"]
                lines += [f"{name}: {text}" for name, text in headers.items()]
                writer.write("\r\n".join([*lines, "", ""]).encode() + body)
                head = await reader.readuntil(b"\r\n\r\n")
                statuses.append(head.split(b" ", 2)[1])
                length = next(x for x in head.lower().split(b"\r\n") if x.startswith(b"content-le"))
                await reader.readexactly(int(length.split(b":")[1]))
            writer.close()
            await writer.wait_closed()
        assert statuses == [b"401", b"200"]

    async def test_a_flood_of_one_address_is_stopped(self, db: Database) -> None:
        async with calling(db, rate_webhook_per_minute=3) as hook:
            raw = change()
            refused = [(await hook.send(raw, {})).status_code for _ in range(4)]
            assert refused == [401] * 3 + [429]
            hook.time.forward(61)
            responses = [await hook.deliver(raw, message_id=f"m{n}") for n in range(9)]
        assert responses == [(200, True)] * 9, "what is authentic is not counted"

    async def test_refusals_are_logged_once_a_minute(self, hook: Hook) -> None:
        with structlog.testing.capture_logs() as logs:
            for _ in range(5):
                await hook.send(change(), {})
            hook.time.forward(61)
            await hook.send(change(), {})
        lines = [line for line in logs if line["event"] == "supabase_webhook_refused"]
        assert [(line["reason"], line["times"]) for line in lines] == [
            ("unsigned", 1),
            ("unsigned", 5),
        ]


def _address(url: str) -> tuple[str, int]:
    host, port = url.removeprefix("http://").split(":")
    return host, int(port)

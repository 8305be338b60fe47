"""Every way a socket is refused or closed, by the codes of docs/live.md."""

import asyncio
import socket as sockets
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from websockets.exceptions import ConnectionClosed, InvalidStatus

from evpower.foundation.db import Connection, Database
from evpower.identity.service_keys import PREFIX
from tests.api.scenario import Turning
from tests.realtime.scenario import Live, counted, make_operator, running, token
from tests.waiting import until

NO_OBJECTS: list[str | bytes] = [
    "", "hello", "[]", "null", "1", '"auth"', '{"type":', "[" * 5000, b"\x00\xff",
    b'{"type":"ping"}',
]  # fmt: skip
NO_TOKENS: list[dict[str, Any]] = [
    {}, {"type": "ping"}, {"type": 7}, {"type": "auth"}, {"type": "auth", "token": ""},
    {"type": "auth", "token": 5}, {"type": "auth", "token": None}, {"type": "subscribe"},
]  # fmt: skip


async def _end_of(live: Live, message: object) -> tuple[int, str]:
    """Returns how a socket ends after this first message."""
    async with live.open() as app:
        await app.say(message)
        return await app.closed()


async def test_a_first_message_that_is_no_json_object(live: Live) -> None:
    for message in NO_OBJECTS:
        assert await _end_of(live, message) == (4400, "bad_message"), message


async def test_a_first_message_without_a_token(live: Live) -> None:
    for message in NO_TOKENS:
        assert await _end_of(live, message) == (4401, "missing_token"), message


async def test_a_bad_token(live: Live) -> None:
    someone = uuid4()
    for sent, reason in [
        (token(someone, lives_s=-3600), "token_expired"),
        (token(someone, iss="http://elsewhere"), "invalid_token"),
        (token(someone, aud="anon"), "invalid_token"),
        (token(someone, role="anon"), "invalid_token"),
        (token(someone, sub="no-uuid"), "invalid_token"),
        *((text, "invalid_token") for text in ("x", "a.b.c", "жетон", "\x00")),
    ]:
        ended = await _end_of(live, {"type": "auth", "token": sent})
        assert ended == (4401, reason), sent[:40]


async def test_a_token_no_other_sign_in_makes_better(live: Live) -> None:
    for sent, reason in (
        ("x" * 8500, "token_too_large"),
        (token(uuid4(), is_anonymous=True), "anonymous_user"),
    ):
        assert await _end_of(live, {"type": "auth", "token": sent}) == (4403, reason)


async def test_a_bad_token_as_subprotocol(live: Live) -> None:
    async with live.open(subprotocols=["evpower.v1", "bearer.nonsense"]) as app:
        assert app.wire.subprotocol == "evpower.v1"
        assert await app.closed() == (4401, "invalid_token")


async def test_a_version_that_is_none(live: Live, client_id: UUID) -> None:
    for version in (-1, 1.5, "1", True, [1], 2**63):
        message = {"type": "auth", "token": token(client_id), "version": version}
        assert await _end_of(live, message) == (4400, "bad_message"), version


async def test_a_token_in_the_url_is_refused(live: Live, client_id: UUID) -> None:
    for name in ("token", "access_token", "Authorization", "anything"):
        async with live.open(f"?{name}={token(client_id)}") as app:
            assert await app.closed() == (4400, "token_in_url"), name


async def test_other_words_in_the_url_do_no_harm(live: Live, client_id: UUID) -> None:
    async with live.open("?app=1.0.1&lang=ky") as app:
        await app.say({"type": "auth", "token": token(client_id)})
        await app.expect("connection")


async def test_operators_and_service_keys_have_no_balance_to_watch(
    live: Live, db: Database
) -> None:
    for secret in (token(await make_operator(db)), PREFIX + "x" * 40):
        assert await _end_of(live, {"type": "auth", "token": secret}) == (4403, "forbidden")


async def test_signing_keys_that_cannot_be_read(live: Live) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    signed = jwt.encode({"sub": str(uuid4())}, key, algorithm="ES256", headers={"kid": "new"})
    assert await _end_of(live, {"type": "auth", "token": signed}) == (1013, "auth_unavailable")


async def test_a_client_that_cannot_be_created(live: Live, owner: Connection) -> None:
    await owner.execute("revoke insert on identity.clients from evpower_app")
    assert await _end_of(live, {"type": "auth", "token": token(uuid4())}) == (1013, "try_later")


async def test_a_mistake_of_ours(live: Live, client_id: UUID) -> None:
    live.hub.join = None  # type: ignore[assignment,method-assign]
    ended = await _end_of(live, {"type": "auth", "token": token(client_id)})
    assert ended == (1011, "internal_error")
    await until(lambda: len(live.hub) == 0)


async def test_who_does_not_sign_in_is_closed(db: Database, owner: Connection) -> None:
    async with running(db, owner, auth_s=0.1) as live, live.open() as app:
        assert await app.closed() == (4408, "auth_timeout")
        await until(lambda: len(live.hub) == 0)


async def test_who_signed_in_is_not(db: Database, owner: Connection, client_id: UUID) -> None:
    now_s = Turning()
    async with (
        running(db, owner, now_s=now_s, auth_s=10, ping_s=0.06) as live,
        live.watching(client_id) as app,
    ):
        now_s.at_s += 11
        await app.expect("balance_update")
        pings = [await app.next_of_any_kind() for _ in range(3)]
        assert pings == [{"type": "ping"}] * 3


async def test_the_socket_ends_with_its_token(live: Live, client_id: UUID) -> None:
    async with live.watching(client_id) as app:
        await app.expect("balance_update")
        live.clock.ahead = timedelta(minutes=59)
        live.hub._timers.tick()
        assert await app.is_quiet()
        live.clock.ahead = timedelta(minutes=61)
        assert await app.closed() == (4401, "token_expired")


async def test_a_fresh_token_extends_it(live: Live, client_id: UUID) -> None:
    async with live.watching(client_id) as app:
        await app.expect("balance_update")
        await app.say({"type": "auth", "token": token(client_id, lives_s=7200)})
        await app.expect("connection")
        live.clock.ahead = timedelta(minutes=61)
        live.hub._timers.tick()
        await live.top_up(client_id)
        assert (await app.expect("balance_update"))["balance"] == 100.0
        live.clock.ahead = timedelta(minutes=121)
        assert await app.closed() == (4401, "token_expired")


async def test_a_fresh_token_of_someone_else_does_not(live: Live, client_id: UUID) -> None:
    other = await live.new_client()
    async with live.watching(client_id) as app:
        await app.expect("balance_update")
        await app.say({"type": "auth", "token": token(other)})
        assert await app.closed() == (4403, "other_client")


async def test_words_we_do_not_know_are_passed_over(live: Live, client_id: UUID) -> None:
    async with live.watching(client_id) as app:
        await app.expect("balance_update")
        for message in ({"type": "pong"}, {"type": "hello"}, {}, {"action": "subscribe"}):
            await app.say(message)
        assert await app.is_quiet()


async def test_the_oldest_socket_gives_way(db: Database, owner: Connection) -> None:
    async with running(db, owner, settings={"live_sockets_per_client": 2}) as live:
        client = await live.new_client()
        async with (
            live.watching(client) as first, live.watching(client) as second,
            live.watching(client) as third,
        ):  # fmt: skip
            assert await first.closed() == (4409, "superseded")
            await second.expect("balance_update")
            await third.expect("balance_update")
            await live.top_up(client)
            assert (await second.expect("balance_update"))["balance"] == 100.0
            assert (await third.expect("balance_update"))["balance"] == 100.0


async def test_too_many_sockets_of_one_address(db: Database, owner: Connection) -> None:
    limits = {"live_sockets_per_address": 2, "trusted_proxies": "127.0.0.1"}
    async with running(db, owner, settings=limits) as live, live.open(), live.open():
        with pytest.raises(InvalidStatus) as refused:
            await live.open().__aenter__()
        answer = refused.value.response
        assert answer.status_code == 429
        assert answer.headers["Retry-After"]
        assert answer.headers["X-Request-ID"]
        assert b'"error":"too_many_sockets"' in (answer.body or b"")
        elsewhere = {"X-Forwarded-For": "203.0.113.9"}
        async with live.open(additional_headers=elsewhere):
            assert len(live.hub) == 3
    async with running(db, owner, settings={"live_sockets_per_address": 1}) as live:
        for _ in range(3):  # a connection slot is given back
            async with live.open():
                pass
            await until(lambda: len(live.hub) == 0)


@pytest.mark.parametrize("limit", ["live_sockets", "live_unauthenticated"])
async def test_a_full_process_says_so(db: Database, owner: Connection, limit: str) -> None:
    async with running(db, owner, settings={limit: 1}) as live, live.open():
        with pytest.raises(InvalidStatus) as refused:
            await live.open().__aenter__()
        assert refused.value.response.status_code == 503


async def test_sockets_opened_too_fast(db: Database, owner: Connection) -> None:
    async with running(db, owner, settings={"rate_sockets_per_minute": 2}, now_s=Turning()) as live:
        async with live.open(), live.open():
            with pytest.raises(InvalidStatus) as refused:
                await live.open().__aenter__()
        assert refused.value.response.status_code == 429
        assert b"too_many_requests" in (refused.value.response.body or b"")


async def test_an_origin_we_do_not_know(db: Database, owner: Connection) -> None:
    allowed = {"cors_origins": "https://app.example, capacitor://localhost,https://localhost"}
    async with running(db, owner, settings=allowed) as live:
        for origin in ("https://evil.example", "null", "https://localhost:1"):
            with pytest.raises(InvalidStatus) as refused:
                await live.open(origin=origin).__aenter__()
            assert refused.value.response.status_code == 403
            assert b"forbidden_origin" in (refused.value.response.body or b"")
        for known in ("https://app.example", "capacitor://localhost", "https://localhost", None):
            async with live.open(origin=known):
                pass


async def test_more_than_ten_messages_a_second(
    db: Database, owner: Connection, client_id: UUID
) -> None:
    async with running(db, owner, now_s=Turning()) as live, live.watching(client_id) as app:
        await app.expect("balance_update")
        before = counted("evpower_realtime_closed_total", code="4429", reason="too_many_messages")
        for _ in range(60):
            await app.say({"type": "hello"})
        seen = set[str]()
        try:
            while True:
                message = await app.next()
                seen.add(message.get("error", message["type"]))
        except ConnectionClosed:
            pass
        assert (app.wire.close_code, app.wire.close_reason) == (4429, "too_many_messages")
        assert seen == {"too_many_messages"}
        await until(lambda: len(live.hub) == 0)
        assert counted(
            "evpower_realtime_closed_total", code="4429", reason="too_many_messages"
        ) == before + 1  # fmt: skip


async def test_a_message_too_long(live: Live, client_id: UUID) -> None:
    async with live.watching(client_id) as app:
        await app.say({"type": "auth", "token": "x" * 20_000})
        assert (await app.closed())[0] == 1009
    await until(lambda: len(live.hub) == 0)


def _narrow() -> sockets.socket:
    """A listener whose sockets take little before they wait for the peer."""
    listener = sockets.socket()
    listener.setsockopt(sockets.SOL_SOCKET, sockets.SO_SNDBUF, 2048)
    return listener


async def _unresponsive(live: Live, client: UUID) -> Any:
    """A signed-in socket that takes little and is not read from now on."""
    host, port = live.url.removeprefix("ws://").split("/")[0].split(":")
    raw = sockets.socket()
    raw.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 2048)
    raw.setblocking(False)
    await asyncio.get_running_loop().sock_connect(raw, (host, int(port)))
    return live.watching(client, sock=raw, max_queue=1)


async def test_a_slow_reader_gets_the_newest_state_only(
    db: Database, owner: Connection, client_id: UUID
) -> None:
    changes = 200
    async with running(db, owner, listener=_narrow(), slow_s=3600) as live:
        async with await _unresponsive(live, client_id) as app:
            await app.expect("balance_update")
            app.wire.transport.pause_reading()
            dropped = counted("evpower_realtime_superseded_total")
            watched = live.hub._clients[client_id]
            for number in range(changes):
                await live.top_up(client_id, 1)
                await until(lambda n=number: watched.balance.version > n)
            assert counted("evpower_realtime_superseded_total") > dropped + 20
            app.wire.transport.resume_reading()
            versions = [0]
            while versions[-1] < changes:
                versions.append((await app.expect("balance_update"))["version"])
        assert versions == sorted(set(versions))
        assert len(versions) < changes - 20


async def test_a_socket_that_never_reads_is_cut(
    db: Database, owner: Connection, client_id: UUID
) -> None:
    before = counted("evpower_realtime_closed_total", code="1013", reason="too_slow")
    async with (
        running(db, owner, listener=_narrow(), slow_s=0.2) as live,
        await _unresponsive(live, client_id) as app,
    ):
        await app.expect("balance_update")
        app.wire.transport.pause_reading()
        watched, number = live.hub._clients[client_id], 0
        while live.hub:
            number += 1
            assert number < 1000
            await live.top_up(client_id, 1)
            # Each is written by itself: of what comes while the hub reads it sees the last alone.
            await until(lambda n=number: watched.balance.version >= n or not live.hub)
        assert client_id not in live.hub
        app.wire.transport.resume_reading()
        await app.closed()
    assert counted("evpower_realtime_closed_total", code="1013", reason="too_slow") == before + 1


async def test_a_restart_closes_all_sockets(db: Database, owner: Connection) -> None:
    async with running(db, owner) as live:
        clients = [await live.new_client() for _ in range(5)]
        async with (
            live.watching(clients[0]) as a, live.watching(clients[1]) as b,
            live.watching(clients[2]) as c, live.open() as no_one,
        ):  # fmt: skip
            live.server.should_exit = True
            closed = await asyncio.gather(*(app.closed() for app in (a, b, c, no_one)))
            assert {code for code, _ in closed} == {1012}
            assert live.hub.stopping


async def test_nothing_is_left_of_the_token_on_an_open_socket(live: Live, client_id: UUID) -> None:
    offered = ["evpower.v1", f"bearer.{token(client_id)}"]
    async with live.open(subprotocols=offered) as app:
        await app.expect("connection")
        (socket,) = live.hub._clients[client_id].sockets
        assert socket.wire.scope["headers"] == []
        assert socket.wire.scope["subprotocols"] == []
        assert not hasattr(socket.wire, "request")

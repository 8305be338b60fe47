"""The old socket of locations: its frames to the letter, its limits, and what it never carries."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
import uvicorn
from fastapi import APIRouter, FastAPI
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from evpower.api.legacy import LocationFeed, router
from evpower.api.legacy.location_socket import PATHS
from evpower.foundation.addresses import parse_networks
from evpower.foundation.db import Database
from evpower.foundation.errors import Unauthenticated
from evpower.foundation.websocket import SocketProtocol
from evpower.identity import Claims, Profile
from tests.api.location_feed import UPDATE, pinging
from tests.api.scenario import Turning, running_api
from tests.quick_server import QuickServer
from tests.waiting import WAIT_LIMIT_S, until

PATH, ALIAS = PATHS
APP = "https://app.evpower.kg"
DRIVER, OTHER = UUID(int=1), UUID(int=2)
EXPIRES = datetime(2030, 1, 1, tzinfo=UTC)
NOW = datetime(2029, 1, 1, tzinfo=UTC)
SESSION = {"type": "charging_session_update", "event": "started", "session_id": "s"}
Frame = dict[str, Any]
_NEVER_S = 3600.0  # no ping of its own among the frames of a test, however slow the machine is


async def sign_in(token: str) -> Claims:
    """A token is the name of its driver."""
    clients = {"driver": DRIVER, "other": OTHER}
    if token not in clients:
        raise Unauthenticated("invalid_token", "the token is not valid")
    return Claims(clients[token], "authenticated", EXPIRES, Profile(), {})


def dial(url: str, **more: Any) -> connect:
    return connect(url, proxy=None, open_timeout=WAIT_LIMIT_S, ping_interval=None, **more)


@contextlib.asynccontextmanager
async def serving(app: FastAPI) -> AsyncIterator[str]:
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    server = QuickServer(
        uvicorn.Config(
            app, ws=SocketProtocol, log_level="critical", access_log=False,
            ws_per_message_deflate=False, lifespan="off",
        )
    )  # fmt: skip
    task = asyncio.create_task(server.serve(sockets=[listening]))
    await until(lambda: server.started)
    try:
        yield f"ws://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        await task
        listening.close()


class Scenario:
    """A server with nothing but the old socket, whose clock stands still until it is turned."""

    def __init__(self, feed: LocationFeed, url: str, now_s: Turning | None = None) -> None:
        self.feed = feed
        self.url = url
        self.now_s = now_s or Turning()

    @contextlib.asynccontextmanager
    async def open(
        self, query: str = "?client_id=driver-1", path: str = PATH, **more: Any
    ) -> AsyncIterator[ClientConnection]:
        """A socket that has had its greeting."""
        async with dial(self.url + path + query, **more) as ws:
            greeting = await read(ws)
            assert greeting["type"] == "connection"
            yield ws

    async def close_reason(self, query: str = "", **more: Any) -> tuple[int, str]:
        """How a socket is closed that may not stay."""
        async with dial(self.url + PATH + query, **more) as ws:
            return await closed(ws)


async def closed(ws: ClientConnection) -> tuple[int, str]:
    with contextlib.suppress(ConnectionClosed):
        while True:
            await read(ws)
    assert ws.close_code is not None
    return ws.close_code, ws.close_reason or ""


async def read(ws: ClientConnection) -> Frame:
    async with asyncio.timeout(WAIT_LIMIT_S):
        return json.loads(await ws.recv())


async def ask(ws: ClientConnection, frame: Any) -> Frame:
    await ws.send(frame if isinstance(frame, str | bytes) else json.dumps(frame))
    return await read(ws)


@pytest.fixture
async def scenario() -> AsyncIterator[Scenario]:
    feed, app, now_s = LocationFeed(ping_s=_NEVER_S), FastAPI(), Turning()
    trusted = parse_networks("127.0.0.1/32")
    app.include_router(
        router(
            feed,
            sign_in,
            cors_origins=frozenset({APP}),
            trusted_proxies=trusted,
            old_hosts=frozenset({"ocpp.evpower.kg"}),
            now_s=now_s,
        )
    )
    async with serving(app) as url:
        yield Scenario(feed, url, now_s)


class TestFrames:
    async def test_the_greeting_says_the_client_id_back(self, scenario: Scenario) -> None:
        async with dial(f"{scenario.url}{PATH}?client_id=a%20b") as ws:
            assert await read(ws) == {
                "type": "connection",
                "status": "connected",
                "client_id": "a b",
                "message": "Подключение установлено",
            }

    async def test_a_client_id_is_optional(self, scenario: Scenario) -> None:
        async with dial(scenario.url + PATH) as ws:
            assert (await read(ws))["client_id"] is None

    @pytest.mark.parametrize(
        "frame",
        [
            {"action": "subscribe", "channel": "location:7"},
            {"type": "subscribe", "data": {"channel": "location:7"}},
        ],
        ids=["documented", "spoken by the app"],
    )
    async def test_both_dialects_subscribe(self, scenario: Scenario, frame: Frame) -> None:
        async with scenario.open() as ws:
            assert await ask(ws, frame) == {
                "type": "subscription",
                "status": "subscribed",
                "channel": "location:7",
            }
            assert scenario.feed.push("location:7", UPDATE) == 1
            assert await read(ws) == UPDATE

    @pytest.mark.parametrize(
        "frame",
        [
            {"action": "unsubscribe", "channel": "all"},
            {"type": "unsubscribe", "data": {"channel": "all"}},
        ],
    )
    async def test_both_dialects_unsubscribe(self, scenario: Scenario, frame: Frame) -> None:
        async with scenario.open() as ws:
            assert scenario.feed.push("all", UPDATE) == 1, "subscribed to all from the start"
            assert await read(ws) == UPDATE
            assert await ask(ws, frame) == {
                "type": "subscription",
                "status": "unsubscribed",
                "channel": "all",
            }
            assert scenario.feed.push("all", UPDATE) == 0

    @pytest.mark.parametrize("frame", [{"action": "ping"}, {"type": "ping"}, b'{"action":"ping"}'])
    async def test_a_ping_is_answered(self, scenario: Scenario, frame: Any) -> None:
        async with scenario.open() as ws:
            answer = await ask(ws, frame)
            assert answer.keys() == {"type", "timestamp"}
            assert answer["type"] == "pong"
            assert isinstance(answer["timestamp"], float)

    async def test_a_pong_is_not_answered(self, scenario: Scenario) -> None:
        async with scenario.open() as ws:
            await ws.send('{"type": "pong"}')
            assert (await ask(ws, {"action": "ping"}))["type"] == "pong"

    @pytest.mark.parametrize(
        ("frame", "code"),
        [
            ("", "invalid_message"),
            ("no json", "invalid_message"),
            ("[]", "invalid_message"),
            ("null", "invalid_message"),
            (b"\xff\xfe", "invalid_message"),
            ("[" * 2000, "invalid_message"),
            ("{}", "unknown_action"),
            ({"action": "drop tables"}, "unknown_action"),
            ({"action": ["subscribe"]}, "unknown_action"),
            ({"type": {"a": 1}}, "unknown_action"),
            ({"action": "subscribe"}, "invalid_channel"),
            ({"action": "subscribe", "channel": ""}, "invalid_channel"),
            ({"action": "subscribe", "channel": 7}, "invalid_channel"),
            ({"action": "subscribe", "channel": "x" * 129}, "invalid_channel"),
            ({"type": "subscribe", "data": "location:7"}, "invalid_channel"),
            ({"type": "unsubscribe", "data": {"channel": None}}, "invalid_channel"),
        ],
        ids=str,
    )
    async def test_nonsense_is_an_error_and_the_socket_lives(
        self, scenario: Scenario, frame: Any, code: str
    ) -> None:
        async with scenario.open() as ws:
            assert await ask(ws, frame) == {"type": "error", "message": code}
            assert (await ask(ws, {"action": "ping"}))["type"] == "pong"

    async def test_the_server_pings_by_itself(self) -> None:
        feed, app = LocationFeed(ping_s=0.05), FastAPI()
        app.include_router(router(feed, sign_in, cors_origins=frozenset(), trusted_proxies=()))
        async with serving(app) as url, pinging(feed), Scenario(feed, url).open() as ws:
            assert [await read(ws) for _ in range(3)] == [{"type": "ping"}] * 3

    async def test_the_alias_is_shadowed_by_no_location(self, db: Database) -> None:
        """`/api/v1/locations/{location_id}` and its like come first, as the old server had them."""
        locations = APIRouter()

        @locations.get("/api/v1/locations/{location_id}")
        @locations.get("/api/v1/locations/{location_id}/{rest:path}")
        async def location(location_id: str) -> dict[str, str]:
            return {"id": location_id}

        feed = LocationFeed(ping_s=_NEVER_S)
        routes = router(feed, sign_in, cors_origins=frozenset(), trusted_proxies=())
        async with running_api(db, [locations, routes]) as api, serving(api.app) as url:
            scenario = Scenario(feed, url)
            async with scenario.open(path=PATH), scenario.open(path=ALIAS) as ws:
                assert scenario.feed.push("all", UPDATE) == 2
                assert await read(ws) == UPDATE


@pytest.mark.parametrize(
    ("host", "expected"),
    [("ocpp.evpower.kg", True), ("OCPP.evpower.kg", True), ("ocpp.voltera.kg", False)],
)
async def test_the_host_decides_which_words_are_sent(
    scenario: Scenario, host: str, *, expected: bool
) -> None:
    port = int(scenario.url.rpartition(":")[2])
    url = f"ws://{host}:{port}{PATH}"
    async with dial(url, host="127.0.0.1", port=port) as ws:
        await read(ws)
        [viewer] = scenario.feed._viewers["all"]
        assert viewer.old_words is expected


class TestChannels:
    async def test_each_hears_its_own_channels_only(self, scenario: Scenario) -> None:
        async with scenario.open("?client_id=a") as first, scenario.open("?client_id=b") as other:
            for ws, channel in ((first, "station:CHR-1"), (other, "location_stations:7")):
                await ask(ws, {"action": "unsubscribe", "channel": "all"})
                await ask(ws, {"action": "subscribe", "channel": channel})
            station = {"type": "station_status_update", "station_id": "CHR-1", "status": "active"}
            assert scenario.feed.push("station:CHR-1", station) == 1
            assert scenario.feed.push("location_stations:7", UPDATE) == 1
            assert await read(first) == station
            assert await read(other) == UPDATE
            assert scenario.feed.push("station:CHR-2", station) == 0

    @pytest.mark.parametrize(
        ("requested", "pushed"),
        [
            ("location_updates:all", "all"),
            ("location_updates:7", "location:7"),
            ("station_updates:CHR-1", "station:CHR-1"),
            ("location_stations:7", "location_stations:7"),
        ],
    )
    async def test_the_old_inner_names_are_the_same_channels(
        self, scenario: Scenario, requested: str, pushed: str
    ) -> None:
        async with scenario.open() as ws:
            await ask(ws, {"action": "unsubscribe", "channel": "all"})
            answer = await ask(ws, {"action": "subscribe", "channel": requested})
            assert answer["channel"] == requested, "named back as it was requested"
            assert scenario.feed.push(pushed, UPDATE) == 1
            assert await read(ws) == UPDATE

    async def test_a_raw_name_is_taken_and_stays_silent(self, scenario: Scenario) -> None:
        async with scenario.open() as ws:
            answer = await ask(ws, {"action": "subscribe", "channel": "client_sessions:another"})
            assert answer["status"] == "subscribed"
            with pytest.raises(ValueError, match="not a public channel"):
                scenario.feed.push("client_sessions:another", UPDATE)

    @pytest.mark.parametrize("kind", ["balance_update", "charging_session_update", None])
    async def test_neither_money_nor_sessions_can_be_pushed(
        self, scenario: Scenario, kind: str | None
    ) -> None:
        async with scenario.open():
            with pytest.raises(ValueError, match="does not belong"):
                scenario.feed.push("all", {"type": kind, "balance": 100})


class TestSignIn:
    """A client's own sessions: by its token, never by the client_id of the URL."""

    def push(self, scenario: Scenario, *channels: str, client: UUID = DRIVER) -> int:
        channels = channels or (f"client_sessions:{client}", "station_sessions:EVP-1")
        return scenario.feed.push_own(client, channels, SESSION, NOW)

    @pytest.mark.parametrize(
        "frame",
        [
            {"action": "auth", "token": "driver"},
            {"type": "auth", "token": "driver"},
            {"type": "auth", "data": {"token": "driver"}},
        ],
        ids=["documented", "as the live socket", "spoken by the app"],
    )
    async def test_a_token_in_a_message(self, scenario: Scenario, frame: Frame) -> None:
        async with scenario.open("?client_id=another") as ws:
            assert await ask(ws, frame) == {
                "type": "connection",
                "status": "authenticated",
                "client_id": str(DRIVER),
                "expires_at": "2030-01-01T00:00:00Z",
                "message": "Вход выполнен",
            }
            assert self.push(scenario) == 1
            assert await read(ws) == SESSION
            assert self.push(scenario, client=OTHER) == 0

    async def test_a_token_of_the_handshake(self, scenario: Scenario) -> None:
        headers = {"Authorization": "Bearer driver"}
        async with scenario.open("", additional_headers=headers) as ws:
            assert (await read(ws))["status"] == "authenticated"
            assert self.push(scenario) == 1

    async def test_the_client_id_of_the_url_is_no_identity(self, scenario: Scenario) -> None:
        async with scenario.open(f"?client_id={DRIVER}") as ws:
            for channel in (f"client_sessions:{DRIVER}", "station_sessions:EVP-1"):
                answer = await ask(ws, {"action": "subscribe", "channel": channel})
                assert answer["status"] == "subscribed"
            assert self.push(scenario) == 0
            assert (await ask(ws, {"action": "ping"}))["type"] == "pong", "nothing came before"

    async def test_another_driver_at_the_same_station_hears_nothing(
        self, scenario: Scenario
    ) -> None:
        async with scenario.open() as ws:
            await ask(ws, {"action": "auth", "token": "other"})
            await ask(ws, {"action": "subscribe", "channel": "station_sessions:EVP-1"})
            await ask(ws, {"action": "subscribe", "channel": f"client_sessions:{DRIVER}"})
            assert self.push(scenario) == 0
            assert self.push(scenario, "station_sessions:EVP-1", client=OTHER) == 1

    async def test_an_unsubscribed_session_is_not_sent(self, scenario: Scenario) -> None:
        async with scenario.open() as ws:
            await ask(ws, {"action": "auth", "token": "driver"})
            await ask(ws, {"action": "unsubscribe", "channel": f"client_sessions:{DRIVER}"})
            assert self.push(scenario) == 0

    @pytest.mark.parametrize(
        ("token", "code"),
        [("nonsense", "invalid_token"), ("", "missing_token"), (7, "missing_token")],
    )
    async def test_a_wrong_token_is_an_error_and_the_socket_lives(
        self, scenario: Scenario, token: object, code: str
    ) -> None:
        async with scenario.open() as ws:
            answer = await ask(ws, {"action": "auth", "token": token})
            assert answer == {"type": "error", "message": code}
            assert self.push(scenario) == 0
            assert scenario.feed.push("all", UPDATE) == 1

    async def test_a_wrong_token_of_the_handshake_says_so(self, scenario: Scenario) -> None:
        headers = {"Authorization": "Bearer nonsense"}
        async with scenario.open("", additional_headers=headers) as ws:
            assert await read(ws) == {"type": "error", "message": "invalid_token"}

    async def test_one_socket_has_one_client(self, scenario: Scenario) -> None:
        async with scenario.open() as ws:
            await ask(ws, {"action": "auth", "token": "driver"})
            again = await ask(ws, {"action": "auth", "token": "driver"})
            assert again["status"] == "authenticated", "a fresh token of the same client"
            other = await ask(ws, {"action": "auth", "token": "other"})
            assert other == {"type": "error", "message": "other_client"}
            assert self.push(scenario, client=OTHER) == 0

    async def test_nothing_is_sent_after_the_token_s_end(self, scenario: Scenario) -> None:
        async with scenario.open() as ws:
            await ask(ws, {"action": "auth", "token": "driver"})
            channels = [f"client_sessions:{DRIVER}"]
            assert scenario.feed.push_own(DRIVER, channels, SESSION, EXPIRES) == 0
            assert await read(ws) == {"type": "error", "message": "token_expired"}
            assert scenario.feed.clients == ()
            assert scenario.feed.push("all", UPDATE) == 1, "what is public goes on"
            await read(ws)
            await ask(ws, {"action": "auth", "token": "driver"})
            assert self.push(scenario) == 1

    async def test_ten_sockets_of_a_client_and_no_more(self, scenario: Scenario) -> None:
        """Wherever they come from: what they count by is verified."""
        async with contextlib.AsyncExitStack() as stack:
            for number in range(10):
                at = {"X-Forwarded-For": f"203.0.113.{number}"}
                ws = await stack.enter_async_context(scenario.open("", additional_headers=at))
                assert (await ask(ws, {"action": "auth", "token": "driver"}))[
                    "type"
                ] == "connection"
            one_more = await stack.enter_async_context(scenario.open(""))
            answer = await ask(one_more, {"action": "auth", "token": "driver"})
            assert answer == {"type": "error", "message": "too_many_sockets"}
        await until(lambda: scenario.feed.clients == (), "their places are never free again")

    async def test_only_sessions_are_sent_to_a_client(self, scenario: Scenario) -> None:
        with pytest.raises(ValueError, match="is no session"):
            scenario.feed.push_own(DRIVER, ["client_sessions:x"], {"type": "balance_update"}, NOW)
        for channel in ("all", "location:7", "station:EVP-1"):
            with pytest.raises(ValueError, match="channels of sessions"):
                self.push(scenario, channel)


class TestLimits:
    @pytest.mark.parametrize("origin", ["https://evil.example", "null", f"{APP}.evil.example"])
    async def test_a_page_of_another_origin_is_sent_away(
        self, scenario: Scenario, origin: str
    ) -> None:
        assert await scenario.close_reason(origin=origin) == (1008, "origin_not_allowed")

    async def test_a_page_of_the_app_may_stay(self, scenario: Scenario) -> None:
        async with scenario.open(origin=APP):
            assert len(scenario.feed) == 1

    async def test_ten_sockets_of_one_client_id_and_no_more(self, scenario: Scenario) -> None:
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(10):
                await stack.enter_async_context(scenario.open())
            assert await scenario.close_reason("?client_id=driver-1") == (1013, "too_many_sockets")
            await stack.enter_async_context(scenario.open("?client_id=driver-2"))
        await until(lambda: len(scenario.feed) == 0)
        async with scenario.open():
            assert len(scenario.feed) == 1, "their places are free again"

    async def test_twenty_sockets_of_one_address_and_no_more(self, scenario: Scenario) -> None:
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(20):
                await stack.enter_async_context(scenario.open(""))
            assert await scenario.close_reason() == (1013, "too_many_sockets")
            elsewhere = {"X-Forwarded-For": "203.0.113.9"}
            await stack.enter_async_context(scenario.open("", additional_headers=elsewhere))

    async def test_no_one_locks_a_driver_out_from_another_address(self, scenario: Scenario) -> None:
        """The client_id is no secret: ten of them elsewhere cost its owner none."""
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(10):
                await stack.enter_async_context(scenario.open("?client_id=victim"))
            at_home = {"X-Forwarded-For": "203.0.113.9"}
            await stack.enter_async_context(
                scenario.open("?client_id=victim", additional_headers=at_home)
            )

    async def test_a_long_client_id_is_refused(self, scenario: Scenario) -> None:
        assert await scenario.close_reason("?client_id=" + "x" * 65) == (1008, "invalid_client_id")

    async def test_the_eleventh_message_of_a_second_is_refused(self, scenario: Scenario) -> None:
        async with scenario.open() as ws:
            for _ in range(12):
                await ws.send('{"action": "ping"}')
            kinds = [(await read(ws)).get("message", "pong") for _ in range(12)]
            assert kinds == ["pong"] * 10 + ["rate_limited"] * 2
            scenario.now_s.at_s += 1
            assert (await ask(ws, {"action": "ping"}))["type"] == "pong"

    async def test_a_flood_ends_the_socket(self, scenario: Scenario) -> None:
        async with scenario.open() as ws:
            with contextlib.suppress(ConnectionClosed):
                for _ in range(300):
                    await ws.send('{"action": "ping"}')
            assert await closed(ws) == (1008, "rate_limited")

    async def test_a_big_message_ends_the_socket(self, scenario: Scenario) -> None:
        async with scenario.open() as ws:
            await ws.send("x" * (9 * 1024 + 1))
            assert await closed(ws) == (1009, "message_too_big")

    async def test_one_that_does_not_read_is_closed(self, scenario: Scenario) -> None:
        async with scenario.open("?client_id=reader") as reader:
            lazy = await not_reading(scenario.url)
            await until(lambda: len(scenario.feed) == 2)
            big = {**UPDATE, "location_name": "x" * 4000}
            pushed = 0
            while len(scenario.feed) == 2:
                pushed += 1
                assert pushed < 20_000, "it was never closed"
                scenario.feed.push("all", big)
                assert await read(reader) == big, "the others are served meanwhile"
            lazy.close()


async def not_reading(url: str) -> socket.socket:
    """A socket whose other end never reads, with small buffers."""
    host, _, port = url.removeprefix("ws://").partition(":")
    lazy = socket.socket()
    lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    lazy.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(lazy, (host, int(port)))
    handshake = (
        f"GET {PATH}?client_id=lazy HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        "Sec-WebSocket-Version: 13\r\n\r\n"
    )
    await loop.sock_sendall(lazy, handshake.encode())
    return lazy

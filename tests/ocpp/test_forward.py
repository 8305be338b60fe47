"""A forwarded station's messages pass as they are, and what happens at the edges."""

# pyright: reportPrivateUsage=false

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from evpower import alerts, ocpp, stations
from evpower.foundation.db import Connection, Database
from evpower.foundation.errors import Unavailable
from evpower.ocpp import forward, store
from evpower.ocpp.forwarded_socket import ForwardedHandshake
from evpower.ocpp.model import STATION_PING
from evpower.ocpp.module import Times
from tests.faults.hostile_server import (
    MIB,
    Answer,
    HostileServer,
    closes_after,
    hangs_after,
    repeats,
    slow_bytes,
)
from tests.ocpp.scenario import Central, Station, basic, running
from tests.waiting import WAIT_LIMIT_S, until


@dataclass
class OtherCsms:
    """A server that records what comes, and sends what the test says."""

    url: str = ""
    requests: list[Request] = field(default_factory=list[Request])
    messages: list[str | bytes] = field(default_factory=list[str | bytes])
    sockets: list[ServerConnection] = field(default_factory=list[ServerConnection])
    refusal: Response | None = None
    status: HTTPStatus | None = None
    location: str | None = None

    def check(self, connection: ServerConnection, request: Request) -> Response | None:
        self.requests.append(request)
        if self.status is None:
            return None
        response = connection.respond(self.status, "")
        if self.location is not None:
            response.headers["Location"] = self.location
        return response

    async def handle(self, socket: ServerConnection) -> None:
        self.sockets.append(socket)
        with contextlib.suppress(ConnectionClosed):
            async for message in socket:
                self.messages.append(message)

    async def send(self, text: str) -> None:
        await until(lambda: self.sockets, "nothing was forwarded")
        await self.sockets[-1].send(text)


@contextlib.asynccontextmanager
async def other_csms(**how: Any) -> AsyncGenerator[OtherCsms]:
    csms = OtherCsms()
    how = {"subprotocols": [Subprotocol("ocpp1.6"), Subprotocol("ocpp2.0.1")]} | how
    async with serve(
        csms.handle, "127.0.0.1", 0, process_request=csms.check, close_timeout=0.1,
        compression=None, ping_interval=None, **how,
    ) as server:  # fmt: skip
        csms.url = f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}/steve/ocpp"
        yield csms


@pytest.fixture
async def csms(central: Central) -> AsyncIterator[OtherCsms]:
    async with other_csms() as csms:
        await central.add()
        await switch(central, csms.url)
        yield csms


async def switch(central: Central, url: str | None, station_id: str = "EVP-001") -> None:
    async with central.db.transaction() as connection:
        await ocpp.forward_station(
            connection, station=station_id, url=url, now=central.clock(), actor="aida"
        )


async def check(central: Central) -> None:
    await central.parts.forwarder.check()


@pytest.mark.parametrize(
    "text",
    [
        '[2,"1","Heartbeat",{}]',
        ' [ 2 , "1" , "MeterValues" , {"transactionId":,"connectorId":1} ] ',
        '[2,"1","DataTransfer",{"vendorId":"Ж","data":"\\u0000\\ud83d\\ude00"}]',
        "no json at all",
        "",
        "[2," + '"' + "x" * 70_000 + '"]',
    ],
    ids=["usual", "broken", "unicode", "text", "empty", "long"],
)
async def test_a_message_passes_both_ways_as_it_came(
    central: Central, csms: OtherCsms, text: str
) -> None:
    async with central.open() as station:
        await station.send(text)
        await until(lambda: csms.messages == [text])
        await csms.send(text)
        assert await station.wire.recv() == text


async def test_the_handshake_passes_with_name_password_and_subprotocol(
    central: Central, csms: OtherCsms
) -> None:
    async with central.open(
        "/ocpp/x/evp-001/", user="evp-001", password=b"\xff geheim:"
    ) as station:
        assert station.wire.subprotocol == "ocpp1.6"
    [request] = csms.requests
    assert request.path == "/steve/ocpp/evp-001"
    assert request.headers["Authorization"] == basic("evp-001", b"\xff geheim:")


@pytest.mark.parametrize(
    ("path", "user", "sent"),
    [
        ("/ocpp/EVP-001/OTHER", "", "EVP-001"),
        ("/ocpp/EVP-001/..", "", "EVP-001"),
        ("/ocpp/OTHER", "evp-001", "evp-001"),
        ("/ocpp/", "EVP-001", "EVP-001"),
        ("/ocpp/OTHER/evp-001", "OTHER", "evp-001"),
    ],
)
async def test_the_name_that_was_found_is_sent_on_and_no_other(
    central: Central, csms: OtherCsms, path: str, user: str, sent: str
) -> None:
    password = "a password" if user else None
    async with central.open(path, user=user, password=password):
        pass
    assert [request.path for request in csms.requests] == [f"/steve/ocpp/{sent}"]


async def test_a_name_with_slashes_is_sent_on_encoded(central: Central, csms: OtherCsms) -> None:
    await central.add("KG/OSH/1")
    await switch(central, csms.url, "KG/OSH/1")
    async with central.open("/ocpp/KG/OSH/1"):
        pass
    assert [request.path for request in csms.requests] == ["/steve/ocpp/KG%2FOSH%2F1"]


@pytest.mark.usefixtures("csms")
async def test_a_version_that_evpower_lacks_passes_too(central: Central) -> None:
    async with central.open(subprotocols=[Subprotocol("ocpp2.0.1")]) as station:
        assert station.wire.subprotocol == "ocpp2.0.1"
    versions = await central.owner.fetch("select version from stations.connections")
    assert [row["version"] for row in versions] == ["ocpp2.0.1"]


async def test_without_a_subprotocol_none_is_offered(central: Central) -> None:
    await central.add()
    async with other_csms(subprotocols=None) as csms:
        await switch(central, csms.url)
        async with central.open(subprotocols=None) as station:
            await station.send("[]")
            await until(lambda: csms.messages)
            assert station.wire.subprotocol is None
    assert "Sec-WebSocket-Protocol" not in csms.requests[0].headers


async def open_alerts(central: Central) -> list[str]:
    async with central.db.connection() as connection:
        listed = await alerts.list_alerts(connection)
    return [each.detail["reason"] for each in listed if each.kind == "forward_target_unreachable"]


@pytest.mark.parametrize("status", [401, 403, 404, 503])
async def test_a_refusal_reaches_the_station_with_its_status(
    central: Central, csms: OtherCsms, status: int
) -> None:
    csms.status = HTTPStatus(status)
    with pytest.raises(InvalidStatus) as refused:
        async with central.open():
            pass
    assert refused.value.response.status_code == status
    assert await central.reasons() == []
    assert await open_alerts(central) == [f"refused with HTTP {status}"]
    csms.status = None
    async with central.open():
        await until(lambda: csms.sockets)
    assert await open_alerts(central) == []


async def test_a_redirect_to_another_host_gets_no_password(
    central: Central, csms: OtherCsms
) -> None:
    async with other_csms() as stranger:
        csms.status, csms.location = HTTPStatus.TEMPORARY_REDIRECT, stranger.url
        with pytest.raises(InvalidStatus) as refused:
            async with central.open(password="geheim"):
                pass
        assert refused.value.response.status_code == 503
        assert stranger.requests == []


async def test_an_address_where_nothing_listens_is_a_503(central: Central) -> None:
    await central.add()
    await switch(central, "ws://127.0.0.1:9/ocpp")
    with pytest.raises(InvalidStatus) as refused:
        async with central.open():
            pass
    assert refused.value.response.status_code == 503
    assert await open_alerts(central) == ["it does not answer"]
    await switch(central, None)
    assert await open_alerts(central) == []


async def test_when_the_other_side_leaves_tcp_is_dropped(central: Central, csms: OtherCsms) -> None:
    async with central.open() as station:
        await until(lambda: csms.sockets)
        await csms.sockets[0].close()
        assert await station.ended() is None, "a close frame came"
    await until(central.all_closed)
    assert await central.reasons() == ["upstream_lost"]


async def test_when_the_station_leaves_the_other_side_sees_it(
    central: Central, csms: OtherCsms
) -> None:
    async with central.open():
        await until(lambda: csms.sockets)
    await csms.sockets[0].wait_closed()
    await until(central.all_closed)
    assert await central.reasons() == ["station"]


async def refused(central: Central, **how: Any) -> int:
    """The status of a refused handshake."""
    with pytest.raises(InvalidStatus) as caught:
        async with central.open(**how):
            pass
    return caught.value.response.status_code


async def test_a_second_connection_is_refused_while_the_first_lives(
    central: Central, csms: OtherCsms
) -> None:
    """The other CSMS may ask no password, and would drop the station itself."""
    async with central.open() as station:
        await until(lambda: len(csms.sockets) == 1)
        assert await refused(central) == 409
        assert await refused(central, password="a stranger's") == 409
        await station.send("still here")
        await until(lambda: csms.messages == ["still here"])
    assert len(csms.requests) == 1
    kinds = await central.owner.fetch("select kind, subject from alerts.alerts")
    assert [tuple(row) for row in kinds] == [("second_socket", "EVP-001")]


async def test_a_newer_connection_replaces_one_that_is_dead(
    db: Database, owner: Connection
) -> None:
    times = Times(silent_s=3600, ping_s=3600, old_socket_s=0.1)
    async with running(db, owner, times=times) as central, other_csms() as csms:
        await central.add()
        await switch(central, csms.url)
        async with central.open() as old:
            await until(lambda: len(csms.sockets) == 1)
            await _stop_reading(old.wire)
            async with central.open() as new:
                await new.send("new")
                await until(lambda: csms.messages == ["new"])
                old.wire.transport.abort()
        await until(central.all_closed)
        assert await central.reasons() == ["replaced", "station"]


async def test_a_station_whose_password_is_known_replaces_its_connection_at_once(
    central: Central,
) -> None:
    password = await central.add()
    async with other_csms() as csms:
        await switch(central, csms.url)
        async with central.open(password=password) as old:
            await until(lambda: len(csms.sockets) == 1)
            async with central.open(password=password):
                assert await old.ended() is None
        await until(central.all_closed)
    assert await central.reasons() == ["replaced", "station"]


async def test_a_forwarded_station_shows_its_life_to_another_node(
    central: Central, csms: OtherCsms
) -> None:
    async with central.open():
        await until(lambda: csms.sockets)
        before = await last_sign(central)
        central.clock.ahead = timedelta(seconds=1)
        async with central.parts.forwarder._listening():
            central.bus.publish(STATION_PING, stations.station_key("EVP-001"))

            async def is_stored() -> bool:
                return await last_sign(central) > before

            await until(is_stored)


async def last_sign(central: Central) -> datetime:
    async with central.db.connection() as connection:
        stored = await store.socket_of(connection, "EVP-001")
    assert stored is not None
    return stored.last_frame_at


SWITCHING = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: none\r\n"
)


async def upstream_ends(server: HostileServer) -> None:
    """Connects to the other CSMS, which can't be had."""
    url = server.url.replace("http", "ws", 1)
    handshake = ForwardedHandshake("EVP-001", url, "EVP-001", None, ("ocpp1.6",), "192.0.2.1")
    async with asyncio.timeout(WAIT_LIMIT_S):
        with pytest.raises(Unavailable):
            async with forward._upstream(handshake):
                pass


@pytest.mark.parametrize(
    "answer",
    [
        hangs_after(b""),
        hangs_after(SWITCHING),
        slow_bytes(SWITCHING + b"X-Padding: " + b"x" * 100_000),
        repeats(SWITCHING + b"X-Padding: ", b"x" * MIB, 1024),
    ],
    ids=["silent", "hangs in the head", "byte by byte", "1 GB"],
)
async def test_a_handshake_of_another_csms_that_never_ends_is_given_up(
    answer: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forward, "_OPEN_S", 0.3)
    async with HostileServer(answer) as server:
        await upstream_ends(server)


async def test_a_handshake_of_another_csms_cut_at_any_byte_is_none() -> None:
    async with HostileServer(closes_after(b"")) as server:
        for length in range(len(SWITCHING)):
            server.answer = closes_after(SWITCHING[:length])
            await upstream_ends(server)
        assert server.requests == len(SWITCHING)


async def test_a_message_of_another_csms_that_is_too_long_ends_the_connection(
    central: Central, csms: OtherCsms
) -> None:
    async with central.open(max_size=None) as station:
        await csms.send("x" * (forward.MESSAGE_BYTES + 1))
        assert await station.ended() is None
    await until(central.all_closed)
    assert await central.reasons() == ["upstream_lost"]


async def test_few_handshakes_of_a_station_connect_at_once(central: Central) -> None:
    async with hanging_csms() as (url, connections):
        for station in ("EVP-001", "EVP-002"):
            await central.add(station)
            await switch(central, url, station)
        async with asyncio.TaskGroup() as tasks:
            for _ in range(2):
                tasks.create_task(refused(central))
            await until(lambda: len(connections) == 2)
            assert await refused(central) == 503
            assert len(connections) == 2
            tasks.create_task(refused(central, path="/ocpp/EVP-002"))
            await until(lambda: len(connections) == 3)
            for writer in connections:
                writer.close()


async def test_a_csms_that_hangs_keeps_no_stations_of_another_out(
    central: Central, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("evpower.ocpp.forward._CONNECTING_TO_CSMS", 2)
    async with hanging_csms() as (url, connections), other_csms() as csms:
        for number, target in enumerate((url, url, f"{url}/2", csms.url), 1):
            await central.add(f"EVP-{number}")
            await switch(central, target, f"EVP-{number}")
        async with asyncio.TaskGroup() as tasks:
            for number in (1, 2):
                tasks.create_task(refused(central, path=f"/ocpp/EVP-{number}"))
            await until(lambda: len(connections) == 2)
            assert await refused(central, path="/ocpp/EVP-3") == 503
            assert len(connections) == 2
            async with central.open("/ocpp/EVP-4") as station:
                await station.send("in")
                await until(lambda: csms.messages == ["in"])
            for writer in connections:
                writer.close()
    forwarder = central.parts.forwarder
    assert (forwarder._connecting, forwarder._connecting_to) == ({}, {})


async def test_each_csms_takes_half_of_the_places_that_are_left(central: Central) -> None:
    forwarder = central.parts.forwarder

    def fill(stack: contextlib.ExitStack, csms: int) -> None:
        for number in range(300):
            connecting = forwarder._connecting_one(f"S{csms}-{number}", f"ws://csms-{csms}/ocpp")
            stack.enter_context(connecting)

    with contextlib.ExitStack() as stack:
        for csms in range(8):
            with pytest.raises(Unavailable, match="too many connect"):
                fill(stack, csms)
        places = [forwarder._connecting_to[f"csms-{csms}"] for csms in range(8)]
        assert places[:2] == [64, 64]
        assert sorted(places, reverse=True) == places
        assert places[-1] >= 1
    assert (forwarder._connecting, forwarder._connecting_to) == ({}, {})


async def test_a_refusal_again_writes_no_alert_again(central: Central, csms: OtherCsms) -> None:
    csms.status = HTTPStatus.UNAUTHORIZED
    versions = set[str]()
    for _ in range(3):
        assert await refused(central) == 401
        versions.add(await central.owner.fetchval("select xmin::text from alerts.alerts"))
    assert len(versions) == 1


@contextlib.asynccontextmanager
async def hanging_csms() -> AsyncGenerator[tuple[str, list[asyncio.StreamWriter]]]:
    """A server that takes connections and answers nothing."""
    connections: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(
        lambda _, writer: connections.append(writer), "127.0.0.1", 0
    )
    async with server:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/ocpp", connections
        for writer in connections:
            writer.close()


async def test_a_switch_moves_the_station_at_its_next_connection(central: Central) -> None:
    await central.add(no_auth=True)
    async with other_csms() as csms:
        async with central.open() as ours:
            await ours.boot()
            await switch(central, csms.url)
            await check(central)
            assert await ours.ended() is None
        async with central.open() as theirs:
            await theirs.send("hello")
            await until(lambda: csms.messages == ["hello"])
            await switch(central, None)
            await check(central)
            assert await theirs.ended() is None
        async with central.open() as ours:
            await ours.boot()
    assert csms.messages == ["hello"]


async def test_a_station_that_vanished_is_dropped(central: Central, csms: OtherCsms) -> None:
    async with central.open() as station:
        await until(lambda: csms.sockets)
        await check(central)
        central.clock.ahead = timedelta(minutes=5)
        await check(central)  # it is pinged, and answers

        async def has_ponged() -> bool:
            [socket] = central.parts.forwarder._forwarded.values()
            return socket.last_frame_at > central.clock() - timedelta(minutes=1)

        await until(has_ponged)
        await _stop_reading(station.wire)
        central.clock.ahead = timedelta(minutes=30)
        await check(central)
    await csms.sockets[0].wait_closed()
    await until(central.all_closed)
    assert await central.reasons() == ["silent"]


async def _stop_reading(wire: ClientConnection) -> None:
    wire.transport.pause_reading()
    await asyncio.sleep(0)


async def test_a_slow_other_side_stops_the_reading_not_the_memory(
    central: Central, csms: OtherCsms
) -> None:
    message = '[2,"1","DataTransfer",{"vendorId":"v","data":"' + "x" * 100_000 + '"}]'
    async with central.open() as station:
        await until(lambda: csms.sockets)
        csms.sockets[0].transport.pause_reading()
        sending = asyncio.create_task(_send_many(station, message, 150))

        def is_full() -> bool:
            [socket] = central.parts.forwarder._forwarded.values()
            return not socket._is_reading

        await until(is_full)
        [socket] = central.parts.forwarder._forwarded.values()
        assert socket._messages.qsize() < 64
        csms.sockets[0].transport.resume_reading()
        await sending
        await until(lambda: len(csms.messages) == 150)
        assert set(csms.messages) == {message}


async def _send_many(station: Station, message: str, count: int) -> None:
    for _ in range(count):
        await station.send(message)


async def test_evpower_answers_a_forwarded_station_nothing(
    central: Central, csms: OtherCsms
) -> None:
    async with central.db.transaction() as connection:
        await stations.queue_command(
            connection, "EVP-001", "clear_cache", {}, actor="aida",
            expires_in=timedelta(minutes=1), now=central.clock(),
        )  # fmt: skip
    async with central.open() as station:
        await station.send('[2,"1","BootNotification",{}]')
        await until(lambda: csms.messages)
        await csms.send('[3,"1",{}]')
        assert await station.wire.recv() == '[3,"1",{}]'
        assert central.socket() is None
    booted = await central.owner.fetchval(
        "select count(*) from stations.stations where booted_at is not null"
    )
    assert booted == 0

"""The life of a station's socket: order, limits, deadlines, its replacement, its end."""

# pyright: reportPrivateUsage=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncGenerator, Coroutine
from datetime import timedelta
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from evpower import stations
from evpower.foundation.bus import LocalBus
from evpower.foundation.db import Connection, Database
from evpower.foundation.errors import Conflict
from evpower.ocpp.model import Reply, SocketClosed
from evpower.ocpp.module import Times
from evpower.ocpp.v16.boot_notification import HEARTBEAT_S
from tests.api.scenario import Turning
from tests.ocpp.scenario import Central, Station, running
from tests.waiting import until

BEAT = [2, "1", "Heartbeat", {}]


def masked(message: bytes) -> bytes:
    """A text frame of a station, shorter than 126 bytes, with a mask of zeros."""
    return bytes((0x81, 0x80 + len(message))) + b"\0\0\0\0" + message


@contextlib.asynccontextmanager
async def connected(central: Central, **how: Any) -> AsyncGenerator[Station]:
    await central.add(no_auth=True)
    async with central.open(**how) as station:
        await until(lambda: central.socket() is not None)
        yield station


async def test_a_heartbeat_tells_the_time(central: Central) -> None:
    async with connected(central) as station:
        answer = await station.call("Heartbeat")
    assert answer.keys() == {"currentTime"}
    assert answer["currentTime"].endswith("Z")


async def test_an_unknown_action_is_not_implemented(central: Central) -> None:
    async with connected(central) as station:
        answer = await station.ask([2, "1", "MakeCoffee", {}])
        assert answer[:3] == [4, "1", "NotImplemented"]
        assert (await station.ask([2, "2", "SignCertificate", {}]))[2] == "NotSupported"
        await station.call("Heartbeat")


async def test_an_action_in_another_case_is_served(central: Central) -> None:
    async with connected(central) as station:
        await station.call("heartbeat")
    assert "action_form" in await central.deviations()


@pytest.mark.parametrize(
    ("sent", "answered"),
    [
        pytest.param(17, 17, id="number"),
        pytest.param("", "", id="empty"),
        pytest.param("x" * 200, "x" * 200, id="long"),
        pytest.param(None, "-1", id="null"),
        pytest.param(["a"], "-1", id="list"),
    ],
)
async def test_an_invalid_message_id_is_answered(
    central: Central, sent: object, answered: object
) -> None:
    async with connected(central) as station:
        answer = await station.ask([2, sent, "Heartbeat", {}])
        assert answer[:2] == [3, answered]
    assert await central.deviations() == {"before_boot": 1, "message_id": 1}


async def test_what_cant_be_read_keeps_the_socket(central: Central) -> None:
    """Q44."""
    async with connected(central) as station:
        answer = await station.ask('[2,"5","Boot" {]')
        assert answer[:3] == [4, "5", "FormationViolation"]
        await station.send("hello")
        await station.call("Heartbeat")
    assert (await central.deviations())["unreadable"] == 2


@pytest.mark.parametrize("levels", [900, 1100, 15_000])
@pytest.mark.parametrize("parts", [("[", "]"), ('{"a":', "}")], ids=["lists", "objects"])
async def test_what_is_nested_too_deep_is_answered(
    central: Central, levels: int, parts: tuple[str, str]
) -> None:
    async with connected(central) as station:
        nested = parts[0] * levels + "1" + parts[1] * levels
        answer = await station.ask(f'[2,"a","Heartbeat",{{"x":{nested}}}]')
        assert answer[0] in {3, 4}
        assert answer[1] == "a"
        await station.call("Heartbeat")


async def test_q17_requests_in_parallel_are_answered_in_order(central: Central) -> None:
    async with connected(central) as station:
        ids = [f"r{number}" for number in range(50)]
        status = {"connectorId": 1, "errorCode": "NoError", "status": "Available"}
        for message_id in ids:
            await station.send([2, message_id, "StatusNotification", status])
        assert [(await station.receive())[1] for _ in ids] == ids


async def test_q17_a_reply_is_not_blocked_by_requests(central: Central) -> None:
    """Our own calls never wait for a handler."""
    async with connected(central) as station:
        async with central.db.transaction() as connection:
            await connection.execute("select from stations.stations for update")
            await station.send([2, "b", "BootNotification", {}])
            reply = await central.socket().call("GetConfiguration", {})
            call = await station.receive()
            assert call[2:] == ["GetConfiguration", {}]
            await station.send([3, call[1], {"configurationKey": []}])
            assert await reply == Reply({"configurationKey": []}, None)
        assert (await station.receive())[:2] == [3, "b"]


async def test_an_error_is_a_reply(central: Central) -> None:
    async with connected(central) as station:
        reply = await central.socket().call("Reset", {"type": "Soft"})
        call = await station.receive()
        await station.send([4, call[1], "NotSupported", "no", {}])
        assert (await reply).error == {"error": "NotSupported", "description": "no", "details": {}}


async def test_q86_a_reply_to_no_call_is_only_logged(central: Central) -> None:
    async with connected(central) as station:
        await station.send([3, "unasked", {}])
        await station.send([4, "unasked", "InternalError", "", {}])
        await station.call("Heartbeat")
    assert (await central.deviations())["reply_unasked"] == 2


@pytest.mark.parametrize(
    "reply", [b'[3,"x",{}]', b'[4,"x","InternalError","",{}]', b'["3",7]', b"[3garbage"]
)
async def test_replies_to_no_call_without_end_drop_the_socket(
    central: Central, reply: bytes
) -> None:
    async with connected(central) as station:
        sent = 5_000
        with contextlib.suppress(ConnectionError):
            station.wire.transport.write(masked(reply) * sent)
        assert await station.ended() is None
    await until(central.all_closed)
    assert await central.reasons() == ["protocol"]
    assert (await central.deviations())["reply_flood"] == 1
    assert len(await central.frames()) < sent / 10


async def test_a_station_may_repeat_some_replies(central: Central) -> None:
    async with connected(central) as station:
        station.wire.transport.write(masked(b'[3,"x",{}]') * 40)
        await station.call("Heartbeat")
    assert (await central.deviations()) == {"before_boot": 1, "reply_unasked": 40}


async def test_of_long_replies_to_no_call_one_is_logged_whole(central: Central) -> None:
    async with connected(central) as station:
        for number in range(3):
            await station.send(json.dumps([3, f"x{number}", {"data": "x" * 1_000}]))
        await station.call("Heartbeat")
    lengths = [len(frame) for _, action, frame in await central.frames() if action is None]
    assert sorted(lengths) == [200, 200, 1_000 + len('[3, "x0", {"data": ""}]')]


async def test_a_reply_to_a_call_is_logged_whole(central: Central) -> None:
    async with connected(central) as station:
        for _ in range(60):
            reply = await central.socket().call("DataTransfer", {"vendorId": "v"})
            call = await station.receive()
            await station.send([3, call[1], {"status": "Accepted", "data": "x" * 1_000}])
            await reply
    replies = [frame for way, action, frame in await central.frames() if way == "in" and not action]
    assert len(replies) == 60
    assert min(map(len, replies)) > 1_000


async def test_a_call_ends_with_its_socket(central: Central) -> None:
    async with connected(central) as station:
        socket = central.socket()
        reply = await socket.call("ClearCache", {})
        await station.wire.close()
        with pytest.raises(SocketClosed):
            await reply
    with pytest.raises(SocketClosed):
        await socket.call("ClearCache", {})


async def test_q15_nothing_is_sent_before_the_station_has_settled(central: Central) -> None:
    """A call before the boot is answered makes some boot without end."""
    async with connected(central) as station:
        socket = central.socket()
        assert socket.ready_at == socket.opened_at + timedelta(seconds=30)
        await station.boot()
        await until(lambda: socket.had_first_frame)
        settled = socket.ready_at
        assert settled < socket.opened_at + timedelta(seconds=30)
        await station.call("Heartbeat")
        assert socket.ready_at == settled


async def test_a_frame_of_1_mib_is_read_and_a_larger_one_is_refused(central: Central) -> None:
    async with connected(central) as station:
        padding = "x" * (1024 * 1024 - 60)
        answer = await station.ask(json.dumps([2, "1", "DataTransfer", {"data": padding}]))
        assert answer[:2] == [3, "1"]
        await station.send("x" * (1024 * 1024 + 1))
        assert await station.ended() == 1009
    await until(central.all_closed)
    assert await central.reasons() == ["protocol"]


async def test_64_kib_before_the_station_is_known_are_too_much(central: Central) -> None:
    """Little is stored for a stranger."""
    await central.add(no_auth=True)
    async with central.db.transaction() as connection:
        await connection.execute("select from stations.stations for update")  # admission waits
        reader, writer = await asyncio.open_connection("127.0.0.1", central.port)
        writer.write(
            b"GET /ocpp/EVP-001 HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        head = b"\x81\xff" + (1024 * 1024).to_bytes(8, "big") + b"\0\0\0\0"
        writer.write(head + b"x" * 65_536)
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
        writer.close()


async def test_a_station_that_floods_is_read_no_faster_than_it_is_served(
    central: Central,
) -> None:
    """What it sends waits in its own socket, and another station's answer does not."""
    await central.add("EVP-002", no_auth=True)
    async with connected(central) as flood, central.open("/ocpp/EVP-002") as other:
        status = {"connectorId": 1, "errorCode": "NoError", "status": "Available"}
        sent = 400
        for number in range(sent):
            await flood.send([2, f"f{number}", "StatusNotification", status])
        await other.call("Heartbeat")
        await other.boot()
        for number in range(sent):
            assert (await flood.receive())[1] == f"f{number}"


async def test_the_smallest_frames_without_end_drop_the_socket(central: Central) -> None:
    async with connected(central) as station:
        with contextlib.suppress(ConnectionError):
            station.wire.transport.write(b"\x81\x80\0\0\0\0" * 60_000)
        assert await station.ended() is None
    await until(central.all_closed)
    assert await central.reasons() == ["protocol"]


async def test_q7_reserved_bits_end_the_socket_and_the_next_one_is_taken(central: Central) -> None:
    async with connected(central) as station:
        station.wire.transport.write(b"\xc1\x80\0\0\0\0")
        assert await station.ended() == 1002
        async with central.open() as again:
            await again.boot()


async def test_a_silent_station_is_dropped_without_a_close_frame(
    db: Database, owner: Connection
) -> None:
    times = Times(silent_s=0.3, ping_s=0.1, tick_s=0.02)
    async with running(db, owner, times=times) as central:
        loop = asyncio.create_task(central.parts.sockets.timer_loop().run(asyncio.Event()))
        async with connected(central) as station:
            station.wire.transport.pause_reading()  # it answers no ping
            await until(lambda: central.socket() is None)
            station.wire.transport.resume_reading()
            assert await station.ended() is None
        await until(central.all_closed)
        assert await central.reasons() == ["silent"]
        loop.cancel()


async def test_q12_pongs_alone_keep_a_socket(db: Database, owner: Connection) -> None:
    """Any sign of life counts."""
    async with running(db, owner, times=Times()) as central, connected(central):
        sockets, socket, now_s = central.parts.sockets, central.socket(), Turning(time.monotonic())
        sockets._now_s = socket._now_s = now_s
        for _ in range(5):
            now_s.at_s += 2 * HEARTBEAT_S
            for _ in sockets._slots:
                sockets.tick()
            await until(lambda: socket.last_sign_s == now_s.at_s, "it was not heard")
        assert not socket.is_over


async def test_signs_of_life_are_stored(central: Central) -> None:
    async with connected(central) as station:
        await station.call("Heartbeat")
        await central.parts.sockets.touch()
        stored = await central.owner.fetchval("select last_frame_at from stations.sockets")
        assert stored == central.socket().last_frame_at


async def test_a_socket_replaced_on_another_node_is_dropped(
    db: Database, owner: Connection, central: Central
) -> None:
    password = await central.add()
    async with central.open(password=password) as old, running(db, owner) as other:
        await old.boot()
        async with other.open(password=password) as new:
            await new.boot()
            await central.parts.sockets.drop_ended()
            assert await old.ended() is None
            await new.call("Heartbeat")
        await until(central.all_closed)
    assert await central.reasons() == ["replaced", "station"]


async def test_a_second_socket_of_an_open_station_is_refused_while_the_first_lives(
    central: Central,
) -> None:
    """Without a password anybody could take its place: an alert says so."""
    async with connected(central) as station:
        with pytest.raises(Exception, match="409"):
            async with central.open():
                pass
        await station.call("Heartbeat")
    alerts = await central.owner.fetch("select kind, subject from alerts.alerts")
    assert [tuple(row) for row in alerts] == [("second_socket", "EVP-001")]


async def test_one_check_of_an_open_station_runs_at_a_time(db: Database, owner: Connection) -> None:
    """However many connect under its name, it is pinged once, and the alert is written once."""
    async with running(db, owner) as central, connected(central) as station:
        endpoint, socket = central.parts.endpoint, central.socket()
        station.wire.transport.pause_reading()
        async with asyncio.TaskGroup() as tasks:
            checks = [
                tasks.create_task(_outcome(endpoint._check_old_socket("EVP-001")))
                for _ in range(20)
            ]
            await until(lambda: socket._signs)
            assert len(socket._signs) == 1
            station.wire.transport.resume_reading()
        assert {check.result() for check in checks} == {"station_connected"}


async def _outcome(check: Coroutine[Any, Any, None]) -> str:
    try:
        await check
    except Conflict as error:
        return error.code
    return "dead"


async def test_a_second_socket_of_an_open_station_replaces_a_dead_one(
    db: Database, owner: Connection
) -> None:
    times = Times(silent_s=3600, ping_s=3600, old_socket_s=0.1)
    async with running(db, owner, times=times) as central, connected(central) as old:
        old.wire.transport.pause_reading()
        async with central.open() as new:
            await new.boot()
        old.wire.transport.abort()


async def test_q14_when_the_server_stops_no_close_frame_is_sent(
    db: Database, owner: Connection
) -> None:
    """Some stations never redial after one."""
    async with contextlib.AsyncExitStack() as stack:
        async with running(db, owner) as central:
            await central.add(no_auth=True)
            station: Station = await stack.enter_async_context(central.open())
            await station.boot()
        assert await station.ended() is None
        assert await central.reasons() == ["shutdown"]


async def test_frames_are_logged_both_ways(central: Central) -> None:
    async with connected(central) as station:
        await station.boot()
        await station.call("Heartbeat")
        await central.socket().call(
            "ChangeConfiguration", {"key": "AuthorizationKey", "value": "s"}
        )
    frames = await central.frames()
    assert [(direction, action) for direction, action, _ in frames] == [
        ("in", "BootNotification"), ("out", "BootNotification"),
        ("in", "Heartbeat"), ("out", "Heartbeat"),
        ("out", "ChangeConfiguration"),
    ]  # fmt: skip
    assert '"value":"***"' in frames[-1][2]


async def test_the_log_of_connections_has_every_end(central: Central) -> None:
    async with connected(central) as station:
        station.wire.transport.abort()
        await until(central.all_closed)
        assert await central.reasons() == ["lost"]


async def test_an_open_station_keeps_its_living_socket_on_another_node(
    db: Database, owner: Connection
) -> None:
    """The other node is asked for a sign of life over the bus, and the database has it."""
    bus = LocalBus()
    async with running(db, owner, bus=bus) as first, running(db, owner, bus=bus) as second:
        second.parts.endpoint._node = "another"
        listening = asyncio.create_task(first.parts.sockets.touch_loop().run(asyncio.Event()))
        async with connected(first) as station:
            await station.call("Heartbeat")
            await first.parts.sockets.touch()
            with pytest.raises(InvalidStatus, match="409"):
                async with second.open():
                    pass
            await station.call("Heartbeat")
        listening.cancel()


async def test_an_open_station_moves_from_a_dead_node(db: Database, owner: Connection) -> None:
    times = Times(silent_s=3600, ping_s=3600, old_socket_s=0.3)
    async with (
        running(db, owner) as first,
        running(db, owner, times=times) as second,
        connected(first) as station,
    ):
        second.parts.endpoint._node = "another"
        await station.call("Heartbeat")
        await first.parts.sockets.touch()
        async with second.open() as moved:
            await moved.boot()


async def test_a_retired_station_is_dropped(central: Central) -> None:
    async with connected(central) as station:
        await station.call("Heartbeat")
        async with central.db.transaction() as connection:
            await stations.retire_station(
                connection, station="EVP-001", now=central.clock(), actor="aida"
            )
        await central.parts.sockets.drop_ended()
        assert await station.ended() is None
        with pytest.raises(InvalidStatus, match="403"):
            async with central.open():
                pass
    assert await central.reasons() == ["operator"]

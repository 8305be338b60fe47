"""Sockets, addresses and passwords of real stations (Q1 to Q17).

Many of these numbers are in tests/ocpp/test_admission.py and test_socket.py.
"""

# pyright: reportPrivateUsage=false, reportUnknownArgumentType=false

import asyncio
import time
from datetime import timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs
from websockets.exceptions import InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.typing import Subprotocol

from evpower import stations
from evpower.foundation.db import Connection, Database
from evpower.foundation.loops import Round
from evpower.ocpp.module import Times
from evpower.ocpp.v16.boot_notification import HEARTBEAT_S
from evpower.stations import StationChange
from evpower.stations.ask_boot import ask_for_boots
from tests.ocpp.driving import Driving, accept
from tests.ocpp.scenario import Central, Station, running
from tests.waiting import until

BOOT = {"chargePointVendor": "Acme", "chargePointModel": "One"}
HEAD = (
    "GET {path} HTTP/1.1\r\nHost: charge\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{more}\r\n"
)


async def refused(central: Central, path: str = "/ocpp/EVP-001", **how: Any) -> int:
    with pytest.raises(InvalidStatus) as caught:
        async with central.open(path, **how):
            pass
    return caught.value.response.status_code


async def raw(central: Central, head: str) -> str:
    """The status line of the answer to these bytes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", central.port)
    writer.write(head.encode())
    status = await reader.readline()
    writer.close()
    return status.decode()


async def charge(drive: Driving, station: Station) -> None:
    _, transaction = await drive.charging(station)
    await station.call("StopTransaction", drive.end(transaction, 5000))
    assert await drive.bills() == [(5000, 50_00)]


async def test_q1_an_address_is_decoded_once(drive: Driving) -> None:
    assert await refused(drive.central, "/ocpp/EVP%252D001") == 404
    async with drive.central.open("///EVP%2D001/") as station:
        await charge(drive, station)


async def test_q3_without_any_name_it_is_found_by_its_user(central: Central) -> None:
    """No id, no subprotocol, an Origin of its library."""
    password = await central.add()
    headers = {"Origin": "https://github.com/gilmaimon/TinyWebsockets"}
    async with central.open("/", password=password, headers=headers, subprotocols=None) as station:
        assert station.wire.subprotocol is None
        await station.boot()
        assert central.socket().is_authenticated


async def test_q3_without_name_and_user_its_address_is_listed(central: Central) -> None:
    for _ in range(2):
        assert await refused(central, "/", subprotocols=None) == 404
    await central.parts.unknown.flush()
    async with central.db.connection() as connection:
        [unknown] = await stations.list_unknown(connection)
    assert (unknown.name, unknown.address, unknown.attempts) == ("(no id)", "127.0.0.1", 2)


async def test_q4_without_a_subprotocol_it_charges(drive: Driving) -> None:
    async with drive.central.open(subprotocols=None) as station:
        assert station.wire.response is not None
        assert "Sec-WebSocket-Protocol" not in station.wire.response.headers
        await charge(drive, station)


async def test_q5_a_probe_before_the_connection_changes_nothing(drive: Driving) -> None:
    """A short socket of 1.6, and then one that offers a later version first."""
    async with drive.central.open():
        pass
    await until(drive.central.all_closed)
    both = [Subprotocol("ocpp2.0.1"), Subprotocol("ocpp1.6")]
    async with drive.central.open(subprotocols=both) as station:
        assert station.wire.subprotocol == "ocpp1.6"
        await charge(drive, station)
    assert await drive.central.deviations() == {"connection_unused": 1}


async def test_q5_a_boot_of_a_later_version_ends_the_socket_with_an_alert(
    drive: Driving,
) -> None:
    async with drive.central.open() as station:
        boot = {
            "reason": "PowerUp",
            "chargingStation": {"model": "A022KP1", "vendorName": "FoxESS"},
        }
        answer = await station.call("BootNotification", boot)
        assert answer["status"] == "Rejected"
        assert await station.ended() is None
    assert await drive.alerts() == {"version_mixed"}
    assert (await drive.central.deviations())["version_mixed"] == 1
    async with drive.central.open() as station:
        await charge(drive, station)


@pytest.mark.parametrize("more", ["", "Connection: keep-alive\r\n", "Connection: close\r\n"])
async def test_q6_a_handshake_without_connection_upgrade_is_a_400_with_its_head_in_the_log(
    central: Central, more: str
) -> None:
    await central.add(no_auth=True)
    with capture_logs() as lines:
        more += "Authorization: Basic c2VjcmV0\r\n"
        assert " 400 " in await raw(central, HEAD.format(path="/ocpp/EVP-001", more=more))
    [line] = [line for line in lines if line["event"] == "handshake_incomplete"]
    assert "/ocpp/EVP-001" in line["head"]
    assert "c2VjcmV0" not in line["head"]
    async with central.open() as station:
        await station.boot()


@pytest.mark.parametrize(
    "head",
    [
        pytest.param("GET /ocpp/EVP-001\r\n\r\n", id="no-version"),
        pytest.param("GET /ocpp/EVP 001 HTTP/1.1\r\n\r\n", id="blank"),
        pytest.param(HEAD.format(path="/ocpp/EVP-001", more="Connection Upgrade\r\n"), id="colon"),
        pytest.param("\x16\x03\x01\x02\x00\x01\r\n\r\n", id="tls"),
    ],
)
async def test_q6_a_malformed_request_stops_nothing(central: Central, head: str) -> None:
    await central.add(no_auth=True)
    assert " 400 " in await raw(central, head)
    async with central.open() as station:
        await station.boot()


async def test_q7_after_reserved_bits_the_charge_goes_on_over_the_next_socket(
    drive: Driving,
) -> None:
    async with drive.central.open() as station:
        _, transaction = await drive.charging(station)
        station.wire.transport.write(b"\xc1\x80\0\0\0\0")
        assert await station.ended() == 1002
        async with drive.central.open() as again:
            await again.call("StopTransaction", drive.end(transaction, 5000))
    assert await drive.bills() == [(5000, 50_00)]


async def test_q8_an_empty_password_is_none(central: Central) -> None:
    await central.add(no_auth=True)
    await central.add("EVP-002")
    async with central.open(password="") as station:
        await station.boot()
        assert not central.socket().is_authenticated
    with capture_logs() as lines:
        assert await refused(central, "/ocpp/EVP-002", user="EVP-002", password="") == 401
    assert [line["code"] for line in lines if line["event"] == "station_refused"] == ["no_password"]


@pytest.mark.parametrize(
    ("how", "code"),
    [
        pytest.param({}, "no_password", id="no-header"),
        pytest.param({"password": b"\xff\xfe:colon:\x00"}, "wrong_password", id="no-utf8"),
        pytest.param({"headers": {"Authorization": "Basic %%%"}}, "no_password", id="no-base64"),
        pytest.param({"headers": {"Authorization": "Bearer x"}}, "no_password", id="no-basic"),
    ],
)
async def test_q10_a_refusal_says_whether_a_password_came(
    central: Central, how: dict[str, Any], code: str
) -> None:
    await central.add()
    with capture_logs() as lines:
        assert await refused(central, **how) == 401
    assert [line["code"] for line in lines if line["event"] == "station_refused"] == [code]


async def test_q10_a_password_has_20_printable_characters_and_no_colon(central: Central) -> None:
    password = await central.add() or ""
    assert len(password) == 20
    assert password.isascii()
    assert password.isprintable()
    assert ":" not in password


async def test_q12_frames_keep_a_station_that_answers_no_ping(
    db: Database, owner: Connection
) -> None:
    """The deadline is three heartbeats, so one that is late drops nothing."""
    async with running(db, owner, times=Times()) as central:
        await central.add(no_auth=True)
        async with central.open() as station:
            _answer_no_ping(station)
            await until(lambda: central.socket() is not None)
            sockets, socket, ahead_s = central.parts.sockets, central.socket(), 0.0
            sockets._now_s = socket._now_s = lambda: time.monotonic() + ahead_s

            def tick_all() -> None:
                for _ in sockets._slots:
                    sockets.tick()

            for _ in range(10):
                ahead_s += 2 * HEARTBEAT_S
                tick_all()
                await station.call("Heartbeat")
            assert not socket.has_ponged
            ahead_s += 3 * HEARTBEAT_S
            tick_all()
            assert await station.ended() is None
        await until(central.all_closed)
        assert await central.reasons() == ["silent"]


@pytest.mark.parametrize("ping", ["true", "false"])
async def test_q12_a_station_that_takes_pings_badly_gets_none(drive: Driving, ping: str) -> None:
    """One drops its socket over them; the operator switches them off for it."""
    async with drive.central.db.transaction() as connection:
        await stations.change_station(
            connection, station="EVP-001", change=StationChange(members={"ping": ping}),
            now=drive.central.clock(), actor="aida",
        )  # fmt: skip
    async with drive.central.open() as station:
        await station.boot()
        sockets, socket = drive.central.parts.sockets, drive.central.socket()
        for _ in sockets._slots:
            sockets.tick()
        for _ in range(2):  # an answer to a ping would come before the second
            await station.call("Heartbeat")
        assert socket.has_ponged == (ping == "true")
        await charge(drive, station)


def _answer_no_ping(station: Station) -> None:
    send = station.wire.protocol.send_frame

    def send_frame(frame: Frame) -> None:
        if frame.opcode is not Opcode.PONG:
            send(frame)

    station.wire.protocol.send_frame = send_frame  # type: ignore[method-assign]


async def test_q14_a_charge_outlives_35_minutes_without_its_station(drive: Driving) -> None:
    async with drive.central.open() as station:
        _, transaction = await drive.charging(station)
        await station.call("MeterValues", drive.values(transaction, "2000"))
        station.wire.transport.abort()
    drive.later(hours=35 / 60)
    await drive.watch()
    assert (await drive.session())["state"] == "charging"
    assert (await drive.session())["station_lost_notified_at"] is not None
    async with drive.central.open() as station:
        await station.call("StopTransaction", drive.end(transaction, 5000))
    assert await drive.bills() == [(5000, 50_00)]


async def test_q15_nothing_is_sent_before_the_boot_was_answered(drive: Driving) -> None:
    """A station that boots anew at an early call would never come to rest."""
    drive.central.parts.endpoint._first_frame_wait = timedelta(seconds=20)
    async with drive.central.open() as station:
        await station.boot()
        await drive.request()
        tag = (await accept(station, "RemoteStartTransaction"))["idTag"]
    await until(drive.central.all_closed)
    await drive.command("get_configuration")
    async with drive.central.open() as station:
        await until(lambda: drive.central.socket() is not None)
        await drive.central.parts.dispatcher.run_once(Round())
        answer = await station.ask([2, "boot", "BootNotification", BOOT])
        assert answer[:2] == [3, "boot"], "the first message that came"
        await accept(station, "GetConfiguration")
        answer = await drive.begin(station, tag)
        await station.call("StopTransaction", drive.end(answer["transactionId"], 5000))
    assert await drive.bills() == [(5000, 50_00)]


async def test_q16_a_new_socket_needs_no_boot(drive: Driving) -> None:
    async with drive.central.open() as station:
        _, transaction = await drive.charging(station)
        station.wire.transport.abort()
    async with drive.central.open() as station:
        await station.call("MeterValues", drive.values(transaction, "2000"))
        await station.call("StopTransaction", drive.end(transaction, 5000))
        await drive.online(station)
        await drive.request()
        await accept(station, "RemoteStartTransaction")
    assert await drive.bills() == [(5000, 50_00)]


async def test_q16_a_station_without_a_boot_is_asked_for_one_and_charges_on(drive: Driving) -> None:
    """Its make is known then, and it is asked no more."""
    central = drive.central
    async with central.open() as station:
        await drive.online(station)
        await drive.request()
        tag = (await accept(station, "RemoteStartTransaction"))["idTag"]
        transaction = (await drive.begin(station, tag))["transactionId"]
        drive.later(hours=1 / 60)
        for _ in range(2):
            await ask_for_boots(central.db, central.bus, central.clock())
        assert await accept(station, "TriggerMessage") == {"requestedMessage": "BootNotification"}
        await station.call("BootNotification", BOOT)
        await ask_for_boots(central.db, central.bus, central.clock())
        drive.later(hours=6 / 60)
        await station.call("Heartbeat")
        await drive.watch()
        assert (await drive.session())["state"] == "charging"
        await station.call("StopTransaction", drive.end(transaction, 5000))
    assert await drive.value("select count(*) from stations.commands") == 2
    assert await drive.value("select vendor from stations.stations") == BOOT["chargePointVendor"]
    assert await drive.bills() == [(5000, 50_00)]


@pytest.mark.parametrize(
    ("reply", "after_s", "state"),
    [
        pytest.param("Accepted", 0, "charging", id="asked-for"),
        pytest.param(None, 0, "settled", id="by-itself"),
        pytest.param("Rejected", 0, "settled", id="refused"),
        pytest.param("Accepted", 300, "settled", id="long-after"),
    ],
)
async def test_q16_a_boot_that_was_asked_for_ends_nothing(
    drive: Driving, reply: str | None, after_s: int, state: str
) -> None:
    async with drive.central.open() as station:
        _, transaction = await drive.charging(station)
        await station.call("MeterValues", drive.values(transaction, "2000"))
        if reply is not None:
            await drive.command("trigger", message="boot_notification")
            call = await station.receive()
            assert call[2] == "TriggerMessage"
            await station.send([3, call[1], {"status": reply}])
        drive.later(hours=after_s / 3600)
        await station.boot()
        drive.later(hours=6 / 60)
        await station.call("Heartbeat")
        await drive.watch()
        assert (await drive.session())["state"] == state
        await station.call("StopTransaction", drive.end(transaction, 5000))
    assert (await drive.bills())[-1] == (5000, 50_00)


async def test_q16_a_boot_from_before_the_call_is_not_its_boot(drive: Driving) -> None:
    """The station lost its power; the boot that the call brings comes after it."""
    async with drive.central.open() as station:
        await station.boot()
        socket = drive.central.socket()
        assert socket is not None
        first_at, asked_at = socket.booted_at, drive.central.clock() + timedelta(minutes=1)
        socket.boot_asked_at = asked_at
        await station.boot()
        assert socket.booted_at != first_at, "by itself"
        assert socket.boot_asked_at == asked_at
        drive.later(hours=1 / 60)
        booted_at = socket.booted_at
        await station.boot()
        assert (socket.booted_at, socket.boot_asked_at) == (booted_at, None)


async def test_q17_calls_in_parallel_are_billed_in_their_order(drive: Driving) -> None:
    """The whole charge is sent before any of its answers is read."""
    async with drive.central.open() as station:
        await station.boot()
        await drive.request()
        tag = (await accept(station, "RemoteStartTransaction"))["idTag"]
        start = {"connectorId": 1, "idTag": tag, "meterStart": 0, "timestamp": drive.stamp()}
        await station.send([2, "1", "StartTransaction", start])
        for number in range(2, 6):
            await station.send([2, str(number), "MeterValues", drive.values(None, f"{number}00")])
        await station.send([2, "6", "StopTransaction", drive.end(None, 5000, idTag=tag)])
        await station.send([2, "7", "Heartbeat", {}])
        answers = [await station.receive() for _ in range(7)]
    assert [answer[:2] for answer in answers] == [[3, str(number)] for number in range(1, 8)]
    assert await drive.bills() == [(5000, 50_00)]

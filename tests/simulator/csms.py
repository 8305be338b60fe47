"""A foreign CSMS: the `ocpp` package's central system on a real WebSocket server."""

import asyncio
import base64
import json
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import websockets
from ocpp.routing import on
from ocpp.v16 import ChargePoint, call_result
from ocpp.v16.datatypes import IdTagInfo
from ocpp.v16.enums import Action, AuthorizationStatus, DataTransferStatus, RegistrationStatus
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.http11 import Request, Response

from evpower.simulator.frames import find_violation

BOOTED_AT = "2026-01-05T10:00:00Z"
REFUSED_TAG = "0BAD0BAD0BAD"


class CentralSystem(ChargePoint):
    """The CSMS's side of one connection."""

    def __init__(self, station: str, connection: ServerConnection, csms: "Csms") -> None:
        super().__init__(station, connection, response_timeout=60)
        self.csms = csms
        if csms.is_lenient:
            for handlers in self.route_map.values():
                handlers["_skip_schema_validation"] = True

    async def route_message(self, raw_msg: str) -> None:
        self.csms.receive(raw_msg)
        await super().route_message(raw_msg)

    async def _send(self, message: str) -> None:
        if message.startswith("[4,"):
            self.csms.errors.append(message)
        await super()._send(message)

    @on(Action.boot_notification)
    def on_boot(self, **_: Any) -> Any:
        return call_result.BootNotification(
            current_time=BOOTED_AT,
            interval=self.csms.heartbeat_s,
            status=RegistrationStatus.accepted,
        )

    @on(Action.heartbeat)
    def on_heartbeat(self) -> Any:
        return call_result.Heartbeat(current_time=BOOTED_AT)

    @on(Action.status_notification)
    def on_status(self, **_: Any) -> Any:
        return call_result.StatusNotification()

    @on(Action.authorize)
    def on_authorize(self, id_tag: str) -> Any:
        return call_result.Authorize(id_tag_info=_judge(id_tag))

    @on(Action.start_transaction)
    def on_start(self, id_tag: str, **_: Any) -> Any:
        self.csms.last_transaction += 1
        return call_result.StartTransaction(
            transaction_id=self.csms.last_transaction, id_tag_info=_judge(id_tag)
        )

    @on(Action.meter_values)
    def on_values(self, **_: Any) -> Any:
        return call_result.MeterValues()

    @on(Action.stop_transaction)
    def on_stop(self, **_: Any) -> Any:
        return call_result.StopTransaction()

    @on(Action.data_transfer)
    def on_data(self, **_: Any) -> Any:
        return call_result.DataTransfer(status=DataTransferStatus.unknown_vendor_id)


def _judge(id_tag: str) -> IdTagInfo:
    is_good = id_tag != REFUSED_TAG
    status = AuthorizationStatus.accepted if is_good else AuthorizationStatus.invalid
    return IdTagInfo(status=status)


@dataclass
class Received:
    """A request of a station."""

    id: str
    action: str
    payload: dict[str, Any]


@dataclass
class Csms:
    """What the CSMS received, oldest first (of replies the ids), and its open connections."""

    is_lenient: bool = False
    password: str | None = None
    heartbeat_s: int = 300
    received: list[Received] = field(default_factory=list[Received])
    replied: list[str] = field(default_factory=list[str])
    unreadable: list[str] = field(default_factory=list[str])
    errors: list[str] = field(default_factory=list[str])
    connections: list[CentralSystem] = field(default_factory=list[CentralSystem])
    handshakes: int = 0
    last_transaction: int = 0
    server: Server | None = None

    @property
    def url(self) -> str:
        assert self.server is not None
        return f"ws://127.0.0.1:{self.server.sockets[0].getsockname()[1]}/ocpp"

    @property
    def station(self) -> CentralSystem:
        """The newest connection."""
        return self.connections[-1]

    @property
    def actions(self) -> list[str]:
        return [received.action for received in self.received]

    @property
    def statuses(self) -> list[str]:
        """Statuses of connector 1."""
        return [
            payload["status"]
            for payload in self.payloads("StatusNotification")
            if payload["connectorId"] == 1
        ]

    def count(self, action: str) -> int:
        return Counter(self.actions)[action]

    def payloads(self, action: str) -> list[dict[str, Any]]:
        return [received.payload for received in self.received if received.action == action]

    def receive(self, text: str) -> None:
        try:
            frame = json.loads(text)
        except ValueError:
            self.unreadable.append(text)
            return
        if frame[0] == 2:
            self.received.append(Received(frame[1], frame[2], frame[3]))
        else:
            self.replied.append(frame[1])

    def violations(self) -> list[str]:
        """What the 1.6 schemas refuse of all that was received."""
        texts = [find_violation(2, each.action, each.payload) for each in self.received]
        return [text for text in texts if text]

    async def handle(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        station = CentralSystem(connection.request.path.rsplit("/", 1)[-1], connection, self)
        self.connections.append(station)
        try:
            await station.start()
        except websockets.ConnectionClosed:
            pass
        finally:
            self.connections.remove(station)

    def check(self, connection: ServerConnection, request: Request) -> Response | None:
        self.handshakes += 1
        header = request.headers.get("Authorization", "")
        sent = base64.b64decode(header.removeprefix("Basic ")).decode()
        if self.password is not None and sent.partition(":")[2] != self.password:
            return connection.respond(HTTPStatus.UNAUTHORIZED, "")
        return None


@asynccontextmanager
async def running_csms(**options: Any) -> AsyncGenerator[Csms]:
    csms = Csms(**options)
    async with serve(
        csms.handle,
        "127.0.0.1",
        0,
        subprotocols=[websockets.Subprotocol("ocpp1.6")],
        process_request=csms.check,
        close_timeout=1,
    ) as csms.server:
        yield csms
    await asyncio.sleep(0)

"""Passes a station's frames to another CSMS and back, unchanged; they are recorded and priced.

EvPower answers nothing itself. When the other CSMS is away the station's connection is dropped, so
that the station queues what it has to say, as it does for any CSMS.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import quote, urlsplit
from uuid import UUID

import structlog
import websockets
from starlette.types import Send
from websockets.asyncio.client import ClientConnection
from websockets.frames import Frame as WebSocketFrame
from websockets.frames import Opcode

from evpower import alerts, charging, stations
from evpower.foundation.bus import EVERYTHING, Topic
from evpower.foundation.clock import Clock
from evpower.foundation.errors import Unavailable
from evpower.foundation.loops import Loop, Round, Wakeup
from evpower.foundation.module import Shared
from evpower.foundation.websocket import Ended, SocketProtocol
from evpower.ocpp import messages, metrics
from evpower.ocpp.dispatch import CommandEnded
from evpower.ocpp.forwarded_charges import ForwardedCharges
from evpower.ocpp.frame_log import FrameLog, shown
from evpower.ocpp.model import CALL, CALL_ERROR, CALL_RESULT, VERSION, Direction, FrameRow
from evpower.ocpp.sockets import Sockets

UNREACHABLE: Final = "forward_target_unreachable"  # an error, and an alert
MESSAGE_BYTES: Final = 1024 * 1024
_OPEN_S: Final = 10.0
_CLOSE_S: Final = 1.0
_UPSTREAM_PING_S: Final = 20.0
_CHECK_S: Final = 5.0
_SILENT: Final = timedelta(minutes=6)  # without a frame or a pong of the station
_PING_EVERY: Final = timedelta(seconds=25)
_WAITING: Final = 32  # messages that the other CSMS did not take yet: then nothing is read
_FLOOD: Final = 2_000  # what one read may bring beyond that
_PING: Final = WebSocketFrame(Opcode.PING, b"").serialize(mask=False)
log: Final = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class ForwardedHandshake:
    """A station that is forwarded, and what it said as it connected.

    `name`: the station as it named itself; `authorization` is passed on and stored nowhere.
    """

    station_id: str
    target_url: str
    name: str
    authorization: bytes | None
    offered: tuple[str, ...]
    address: str


class ForwardedSocket:
    """A station's connection and the one to the other CSMS; the end of one ends the other."""

    def __init__(
        self,
        handshake: ForwardedHandshake,
        wire: SocketProtocol,
        upstream: ClientConnection,
        epoch: int,
        frames: FrameLog,
        charges: ForwardedCharges,
        clock: Clock,
    ) -> None:
        self.station_id = handshake.station_id
        self.target_url = handshake.target_url
        self.epoch = epoch
        self.close_reason: stations.DisconnectReason | None = None
        self.last_frame_at = clock()  # a frame or a pong of the station
        self._pinged_at = self.last_frame_at
        self._is_reading = True
        self._wire = wire
        self._upstream = upstream
        self._frames = frames
        self._charges = charges
        self._clock = clock
        self._messages: asyncio.Queue[bytes] = asyncio.Queue(_FLOOD)
        self._over = asyncio.Event()

    # What the station's connection reports

    def received(self, message: bytes) -> None:
        """Receives a message of the station."""
        self.last_frame_at = self._clock()
        try:
            self._messages.put_nowait(message)
        except asyncio.QueueFull:
            self.drop("protocol")
        if self._messages.qsize() >= _WAITING and self._is_reading:
            self._is_reading = False
            self._wire.transport.pause_reading()

    def ponged(self) -> None:
        """A pong is a sign of life."""
        self.last_frame_at = self._clock()

    def ended(self, how: Ended) -> None:
        """The station's connection ended."""
        if self.close_reason is None:
            self.close_reason = "station" if how == "peer" else "lost"
        self._over.set()

    def drained(self) -> None:
        """The station reads again."""

    def stopping(self) -> None:
        """The process stops."""
        self.drop("shutdown")

    # Its life

    async def run(self) -> None:
        """Passes messages both ways until either connection ends."""
        tasks = [
            asyncio.create_task(work)
            for work in (self._pass_up(), self._pass_down(), self._over.wait())
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self.drop("upstream_lost")

    def watch(self, now: datetime) -> None:
        """Pings the station, and drops one without a sign of life."""
        if now - self.last_frame_at >= _SILENT:
            self.drop("silent")
        elif now - self._pinged_at >= _PING_EVERY and not self._wire.slow:
            self._pinged_at = now
            self._wire.write(_PING)

    def drop(self, reason: stations.DisconnectReason) -> None:
        """Drops the station's connection without a close frame, so that it connects again."""
        if self.close_reason is None:
            self.close_reason = reason
        self._wire.abort()
        self._over.set()

    async def _pass_up(self) -> None:
        with contextlib.suppress(websockets.ConnectionClosed):
            while True:
                message = await self._messages.get()
                if not self._is_reading and self._messages.qsize() < _WAITING // 2:
                    self._is_reading = True
                    self._wire.transport.resume_reading()
                await self._upstream.send(message, text=True)
                self._record("in", message)

    async def _pass_down(self) -> None:
        with contextlib.suppress(websockets.ConnectionClosed):
            async for message in self._upstream:
                raw = message.encode() if isinstance(message, str) else message
                if not self._wire.write(messages.text_frame(raw)):
                    return
                self._record("out", raw)
                if self._wire.slow:
                    await self._wire.writable.wait()

    def _record(self, direction: Direction, message: bytes) -> None:
        at = self._clock()
        read = messages.read(message)
        kind, message_id, action = None, None, None
        if isinstance(read, messages.Call):
            kind, message_id, action = CALL, str(read.id)[:255], read.action[:64]
        elif isinstance(read, messages.StationReply):
            kind = CALL_RESULT if read.error is None else CALL_ERROR
            message_id = str(read.id)[:255]
        self._frames.add(
            FrameRow(self.station_id, at, direction, kind, message_id, action, shown(message))
        )
        self._charges.note(direction, read, at)


class Forwarder:
    """The forwarded stations of this node."""

    def __init__(
        self,
        shared: Shared,
        sockets: Sockets,
        frames: FrameLog,
        ended: CommandEnded,
    ) -> None:
        self._db = shared.db
        self._bus = shared.bus
        self._clock = shared.clock
        self._sockets = sockets
        self._frames = frames
        self._ended = ended
        self._forwarded: dict[str, ForwardedSocket] = {}
        self._keys: dict[str, UUID] = {}  # of the forwarded stations, on the bus
        self._wakeup = Wakeup()

    def __len__(self) -> int:
        return len(self._forwarded)

    async def serve(
        self, handshake: ForwardedHandshake, wire: SocketProtocol, send: Send, *, node: str
    ) -> None:
        """Serves a forwarded station until it or the other CSMS leaves.

        A refusal of the other CSMS is passed on with its status. Raises Unavailable.
        """
        async with self._connected(handshake) as upstream:
            if isinstance(upstream, int):
                await _refuse(send, upstream)
                return
            epoch = await self._open(handshake, upstream.subprotocol, node)
            charges = ForwardedCharges(self._db, handshake.station_id, self._clock)
            socket = ForwardedSocket(
                handshake, wire, upstream, epoch, self._frames, charges, self._clock
            )
            pricing = asyncio.create_task(charges.run())
            wire.owner = socket
            try:
                with self._joined(socket):
                    await send({"type": "websocket.accept", "subprotocol": upstream.subprotocol})
                    wire.forget_handshake()
                    wire.deliver_to(socket)
                    log.info("station_forwarded", station=socket.station_id, epoch=epoch)
                    await socket.run()
            finally:
                wire.owner = wire.receiver = None
                await charges.finish()
                await pricing
                await self._close(socket)

    def loop(self) -> Loop:
        """Returns the loop that applies switches, and stores when stations were last heard."""

        async def check(_: Round) -> None:
            await self.check()

        return Loop(
            "ocpp_forwards", check, period_s=_CHECK_S, wakeup=self._wakeup, around=self._listening
        )

    async def check(self) -> None:
        """Drops the connections of stations that were switched, so that they connect anew."""
        own = {socket.station_id: socket for socket in self._sockets}
        station_ids = [*own, *self._forwarded]
        if not station_ids:
            return
        touches = [
            stations.Touch(socket.station_id, socket.epoch, socket.last_frame_at)
            for socket in self._forwarded.values()
        ]
        now = self._clock()
        async with self._db.transaction() as connection:
            targets = await stations.forward_targets(connection, station_ids)
            ended: dict[tuple[str, int], stations.DisconnectReason] = {
                (station_id, epoch): reason
                for station_id, epoch, reason in await stations.list_ended(
                    connection, [(each.station_id, each.epoch) for each in self._forwarded.values()]
                )
            }
            if touches:
                await stations.touch(connection, touches)
        for station_id in targets.keys() & own.keys():
            own[station_id].drop("operator")
        for station_id, socket in tuple(self._forwarded.items()):
            if targets.get(station_id) != socket.target_url:
                socket.drop("operator")
            elif reason := ended.get((station_id, socket.epoch)):
                socket.drop(reason)
            else:
                socket.watch(now)

    @asynccontextmanager
    async def _listening(self) -> AsyncGenerator[None]:
        unsubscribe = self._bus.subscribe(self._on_notification)
        try:
            yield
        finally:
            unsubscribe()

    def _on_notification(self, topic: Topic, key: UUID) -> None:
        if topic == stations.STATION_CHANGED and (
            key == EVERYTHING
            or key in self._keys.values()
            or self._sockets.get_by_key(key) is not None
        ):
            self._wakeup.notify()

    @contextmanager
    def _joined(self, socket: ForwardedSocket) -> Generator[None]:
        before = self._forwarded.get(socket.station_id)
        self._forwarded[socket.station_id] = socket
        self._keys[socket.station_id] = stations.station_key(socket.station_id)
        if before is not None:
            before.drop("replaced")
        metrics.FORWARDED.set(len(self._forwarded))
        try:
            yield
        finally:
            if self._forwarded.get(socket.station_id) is socket:
                del self._forwarded[socket.station_id], self._keys[socket.station_id]
            metrics.FORWARDED.set(len(self._forwarded))

    @asynccontextmanager
    async def _connected(
        self, handshake: ForwardedHandshake
    ) -> AsyncGenerator[ClientConnection | int]:
        """Yields as `_upstream`; an alert is open while the other CSMS does not let it in."""
        try:
            async with _upstream(handshake) as upstream:
                if isinstance(upstream, int):
                    await self._alert(handshake, f"refused with HTTP {upstream}")
                yield upstream
        except Unavailable as error:
            if error.code == UNREACHABLE:
                await self._alert(handshake, "it does not answer")
            raise

    async def _alert(self, handshake: ForwardedHandshake, reason: str) -> None:
        async with self._db.transaction() as connection:
            await alerts.open_alert(
                connection, UNREACHABLE, handshake.station_id,
                {"url": handshake.target_url, "reason": reason}, self._clock(),
            )  # fmt: skip

    async def _open(self, handshake: ForwardedHandshake, agreed: str | None, node: str) -> int:
        now = self._clock()
        async with self._db.transaction() as connection:
            opened = await stations.open_connection(
                connection,
                handshake.station_id,
                address=handshake.address,
                version="ocpp2.0.1" if agreed == "ocpp2.0.1" else VERSION,
                is_authenticated=False,  # by the other CSMS, not by EvPower
                node=node,
                now=now,
            )
            await alerts.close_alert(connection, UNREACHABLE, handshake.station_id, now)
            changes = charging.Changes(stations={handshake.station_id})
            for command in opened.timed_out:
                changes.merge(await self._ended(connection, command, now))
        changes.publish(self._bus)
        return opened.epoch

    async def _close(self, socket: ForwardedSocket) -> None:
        reason = socket.close_reason or "lost"
        metrics.CLOSED.labels(reason).inc()
        log.info(
            "station_disconnected", station=socket.station_id, epoch=socket.epoch, reason=reason
        )
        try:
            async with self._db.transaction() as connection:
                await stations.close_connection(
                    connection, socket.station_id, socket.epoch, reason, now=self._clock()
                )
        except Unavailable as error:
            log.warning("station_close_failed", station=socket.station_id, code=error.code)


@asynccontextmanager
async def _upstream(handshake: ForwardedHandshake) -> AsyncGenerator[ClientConnection | int]:
    """Yields the connection to the other CSMS, or the HTTP status with which it refuses.

    Raises Unavailable.
    """
    target = urlsplit(handshake.target_url)
    address = f"{handshake.target_url}/{quote(handshake.name, safe='')}"
    headers: dict[str, str] = {}
    if handshake.authorization is not None:
        headers["Authorization"] = handshake.authorization.decode("latin-1")
    offered = [websockets.Subprotocol(name) for name in handshake.offered]
    try:
        upstream = await websockets.connect(
            address,
            # Named, so that a redirect to another host is refused: it would get the password.
            host=target.hostname,
            port=target.port or (443 if target.scheme == "wss" else 80),
            subprotocols=offered or None,
            additional_headers=headers,
            user_agent_header=None,
            compression=None,
            proxy=None,
            open_timeout=_OPEN_S,
            close_timeout=_CLOSE_S,
            ping_interval=_UPSTREAM_PING_S,
            ping_timeout=_UPSTREAM_PING_S,
            max_size=MESSAGE_BYTES,
        )
    except websockets.InvalidStatus as error:
        yield error.response.status_code
        return
    except (websockets.InvalidHandshake, OSError, TimeoutError, ValueError) as error:
        log.warning(
            "forward_target_unreachable", station=handshake.station_id, error=str(error)[:200]
        )
        raise Unavailable(
            UNREACHABLE, "the CSMS behind does not answer", retry_after_s=10
        ) from error
    try:
        yield upstream
    finally:
        await upstream.close()


async def _refuse(send: Send, status: int) -> None:
    headers = [(b"content-length", b"0")]
    if status == 401:  # noqa: PLR2004 - a station sends its password then
        headers.append((b"www-authenticate", b'Basic realm="ocpp"'))
    await send({"type": "websocket.http.response.start", "status": status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": b""})

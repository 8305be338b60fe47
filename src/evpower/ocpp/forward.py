"""Passes a station's frames to another CSMS and back, unchanged; they are recorded and priced.

EvPower answers nothing itself. When the other CSMS is away the station's connection is dropped, so
that the station queues what it has to say, as it does for any CSMS.
"""

import asyncio
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import Final
from urllib.parse import quote, urlsplit
from uuid import UUID

import structlog
import websockets
from starlette.types import Send
from websockets.asyncio.client import ClientConnection

from evpower import alerts, charging, stations
from evpower.foundation.bus import EVERYTHING, Topic
from evpower.foundation.errors import Unavailable
from evpower.foundation.loops import Loop, Round, Wakeup
from evpower.foundation.module import Shared
from evpower.foundation.websocket import SocketProtocol
from evpower.ocpp import metrics
from evpower.ocpp.dispatch import CommandEnded
from evpower.ocpp.forwarded_charges import ForwardedCharges
from evpower.ocpp.forwarded_socket import ForwardedHandshake, ForwardedSocket
from evpower.ocpp.frame_log import FrameLog
from evpower.ocpp.model import VERSION
from evpower.ocpp.sockets import Sockets

UNREACHABLE: Final = "forward_target_unreachable"  # an error, and an alert
MESSAGE_BYTES: Final = 1024 * 1024
_OPEN_S: Final = 10.0
_CLOSE_S: Final = 1.0
_UPSTREAM_PING_S: Final = 20.0
_CHECK_S: Final = 5.0
log: Final = structlog.get_logger()


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

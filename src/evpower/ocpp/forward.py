"""Passes a station's frames to another CSMS and back, unchanged; they are recorded and priced.

EvPower answers nothing itself. When the other CSMS is away the station's connection is dropped, so
that the station queues what it has to say, as it does for any CSMS.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
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
from evpower.ocpp.model import STATION_PING, VERSION
from evpower.ocpp.sockets import Sockets, show_life

UNREACHABLE: Final = "forward_target_unreachable"  # an error, and an alert
MESSAGE_BYTES: Final = 1024 * 1024
_OPEN_S: Final = 10.0
_CLOSE_S: Final = 1.0
_UPSTREAM_PING_S: Final = 20.0
_CHECK_S: Final = 5.0
# At once to other CSMSs: in all, to one of them, and of a station. One CSMS takes at most half of
# the places that are left, so that one that hangs leaves places for others.
_CONNECTING: Final = 256
_CONNECTING_TO_CSMS: Final = 64
_CONNECTING_OF_STATION: Final = 2
_ALERT_EVERY_S: Final = 30.0  # of a station
log: Final = structlog.get_logger()


class Forwarder:
    """The forwarded stations of this node."""

    def __init__(
        self,
        shared: Shared,
        sockets: Sockets,
        frames: FrameLog,
        ended: CommandEnded,
        *,
        now_s: Callable[[], float] = time.monotonic,
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
        self._now_s = now_s
        self._connecting: Counter[str] = Counter()  # by station
        self._connecting_to: Counter[str] = Counter()  # by the other CSMS
        self._alerted: dict[str, tuple[str, float]] = {}  # of a station: for what target, and when
        self._tasks: set[asyncio.Task[None]] = set()

    def get(self, station_id: str) -> ForwardedSocket | None:
        """Returns the station's newest forwarded socket on this node."""
        return self._forwarded.get(station_id)

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
            charges = ForwardedCharges(self._db, handshake.station_id, self._frames, self._clock)
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
        if topic == STATION_PING:
            for station_id, socket in self._forwarded.items():
                if self._keys.get(station_id) == key:
                    task = asyncio.create_task(show_life(self._db, socket))
                    self._tasks.add(task)
                    task.add_done_callback(self._tasks.discard)

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
        """Yields as `_upstream`; an alert is open while the other CSMS does not let it in.

        Raises Unavailable, also when as many connect as may.
        """
        async with AsyncExitStack() as stack:
            try:
                with self._connecting_one(handshake.station_id, handshake.target_url):
                    upstream = await stack.enter_async_context(_upstream(handshake))
            except Unavailable as error:
                if error.code == UNREACHABLE:
                    await self._alert(handshake, "it does not answer")
                raise
            if isinstance(upstream, int):
                await self._alert(handshake, f"refused with HTTP {upstream}")
            yield upstream

    @contextmanager
    def _connecting_one(self, station_id: str, target_url: str) -> Generator[None]:
        """Counts a station that connects to its CSMS: anybody may come under its name."""
        by_station, by_csms = self._connecting, self._connecting_to
        csms = target_url.partition("//")[2].partition("/")[0].lower()  # its host and port
        most = min(_CONNECTING_TO_CSMS, -(-(_CONNECTING - by_csms.total()) // 2))
        if by_station[station_id] >= _CONNECTING_OF_STATION or by_csms[csms] >= most:
            raise Unavailable("overloaded", "too many connect at the moment", retry_after_s=5)
        by_station[station_id] += 1
        by_csms[csms] += 1
        try:
            yield
        finally:
            for counted, key in ((by_station, station_id), (by_csms, csms)):
                counted[key] -= 1
                if not counted[key]:
                    del counted[key]

    async def _alert(self, handshake: ForwardedHandshake, reason: str) -> None:
        """Opens the alert, seldom; a stranger's refusal says nothing of a station that is in."""
        station_id, now_s = handshake.station_id, self._now_s()
        url, written_s = self._alerted.get(station_id, ("", 0.0))
        is_fresh = url == handshake.target_url and now_s - written_s < _ALERT_EVERY_S
        if is_fresh or station_id in self._forwarded:
            return
        self._alerted[station_id] = handshake.target_url, now_s
        async with self._db.transaction() as connection:
            await alerts.open_alert(
                connection, UNREACHABLE, station_id,
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
            self._alerted.pop(handshake.station_id, None)
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

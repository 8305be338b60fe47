"""One forwarded station: its connection and the one to the other CSMS, message by message."""

import asyncio
import contextlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import websockets
from websockets.asyncio.client import ClientConnection
from websockets.frames import Frame as WebSocketFrame
from websockets.frames import Opcode

from evpower import stations
from evpower.foundation.clock import Clock
from evpower.foundation.websocket import Ended, SocketProtocol
from evpower.ocpp import messages
from evpower.ocpp.forwarded_charges import ForwardedCharges
from evpower.ocpp.frame_log import FrameLog, shown
from evpower.ocpp.model import CALL, CALL_ERROR, CALL_RESULT, Direction, FrameRow

_SILENT: Final = timedelta(minutes=6)  # without a frame or a pong of the station
_PING_EVERY: Final = timedelta(seconds=25)
_WAITING: Final = 32  # messages that the other CSMS did not take yet: then nothing is read
_FLOOD: Final = 2_000  # what one read may bring beyond that
_PING: Final = WebSocketFrame(Opcode.PING, b"").serialize(mask=False)


@dataclass(frozen=True, slots=True)
class ForwardedHandshake:
    """A station that is forwarded, and what it said as it connected.

    `name`: the station's name that it came with; `authorization` is passed on and stored nowhere.
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
        self._signs: list[asyncio.Future[None]] = []  # those who wait for a sign of life

    # What the station's connection reports

    def received(self, message: bytes) -> None:
        """Receives a message of the station."""
        self._lives()
        try:
            self._messages.put_nowait(message)
        except asyncio.QueueFull:
            self.drop("protocol")
        if self._messages.qsize() >= _WAITING and self._is_reading:
            self._is_reading = False
            self._wire.transport.pause_reading()

    def ponged(self) -> None:
        """A pong is a sign of life."""
        self._lives()

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

    @property
    def is_over(self) -> bool:
        """Whether the connection has ended."""
        return self._over.is_set()

    async def answers_ping(self, within_s: float) -> bool:
        """Pings. Returns whether the station gives any sign of life in time."""
        if self.is_over:
            return False
        sign: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._signs.append(sign)
        if not self._wire.slow:
            self._wire.write(_PING)
        await asyncio.wait({sign}, timeout=within_s)
        return sign.done() and not self.is_over

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

    def _lives(self) -> None:
        self.last_frame_at = self._clock()
        if self._signs:
            signs, self._signs = self._signs, []
            for sign in signs:
                if not sign.done():
                    sign.set_result(None)

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

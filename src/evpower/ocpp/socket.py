"""One socket of a station: its messages in order, our calls, and its end."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final, Protocol

from websockets.frames import Frame as WebSocketFrame
from websockets.frames import Opcode

from evpower.foundation.clock import Clock
from evpower.foundation.websocket import Ended, SocketProtocol
from evpower.ocpp import messages, metrics
from evpower.ocpp.calls import is_accepted
from evpower.ocpp.frame_log import shown
from evpower.ocpp.model import CALL, CALL_ERROR, CALL_RESULT, VERSION, FrameRow, Reply, SocketClosed
from evpower.stations import USUAL_PROFILE, DisconnectReason, VendorProfile

_WAITING: Final = 32  # unanswered requests: from then on nothing is read
_FLOOD: Final = 2_000  # what one read may bring beyond that
_PENDING: Final = 64  # calls whose reply never came
_UNASKED: Final = 50  # replies to no call at once: some stations repeat theirs
_UNASKED_PER_S: Final = 5
_UNASKED_WHOLE_S: Final = 60.0  # one in this time is logged whole, however long
_UNASKED_CHARS: Final = 200  # of each other
_REASONS: Final[Mapping[Ended, DisconnectReason]] = {
    "peer": "station", "protocol": "protocol", "lost": "lost"
}  # fmt: skip
# What waits is not served any more: it was not answered, so the station sends it again.
_WITHOUT_REST: Final = frozenset[DisconnectReason]({"unresponsive", "shutdown"})
_TRIGGER: Final = "TriggerMessage"
_PING: Final = WebSocketFrame(Opcode.PING, b"").serialize(mask=False)


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose socket it is, and when nothing may be sent yet."""

    station_id: str
    epoch: int
    opened_at: datetime
    booted_at: datetime | None
    is_authenticated: bool
    first_frame_wait: timedelta
    settle: timedelta
    profile: VendorProfile = USUAL_PROFILE
    zone: tzinfo = UTC  # of its times without a zone


class Registry(Protocol):
    """The registry of sockets, and what a socket reports to it."""

    def schedule_drop(self, socket: "StationSocket") -> None:
        """Drops the socket soon, because the process stops."""
        ...

    def log(self, frame: FrameRow) -> None:
        """Stores a raw frame."""
        ...

    def note(self, station_id: str, kinds: set[str], sample: str, at: datetime) -> None:
        """Counts deviations."""
        ...


# Answers one request of a station.
ServeRequest = Callable[["StationSocket", bytes, datetime], Awaitable[None]]


class StationSocket:
    """A socket. Requests wait in order; replies to our calls are never blocked by them."""

    __slots__ = (
        "_boot_call",
        "_calls",
        "_inbox",
        "_is_over",
        "_is_reading",
        "_now_s",
        "_owner",
        "_pending",
        "_signs",
        "_unasked_at_s",
        "_unasked_left",
        "_unasked_whole_s",
        "_waiter",
        "boot_asked_at",
        "booted_at",
        "clock",
        "close_reason",
        "epoch",
        "had_first_frame",
        "has_ponged",
        "is_authenticated",
        "last_frame_at",
        "last_sign_s",
        "opened_at",
        "profile",
        "ready_at",
        "settle",
        "slot",
        "station_id",
        "touched_at",
        "version",
        "wire",
        "zone",
    )

    def __init__(
        self,
        wire: SocketProtocol,
        identity: Identity,
        owner: Registry,
        *,
        clock: Clock,
        now_s: Callable[[], float],
    ) -> None:
        self.wire = wire
        self.station_id = identity.station_id
        self.epoch = identity.epoch
        self.version = VERSION
        self.is_authenticated = identity.is_authenticated
        self.opened_at = identity.opened_at
        self.booted_at = identity.booted_at
        self.settle = identity.settle
        self.profile = identity.profile  # `Sockets.refresh_profiles` keeps it true
        self.zone = identity.zone
        # Stations ignore, or take badly, a call that comes too early (`settled` brings it forward).
        self.ready_at = identity.opened_at + identity.first_frame_wait + identity.settle
        self.had_first_frame = False
        self.boot_asked_at: datetime | None = None
        self.last_frame_at: datetime | None = None  # a frame or a pong
        self.touched_at: datetime | None = None  # the one that is stored
        self.last_sign_s = now_s()
        self.has_ponged = False
        self.close_reason: DisconnectReason | None = None
        self.slot = -1  # in the ping wheel
        self.clock = clock
        self._now_s = now_s
        self._owner = owner
        self._inbox: deque[tuple[bytes, datetime]] = deque()
        self._pending: dict[str, asyncio.Future[Reply]] = {}
        self._calls = 0
        self._boot_call: str | None = None  # which asked for a boot
        self._waiter: asyncio.Future[None] | None = None
        self._signs: list[asyncio.Future[None]] = []  # those who wait for a sign of life
        self._is_over = False
        self._is_reading = True
        self._unasked_left = float(_UNASKED)
        self._unasked_at_s = self.last_sign_s  # when it was counted
        self._unasked_whole_s = self.last_sign_s - _UNASKED_WHOLE_S

    # What the connection reports

    def received(self, message: bytes) -> None:
        """Receives a message: a reply is delivered at once, a request waits its turn."""
        now = self.clock()
        self._lives(now)
        if messages.is_reply(message):
            self._deliver(message, now)
            return
        inbox = self._inbox
        inbox.append((message, now))
        if len(inbox) >= _WAITING:
            if len(inbox) > _FLOOD:
                self.drop("protocol")
                return
            if self._is_reading:
                self._is_reading = False
                self.wire.transport.pause_reading()
        self._wake()

    def ponged(self) -> None:
        """A pong is a sign of life."""
        self._lives(self.clock())
        self.has_ponged = True

    def ended(self, how: Ended) -> None:
        """The connection ended; what came before is still handled."""
        if self._is_over:
            return
        self._is_over = True
        if self.close_reason is None:
            self.close_reason = _REASONS[how]
        pending, self._pending = self._pending, {}
        for reply in pending.values():
            if not reply.done():
                reply.set_exception(SocketClosed("the socket ended before the reply"))
                reply.exception()  # a caller that waits no more need not look
        self._wake()

    def drained(self) -> None:
        """The station reads again."""

    def stopping(self) -> None:
        """The process stops."""
        self._owner.schedule_drop(self)

    # The requests

    async def run(self, serve: ServeRequest) -> None:
        """Serves requests one after the other until the connection has ended."""
        inbox = self._inbox
        while True:
            if not inbox:
                if self._is_over:
                    return
                await self._wait()
                continue
            message, at = inbox.popleft()
            await serve(self, message, at)
            if not self.wire.writable.is_set():
                await self.wire.writable.wait()
            if not self._is_reading and len(inbox) < _WAITING // 2:
                self._is_reading = True
                if not self.wire.transport.is_closing():
                    self.wire.transport.resume_reading()
            elif inbox:
                await asyncio.sleep(0)  # others' turn

    def write(self, message: bytes) -> bool:
        """Writes a message. Returns false when the connection has ended."""
        return self.wire.write(messages.text_frame(message))

    def settled(self) -> None:
        """A boot was answered, or another first frame came: calls may follow soon."""
        self.ready_at = min(self.ready_at, self.clock() + self.settle)

    @property
    def is_over(self) -> bool:
        """Whether the connection has ended."""
        return self._is_over

    # Our calls

    async def call(self, action: str, payload: Mapping[str, object]) -> asyncio.Future[Reply]:
        """Sends a call. Returns the future of its reply, which has no time-out.

        Raises SocketClosed; so does the future when the connection ends.
        """
        if self._is_over:
            raise SocketClosed("the socket has ended")
        self._calls += 1
        message_id = f"{self.epoch:x}-{self._calls:x}"
        message = messages.request(message_id, action, payload)
        reply: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._pending[message_id] = reply
        if len(self._pending) > _PENDING:
            self._pending.pop(next(iter(self._pending))).cancel()
        now = self.clock()
        if action == _TRIGGER and payload.get("requestedMessage") == "BootNotification":
            self.boot_asked_at, self._boot_call = now, message_id
        if not self.write(message):
            self._pending.pop(message_id, None)
            raise SocketClosed("the socket has ended")
        self._owner.log(
            FrameRow(self.station_id, now, "out", CALL, message_id, action, shown(message))
        )
        return reply

    def _deliver(self, message: bytes, now: datetime) -> None:
        if self._is_over:
            return
        answer = messages.read(message)
        text = shown(message)
        if not isinstance(answer, messages.StationReply):
            metrics.UNREADABLE.inc()
            text = self._count_unasked(text, now)
            self._owner.log(FrameRow(self.station_id, now, "in", None, None, None, text))
            self._owner.note(self.station_id, {"unreadable"}, text, now)
            return
        message_id = str(answer.id)
        reply = self._pending.pop(message_id, None)
        if message_id == self._boot_call and not is_accepted(_TRIGGER, answer.payload or {}):
            self.boot_asked_at = self._boot_call = None  # it boots by itself, if it does
        if reply is None:
            answer.notes.add("reply_unasked")
            text = self._count_unasked(text, now)
        elif not reply.done():
            reply.set_result(Reply(answer.payload, answer.error))
        kind = CALL_RESULT if answer.error is None else CALL_ERROR
        self._owner.log(FrameRow(self.station_id, now, "in", kind, message_id[:255], None, text))
        if answer.notes:
            self._owner.note(self.station_id, answer.notes, text, now)

    def _count_unasked(self, text: str, now: datetime) -> str:
        """Counts a reply to no call; too many drop the socket. Returns its text for the log.

        Nothing else bounds them: they do not wait in the inbox, and reading is not paused.
        """
        now_s = self._now_s()
        left = self._unasked_left + (now_s - self._unasked_at_s) * _UNASKED_PER_S
        self._unasked_left = min(float(_UNASKED), left) - 1
        self._unasked_at_s = now_s
        if self._unasked_left < 0:
            self._owner.note(self.station_id, {"reply_flood"}, text, now)
            self.drop("protocol")
        if len(text) <= _UNASKED_CHARS:
            return text
        if now_s - self._unasked_whole_s >= _UNASKED_WHOLE_S:
            self._unasked_whole_s = now_s
            return text
        return text[:_UNASKED_CHARS]

    def note(self, kind: str, sample: str) -> None:
        """Counts a deviation of the station in a reply."""
        self._owner.note(self.station_id, {kind}, sample, self.clock())

    # Its end

    def ping(self) -> None:
        """Sends a ping, unless the station does not read, or takes none."""
        if self.profile.ping and not self.wire.slow:
            self.wire.write(_PING)

    async def answers_ping(self, within_s: float) -> bool:
        """Pings. Returns whether the station gives any sign of life in time.

        One that takes no ping is asked for none: a sign must come by itself.
        """
        if self._is_over:
            return False
        sign: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._signs.append(sign)
        self.ping()
        await asyncio.wait({sign}, timeout=within_s)
        return sign.done() and not self._is_over

    def drop(self, reason: DisconnectReason) -> None:
        """Drops the connection without a close frame: some stations never redial after one."""
        if self.close_reason is None:
            self.close_reason = reason
        if reason in _WITHOUT_REST:
            self._inbox.clear()
        if not self.wire.transport.is_closing():
            self.wire.abort()
        self.ended("lost")

    def _lives(self, now: datetime) -> None:
        self.last_frame_at = now
        self.last_sign_s = self._now_s()
        if self._signs:
            signs, self._signs = self._signs, []
            for sign in signs:
                if not sign.done():
                    sign.set_result(None)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _wait(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

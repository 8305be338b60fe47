"""One open socket: whose it is and what it was told."""

from typing import Final, Protocol
from uuid import UUID

from evpower.foundation.connection_limits import ConnectionSlot
from evpower.foundation.websocket import CLOSE, SocketProtocol
from evpower.realtime import metrics, protocol
from evpower.realtime.model import RESTART, CloseReason

_WINDOW_S: Final = 1.0


class Keeper(Protocol):
    """Whoever watches over sockets: the hub."""

    def catch_up(self, socket: "Socket") -> None:
        """Send the newest state to a socket that reads again."""
        ...

    def send_away(self, socket: "Socket") -> None:
        """Close it soon: the process ends."""
        ...


class Socket:
    """What the hub knows of one socket. Nothing is queued here: state is kept once a client."""

    __slots__ = (
        "_hub",
        "_window_from",
        "client_id",
        "connection_slot",
        "ended",
        "expires_s",
        "had_version",
        "heard",
        "joined_at",
        "open",
        "revision",
        "slot",
        "told",
        "unread_since",
        "wire",
    )  # fmt: skip

    def __init__(self, wire: SocketProtocol, hub: Keeper, connection_slot: ConnectionSlot) -> None:
        self.wire = wire
        self.connection_slot = connection_slot
        self._hub = hub
        self.client_id: UUID | None = None  # None: nobody has signed in yet
        self.expires_s = 0  # its token's end, seconds since 1970
        self.had_version: int | None = None  # what the app said it has
        self.joined_at = 0  # number of the reading that was under way or done when it signed in
        self.open = False  # a reading that began after it signed in has been delivered
        self.revision = -1  # of the balance it was sent
        self.told: dict[UUID, int] | None = None  # revisions of sessions it was sent or had
        self.unread_since: float | None = None  # there was something to write and it did not read
        self.slot = -1  # of the ping wheel
        self.heard = 0  # messages in this window of time
        self._window_from = 0.0
        self.ended: CloseReason | None = None
        wire.owner = self

    def write(self, frame: bytes) -> bool:
        """Put a frame on the wire now, unless it is closing or its peer does not read."""
        return self.ended is None and not self.wire.slow and self.wire.write(frame)

    def count_message(self, now_s: float) -> int:
        """How many messages came within this second, this one included."""
        if now_s - self._window_from >= _WINDOW_S:
            self._window_from, self.heard = now_s, 0
        self.heard += 1
        return self.heard

    def end(self, ending: CloseReason) -> None:
        """Close it: with code and reason if the peer reads, else by hanging up."""
        if self.ended is not None:
            return
        self.ended = ending
        if self.wire.slow:
            self.wire.abort()
        else:
            self.wire.tell({"type": CLOSE, "code": ending.code, "reason": ending.reason})

    def refuse_message(self, code: str, text: str) -> None:
        """Say what was wrong and go on."""
        if self.write(protocol.error(code, text)):
            metrics.FRAMES.labels("error").inc()

    def drained(self) -> None:
        """Catch up: the peer reads again."""
        self.unread_since = None
        self._hub.catch_up(self)

    def stopping(self) -> None:
        """Ask the hub when to leave."""
        self._hub.send_away(self)

    def leave(self) -> None:
        """Say goodbye: the process ends."""
        if self.ended is None:
            self.ended = RESTART
            if self.wire.slow:
                self.wire.abort()
            else:
                self.wire.leave()

"""One open socket: its client, and the revisions it was sent."""

from typing import Final, Protocol
from uuid import UUID

from evpower.foundation.connection_limits import ConnectionSlot
from evpower.foundation.websocket import CLOSE, SocketProtocol
from evpower.realtime import metrics, protocol
from evpower.realtime.model import RESTART, CloseReason

_WINDOW_S: Final = 1.0


class SocketOwner(Protocol):
    """The part of the hub that a socket calls."""

    def catch_up(self, socket: "Socket") -> None:
        """Sends the newest state to a socket that reads again."""
        ...

    def schedule_close(self, socket: "Socket") -> None:
        """Closes the socket soon, because the process ends."""
        ...


class Socket:
    """The state of one socket. Nothing is queued here: state is stored once per client."""

    __slots__ = (
        "_hub",
        "_window_from",
        "client_id",
        "connection_slot",
        "ended",
        "expires_s",
        "had_version",
        "joined_at",
        "language",
        "open",
        "received",
        "revision",
        "sent_sessions",
        "slot",
        "unread_since",
        "wire",
    )  # fmt: skip

    def __init__(
        self, wire: SocketProtocol, hub: SocketOwner, connection_slot: ConnectionSlot
    ) -> None:
        self.wire = wire
        self.connection_slot = connection_slot
        self._hub = hub
        self.client_id: UUID | None = None  # None: not signed in yet
        self.expires_s = 0  # its token's end, seconds since 1970
        self.had_version: int | None = None  # the version the app says it has
        self.language = ""  # in which its app reads; set before it is signed in
        self.joined_at = 0  # the number of the last read begun before it signed in
        self.open = False  # the state of a read begun after it signed in was delivered
        self.revision = -1  # of the balance last sent
        self.sent_sessions: dict[UUID, int] | None = (
            None  # revisions of sessions it was sent or had
        )
        self.unread_since: float | None = None  # since when data waits because it does not read
        self.slot = -1  # in the ping wheel
        self.received = 0  # messages in the current window of 1 s
        self._window_from = 0.0
        self.ended: CloseReason | None = None
        wire.owner = self

    def write(self, frame: bytes) -> bool:
        """Writes a frame now. Returns false when the socket is closing or the app does not read."""
        return self.ended is None and not self.wire.slow and self.wire.write(frame)

    def count_message(self, now_s: float) -> int:
        """Counts a message. Returns the number of messages within this second."""
        if now_s - self._window_from >= _WINDOW_S:
            self._window_from, self.received = now_s, 0
        self.received += 1
        return self.received

    def end(self, close_reason: CloseReason) -> None:
        """Closes the socket: with code and reason if the app reads, else without a handshake."""
        if self.ended is not None:
            return
        self.ended = close_reason
        if self.wire.slow:
            self.wire.abort()
        else:
            self.wire.tell(
                {"type": CLOSE, "code": close_reason.code, "reason": close_reason.reason}
            )

    def refuse_message(self, code: str, text: str) -> None:
        """Sends an error message and keeps the socket open."""
        if self.write(protocol.error(code, text)):
            metrics.FRAMES.labels("error").inc()

    def drained(self) -> None:
        """Sends what was missed, because the app reads again."""
        self.unread_since = None
        self._hub.catch_up(self)

    def stopping(self) -> None:
        """Asks the hub to close the socket, because the process ends."""
        self._hub.schedule_close(self)

    def leave(self) -> None:
        """Closes the socket with the code for a restart."""
        if self.ended is None:
            self.ended = RESTART
            if self.wire.slow:
                self.wire.abort()
            else:
                self.wire.leave()

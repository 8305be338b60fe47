"""The server's side of a socket, with what ASGI has no word for.

ASGI can only wait until a slow peer reads; the hub must know that it is slow, write nothing more,
and hang up at last. It also writes the same bytes to many sockets, and closes them one by one when
the process stops. So it is given uvicorn's own protocol object.
"""

from collections.abc import Mapping
from typing import Any, Final, Protocol, cast

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Request

EXTENSION: Final = "evpower.wire"
CLOSE: Final = "evpower.close"  # an event of ours among those of ASGI: close with this code
_HIGH_BYTES: Final = 16 * 1024  # written but not taken by the kernel: from here a peer is slow
_LOW_BYTES: Final = 2 * 1024


class Owner(Protocol):
    """Who is told of what happens to a wire."""

    def drained(self) -> None:
        """The peer has read: it can be written to again."""
        ...

    def stopping(self) -> None:
        """The process ends: call `leave` on the wire soon."""
        ...


class SocketProtocol(WebSocketsSansIOProtocol):
    """Uvicorn's WebSocket protocol; `serve` names it as `ws`. Its scope carries it as EXTENSION."""

    owner: Owner | None = None

    def handle_connect(self, event: Request) -> None:
        """Start the application, which finds this wire in its scope."""
        super().handle_connect(event)
        if not self.close_sent:
            self.transport.set_write_buffer_limits(high=_HIGH_BYTES, low=_LOW_BYTES)
            extensions = cast("dict[str, Any]", self.scope.get("extensions"))
            extensions[EXTENSION] = self

    def resume_writing(self) -> None:
        """Tell the owner too."""
        super().resume_writing()
        if self.owner is not None:
            self.owner.drained()

    def shutdown(self) -> None:
        """Leave when the owner says so, not in the same moment as all others."""
        if self.owner is None or self.close_sent:
            super().shutdown()
        else:
            self.owner.stopping()

    @property
    def slow(self) -> bool:
        """Whether the peer has not read what it was sent."""
        return not self.writable.is_set()

    def write(self, frame: bytes) -> bool:
        """Put a whole frame on the wire; false when it is closed or closing."""
        if self.disconnected or self.close_sent or self.transport.is_closing():
            return False
        self.transport.write(frame)
        return True

    def tell(self, event: Mapping[str, Any]) -> None:
        """Let the application receive this event next."""
        self.queue.put_nowait(cast("Any", event))

    def leave(self) -> None:
        """Close with 1012 and hang up without waiting for an answer."""
        if not self.disconnected:
            super().shutdown()

    def abort(self) -> None:
        """Hang up now; what was written and not read is lost."""
        self.transport.abort()

    def forget_handshake(self) -> None:
        """Drop the request: it holds kilobytes, maybe a token, and nobody reads it again."""
        self.__dict__.pop("request", None)
        self.__dict__.pop("response", None)
        self.scope["headers"] = []
        self.scope["subprotocols"] = []

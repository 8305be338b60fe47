"""The server's side of a WebSocket, with what ASGI does not offer.

With ASGI the application can only wait until a slow peer reads; the hub must know that a peer is
slow, write nothing more, and close it in the end. It also writes the same bytes to many sockets,
and closes them one by one when the process stops. So it gets uvicorn's own protocol object. The
sockets of stations also receive their messages from it, without a queue and a task switch for each.
"""

from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple, Protocol, cast
from urllib.parse import unquote

from uvicorn._types import ASGISendEvent
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame
from websockets.http11 import Request
from websockets.speedups import apply_mask

EXTENSION: Final = "evpower.wire"
CLOSE: Final = "evpower.close"  # an event beside those of ASGI: close with this code
_HIGH_BYTES: Final = 16 * 1024  # written but not accepted by the kernel: above it a peer is slow
_LOW_BYTES: Final = 2 * 1024
_SLICE_BYTES: Final = 2 * 1024
_FRAMES_PER_S: Final = 500  # of any kind: above what any route accepts as messages
_PARTS: Final = 64  # of one message
_NOT_UTF8: Final = 1007
_EARLY_BYTES: Final = 64 * 1024  # before the handshake is answered
_WHOLE_TEXT: Final = 0x81  # a text message of one frame (RFC 6455 5.2)
_MASK_BYTES: Final = 4
_SHORTEST_BYTES: Final = 6
_MASKED: Final = 0x80
_MEDIUM: Final = 126
Ended = Literal["peer", "protocol", "lost"]


class Owner(Protocol):
    """The object that is notified of a connection's events."""

    def drained(self) -> None:
        """The peer has read: it can be written to again."""
        ...

    def stopping(self) -> None:
        """The process is stopping: the owner calls `leave` soon."""
        ...


class Receiver(Protocol):
    """The object that gets a connection's messages instead of the application."""

    def received(self, message: bytes) -> None:
        """Receives a complete message, text or binary; it bounds how many wait."""
        ...

    def ponged(self) -> None:
        """The peer answered a ping."""
        ...

    def ended(self, how: Ended) -> None:
        """The connection ended: closed by the peer, broken by a violation, or lost.

        It may be called again.
        """
        ...


class SocketProtocol(WebSocketsSansIOProtocol):
    """Uvicorn's WebSocket protocol, passed to it as `ws`. Its scope carries it as EXTENSION."""

    owner: Owner | None = None
    receiver: Receiver | None = None
    _second_from_s = 0.0
    _frames_received = 0  # in that second
    _early_bytes = 0
    _unread: bytearray | None = None  # the beginning of a frame, for the receiver
    _needed_bytes = 0  # of the frame that has not come whole yet

    @staticmethod
    def message_bytes(path: str) -> int | None:
        """Returns the largest message of a path, None: as configured.

        It must be known before the first byte of a message is read.
        """
        del path

    def data_received(self, data: bytes) -> None:
        """Reads in slices: one read full of the smallest frames would block all other sockets."""
        if self._unread is not None:
            self._receive(data, self._unread)
            return
        if not self.handshake_complete and not self._is_early(data):
            return
        for start in range(0, len(data), _SLICE_BYTES):
            if self.transport.is_closing():
                return
            super().data_received(data[start : start + _SLICE_BYTES])

    def _receive(self, data: bytes, unread: bytearray) -> None:
        """Gives whole text messages to the receiver; all other frames go through the library.

        The library's parser costs more than what a station's message asks for. It gets whole
        frames only, so that it is always between two frames.
        """
        receiver = self.receiver
        if receiver is None:
            return
        if unread:
            unread += data
            if len(unread) < self._needed_bytes:
                return
            data = bytes(unread)
            unread.clear()
        start, end = 0, len(data)
        while start < end and not self.transport.is_closing() and not self.close_sent:
            span = _frame_span(data, start, end)
            if span is None or span.stop - span.payload > (self.conn.max_size or end):
                self._pass_on(data[start:])  # a violation: the library says which
                return
            if span.stop > end:
                unread += data[start:]
                self._needed_bytes = span.stop - start
                return
            if data[start] == _WHOLE_TEXT and self.conn.cur_size is None:
                mask = data[span.payload - _MASK_BYTES : span.payload]
                receiver.received(apply_mask(data[span.payload : span.stop], mask))
            else:
                self._pass_on(data[start : span.stop])
            start = span.stop

    def _pass_on(self, data: bytes) -> None:
        self.conn.receive_data(data)
        if self.conn.parser_exc is not None:
            self.handle_parser_exception()
        else:
            self.handle_events()

    def handle_connect(self, event: Request) -> None:
        """Starts the application, with this object in its scope."""
        super().handle_connect(event)
        if not self.close_sent:
            self.transport.set_write_buffer_limits(high=_HIGH_BYTES, low=_LOW_BYTES)
            extensions = cast("dict[str, Any]", self.scope.get("extensions"))
            extensions[EXTENSION] = self

    def connection_lost(self, exc: Exception | None) -> None:
        """Notifies the receiver too."""
        super().connection_lost(exc)
        if self.receiver is not None:
            self.receiver.ended("lost")

    def handle_close(self, event: Frame) -> None:
        """Notifies the receiver too."""
        super().handle_close(event)
        if self.receiver is not None:
            self.receiver.ended("peer")

    def handle_text(self, event: Frame) -> None:
        """Receives a message, or its first part."""
        if self.receiver is not None or self._in_bounds():
            super().handle_text(event)

    def handle_bytes(self, event: Frame) -> None:
        """Receives a message, or its first part."""
        if self.receiver is not None or self._in_bounds():
            super().handle_bytes(event)

    def handle_cont(self, event: Frame) -> None:
        """Receives a part of a message; their number is limited, as empty parts add no size."""
        if len(self.frames) >= _PARTS:
            self.abort()
        elif self._in_bounds():
            super().handle_cont(event)

    def handle_ping(self) -> None:
        """Answers with a pong, unless the peer does not read."""
        if self._in_bounds() and not self.slow:
            super().handle_ping()
        else:
            self.conn.data_to_send()  # forget the answer

    def handle_pong(self, event: Frame) -> None:
        """Counts it."""
        if self._in_bounds():
            super().handle_pong(event)
            if self.receiver is not None:
                self.receiver.ponged()

    def send_receive_event_to_app(self) -> None:
        """Closes on text that is no UTF-8, without a log line: any peer may send it."""
        if self.receiver is not None:
            parts, self.frames = self.frames, []
            if not self.close_sent and not self.transport.is_closing():
                self.receiver.received(parts[0] if len(parts) == 1 else b"".join(parts))
            return
        if self.curr_msg_data_type == "text" and not self.close_sent:
            try:
                b"".join(self.frames).decode()
            except UnicodeDecodeError:
                self.frames = []
                self.conn.fail(_NOT_UTF8, "not UTF-8")
                self.handle_parser_exception()
                return
        super().send_receive_event_to_app()

    def handle_parser_exception(self) -> None:
        """Closes; before the handshake is answered there is no close frame (RFC 6455 7.1.7)."""
        if self.conn.close_sent is None:
            self.abort()
        else:
            super().handle_parser_exception()
        if self.receiver is not None:
            self.receiver.ended("protocol")

    def _is_early(self, data: bytes) -> bool:
        """Bounds what comes before the handshake is answered. Returns false when it is too much."""
        if not self.handshake_initiated:
            parts = data[: data.find(b"\r\n")].split(b" ")
            if len(parts) > 1:
                path = unquote(parts[1].partition(b"?")[0].decode("latin-1"))
                self.conn.max_size = self.message_bytes(path) or self.conn.max_size
            return True
        self._early_bytes += len(data)
        if self._early_bytes > _EARLY_BYTES:
            self.abort()
        return self._early_bytes <= _EARLY_BYTES

    def _in_bounds(self) -> bool:
        """Returns whether this frame is accepted; a peer that floods is disconnected."""
        if self.transport.is_closing():
            return False
        now_s = self.loop.time()
        if now_s - self._second_from_s >= 1:
            self._second_from_s, self._frames_received = now_s, 0
        self._frames_received += 1
        if self._frames_received > _FRAMES_PER_S:
            self.abort()
            return False
        return True

    def resume_writing(self) -> None:
        """Notifies the owner too."""
        super().resume_writing()
        if self.owner is not None:
            self.owner.drained()

    async def send(self, message: ASGISendEvent) -> None:
        """Sends what the application wants; a refusal completes the handshake too."""
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and not message.get("more_body"):
            self.handshake_complete = True  # else uvicorn logs an error

    def shutdown(self) -> None:
        """Leaves when the owner wants, not at the same moment as all other sockets."""
        if not self.handshake_initiated:
            self.transport.abort()  # no handshake was read yet: nothing to send
        elif self.owner is None or self.close_sent:
            super().shutdown()
        else:
            self.owner.stopping()

    @property
    def slow(self) -> bool:
        """Whether the peer has not read what it was sent."""
        return not self.writable.is_set()

    def write(self, frame: bytes) -> bool:
        """Writes a complete frame. Returns False when the connection is closed or closing."""
        if self.disconnected or self.close_sent or self.transport.is_closing():
            return False
        self.transport.write(frame)
        return True

    def tell(self, event: Mapping[str, Any]) -> None:
        """Makes the application receive this event next."""
        self.queue.put_nowait(cast("Any", event))

    def deliver_to(self, receiver: Receiver) -> None:
        """Gives messages to `receiver` from now on, first those that came before."""
        self.receiver = receiver
        if not self._early_bytes:  # else the library may be inside a frame
            self._unread = bytearray()
        while not self.queue.empty():
            event = cast("dict[str, Any]", self.queue.get_nowait())
            if event["type"] == "websocket.receive":
                text: str | None = event.get("text")
                receiver.received(event["bytes"] if text is None else text.encode())
        if self.disconnected or self.transport.is_closing():
            receiver.ended("lost")
        elif self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()

    def leave(self) -> None:
        """Closes with 1012 and disconnects without waiting for an answer."""
        if not self.disconnected and not self.transport.is_closing():
            super().shutdown()

    def abort(self) -> None:
        """Disconnects now; what was written and not read is lost."""
        self.transport.abort()

    def forget_handshake(self) -> None:
        """Drops the request: it holds kilobytes, maybe a token, and is never read again."""
        self.__dict__.pop("request", None)
        self.__dict__.pop("response", None)
        self.scope["headers"] = []
        self.scope["subprotocols"] = []


class _Span(NamedTuple):
    """Where a frame's payload begins, and where the frame ends; perhaps behind what has come."""

    payload: int
    stop: int


def _frame_span(data: bytes, start: int, end: int) -> _Span | None:
    """Returns where the frame at `start` ends, as far as its head has come; None: a violation."""
    if end - start < 2:  # noqa: PLR2004 - the head of every frame
        return _Span(end, start + 2)
    size = data[start + 1]
    if size < _MASKED:
        return None
    size -= _MASKED
    payload = start + _SHORTEST_BYTES
    if size >= _MEDIUM:
        extra = 2 if size == _MEDIUM else 8
        payload += extra
        if end < payload:
            return _Span(payload, payload)
        size = int.from_bytes(data[start + 2 : start + 2 + extra], "big")
    return _Span(payload, payload + size)

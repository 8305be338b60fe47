"""The bytes of a connection before a route is chosen: heads, handshakes, and everything else.

Uvicorn leaves limits to a proxy in front of it. Here everything that arrives is answered or
disconnected within a limit: a head that never ends or can't be parsed, a body after its response, a
response that is not read. This overrides uvicorn 0.54 (`protocols/http/httptools_impl.py`) on
httptools 0.9; both are pinned.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from http import HTTPStatus
from typing import Any, ClassVar, Final, cast

import httptools
import structlog
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from evpower.api import errors, metrics
from evpower.api.gateway import handshake
from evpower.api.gateway.handshake import bad_request
from evpower.api.gateway.waiting import WaitingLimit
from evpower.foundation.addresses import Network, address_group, client_address, is_trusted
from evpower.foundation.errors import EvPowerError, Unavailable
from evpower.foundation.logging import RateLimitedLogger

CYCLE: Final = "evpower.cycle"  # in a request's extensions: uvicorn's own object
HEAD_BYTES: Final = 32 * 1024  # as nginx allows; a token has two KiB
HEAD_S: Final = 20.0
ANSWER_S: Final = 30.0  # a response may stay unread; after that the caller is gone, or an attacker
STOP_BODY_S: Final = 2.0  # for a body to arrive when the server stops
STOP_UNREAD_S: Final = 5.0  # for a response to be read then: less than the stop takes
_SLICE_BYTES: Final = 8 * 1024
_PIPELINED: Final = 64  # requests that wait for one on the same connection
# Of a chunked body: framing may be this many times the content, plus this many bytes.
_FRAMING_RATIO: Final = 16
_CONNECTIONS: Final = 10_000
_CONNECTIONS_PER_ADDRESS: Final = 2_000  # the phones of a mobile operator share one
_VERSIONS: Final = ("1.1", "1.0")
_log: Final = RateLimitedLogger(structlog.get_logger(__name__), time.monotonic)


class _Part(Enum):
    NONE = "none"  # before a request, or after it
    HEAD = "head"
    BODY = "body"


@dataclass(frozen=True, slots=True)
class ConnectionBounds:
    """How many connections may wait without a request; a trusted proxy's only count in total."""

    waiting: WaitingLimit = field(
        default_factory=lambda: WaitingLimit(per_group=_CONNECTIONS_PER_ADDRESS, total=_CONNECTIONS)
    )
    trusted_proxies: tuple[Network, ...] = ()

    def group(self, peer: str) -> str:
        """Returns the group that a peer's connections are counted by."""
        if is_trusted(peer, self.trusted_proxies):
            return ""
        return address_group(client_address(peer, "", ()))


class HttpProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol; `serve` passes it as `http`.

    Answers 431 to a head of more than HEAD_BYTES, 408 to one that takes longer than HEAD_S, 400 to
    one that can't be parsed, and disconnects. A connection without a request is closed after the
    same time, or earlier when too many wait.
    """

    head_bytes = HEAD_BYTES
    head_s = HEAD_S
    answer_s = ANSWER_S
    stop_body_s = STOP_BODY_S
    stop_unread_s = STOP_UNREAD_S
    bounds: ClassVar[ConnectionBounds] = ConnectionBounds()
    _part = _Part.NONE
    _head_received_bytes = 0  # of the head that is not complete yet
    _framing_bytes = 0  # of the body: chunk lines, trailers
    _ends = False  # nothing more is read: the connection ends after the present responses
    _running: RequestResponseCycle | None = None
    _delayed_start: Callable[[], None] | None = (
        None  # starts a request once the last response was read
    )
    _head_timer: asyncio.TimerHandle | None = None
    _answer_timer: asyncio.TimerHandle | None = None

    def connection_made(  # type: ignore[override]
        self, transport: asyncio.Transport
    ) -> None:
        """Waits for the first head."""
        super().connection_made(transport)
        self._group = self.bounds.group(self.client[0] if self.client else "")
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stops all timers."""
        self._stop_waiting()
        self._delayed_start = None
        self._ends = True
        if self._answer_timer is not None:
            self._answer_timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Reads in slices, so that not much more than the largest head is ever stored."""
        self._unset_keepalive_if_required()
        if len(data) <= _SLICE_BYTES:
            self._take(data)
            return
        for start in range(0, len(data), _SLICE_BYTES):
            if self._ends or self.transport.is_closing():
                return
            if self.transport.get_protocol() is not self:  # it belongs to a WebSocket now
                self.transport.get_protocol().data_received(data[start:])  # type: ignore[union-attr]
                return
            self._take(data[start : start + _SLICE_BYTES])

    # Callbacks of the parser

    def on_message_begin(self) -> None:
        """A head begins."""
        self._part, self._head_received_bytes = _Part.HEAD, 0
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Stores a header; one behind a body is no header of the request (RFC 9110 6.5.1)."""
        if self._part is not _Part.BODY:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Starts the application; the body has limits of its own."""
        parser = self.parser
        version = parser.get_http_version()
        if version not in _VERSIONS:
            raise bad_request("HTTP/1.1 is spoken here")
        if parser.should_upgrade() and self._should_upgrade():
            if self._is_answering():
                raise bad_request("a WebSocket handshake waits for the answer before it")
            handshake.check(parser.get_method(), version, self.url, self.headers)
        elif parser.should_upgrade():
            if parser.get_method() == b"CONNECT":
                raise bad_request("this is no proxy")
            return  # to an unknown protocol: `_upgrade` parses it again without that request
        elif handshake.is_incomplete(self.url, self.headers):
            _log.info("handshake_incomplete", head=handshake.shown(self.url, self.headers))
            raise bad_request("a WebSocket handshake has the header Connection: Upgrade")
        elif len(self.pipeline) >= _PIPELINED:
            raise bad_request("too many requests wait on one connection")
        self._part, self._framing_bytes = _Part.BODY, 0
        self._stop_waiting()
        super().on_headers_complete()
        self.scope["extensions"] = {CYCLE: self.cycle}  # type: ignore[typeddict-item]

    def on_body(self, body: bytes) -> None:
        """Receives a part of a body."""
        self._framing_bytes -= (_FRAMING_RATIO + 1) * len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The next bytes are a head."""
        self._part = _Part.NONE
        if self.parser.should_upgrade():
            return
        super().on_message_complete()
        if not self._is_answering():
            self._stop_waiting()  # the late bytes were the rest of an answered request

    def on_response_complete(self) -> None:
        """Starts the next request, or waits for one."""
        super().on_response_complete()
        if self.transport.is_closing():
            self._abort_later()
        elif self._is_answering():
            return
        elif self._part is _Part.NONE and not self._ends:
            self.bounds.waiting.add(self, self._group)  # uvicorn closes it after the keep-alive
        else:
            self._wait()

    def handle_websocket_upgrade(self) -> None:
        """Is not used: `_upgrade` does it, with the bytes behind the handshake."""
        raise NotImplementedError

    # Callbacks of the transport and the server

    def pause_writing(self) -> None:
        """Waits for a caller that does not read, for a bounded time."""
        super().pause_writing()
        self._abort_later()

    def resume_writing(self) -> None:
        """Continues: the response was read."""
        super().resume_writing()
        if self._answer_timer is not None and not self.transport.is_closing():
            self._answer_timer.cancel()
            self._answer_timer = None
        start, self._delayed_start = self._delayed_start, None
        if start is not None:
            start()

    def give_way(self) -> None:
        """Disconnects: too many connections wait, and this one has waited longest."""
        metrics.REFUSED.labels("too_many_connections").inc()
        self._hang_up()

    def shutdown(self) -> None:
        """Finishes the present responses; late bodies and unread responses delay nothing."""
        super().shutdown()
        self.loop.call_later(self.stop_unread_s, self._end_unread)
        running = self._running
        if running is not None and running.more_body and not running.response_complete:
            self.loop.call_later(self.stop_body_s, self._end_without_body, running)

    def _end_unread(self) -> None:
        if self.flow.write_paused or self.transport.is_closing():
            self.transport.abort()

    def _end_without_body(self, cycle: RequestResponseCycle) -> None:
        if cycle.more_body and not cycle.response_started and not self.transport.is_closing():
            self._refuse(Unavailable("shutting_down", "the server stops", retry_after_s=5))

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        """Starts a request, unless the response before it is unread: it would block a place."""
        self._running = cycle
        start = super()._start_asgi_task
        if self.flow.write_paused:
            self.flow.pause_reading()
            self._delayed_start = lambda: start(cycle, app)
        else:
            start(cycle, app)

    # Internal

    def _take(self, data: bytes) -> None:
        if self._ends:
            return
        self._feed(data)
        if self._ends or self.transport.is_closing() or self.transport.get_protocol() is not self:
            return
        if self._part is _Part.HEAD:
            self._head_received_bytes += len(
                data
            )  # with the end of the bytes before it: less than a slice
            if self._head_received_bytes > self.head_bytes:
                self._refuse(_too_large(self.head_bytes))
                return
        elif self._part is _Part.BODY:
            self._framing_bytes += len(data)
            if self._framing_bytes > self.head_bytes:
                self._refuse(bad_request("the body is more framing than content"))
                return
        if self._head_timer is None and not self._is_answering():
            self._wait()

    def _feed(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            ours = error.__context__  # raised by a callback above
            unreadable = bad_request("the request can not be read as HTTP")
            self._refuse(ours if isinstance(ours, EvPowerError) else unreadable)

    def _upgrade(self, rest: bytes) -> None:
        if not self._should_upgrade():
            # To an unknown protocol (h2c): RFC 9110 7.8 allows to serve it as HTTP/1.1.
            method = self.parser.get_method()
            self.parser = httptools.HttpRequestParser(self)
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
            self._feed(handshake.without_upgrade(method, self.url, self.headers) + rest)
            return
        self._stop_waiting()
        self.connections.discard(self)
        protocol = cast("Any", self.ws_protocol_class)(
            config=self.config, server_state=self.server_state, app_state=self.app_state
        )
        self.transport.set_protocol(protocol)
        protocol.connection_made(self.transport)
        protocol.data_received(handshake.serialize(self.url, self.headers))
        if not protocol.handshake_initiated:
            _log.warning("handshake_unreadable")
            self.transport.abort()
        elif rest:
            protocol.data_received(rest)

    def _is_answering(self) -> bool:
        running = self._running
        return running is not None and not running.response_complete

    def _wait(self) -> None:
        self._stop_waiting()
        self._head_timer = self.loop.call_later(self.head_s, self._end_late)
        self.bounds.waiting.add(self, self._group)

    def _stop_waiting(self) -> None:
        self.bounds.waiting.remove(self)
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _end_late(self) -> None:
        self._head_timer = None
        if self.transport.is_closing():
            return
        if self._is_answering():
            self._wait()  # meanwhile the response may stay unread
        elif self._part is _Part.HEAD:
            self._refuse(_too_slow())
        else:
            self._hang_up()

    def _refuse(self, error: EvPowerError) -> None:
        """Answers a request that can't be served, after those that can, and disconnects."""
        metrics.REFUSED.labels(error.code).inc()
        running = self._running
        if (
            running is not None
            and not running.response_complete
            and (running.response_started or not running.more_body)
        ):
            self._end_after_answers()  # these bytes would land inside the present response
            return
        if self._part is _Part.BODY and running is not None and running.response_complete:
            self._hang_up()  # this request has its response
            return
        _log.info("request_unreadable", code=error.code, detail=error.detail)
        problem = errors.render(error)
        lines = [f"HTTP/1.1 {problem.status} {HTTPStatus(problem.status).phrase}".encode()]
        lines += [b"connection: close", b"cache-control: no-store"]
        lines += [name + b": " + value for name, value in problem.headers]
        self.transport.write(b"\r\n".join([*lines, b"", problem.body]))
        self._hang_up()

    def _end_after_answers(self) -> None:
        """Reads nothing more, answers the complete requests, and disconnects."""
        self._ends = True
        self._stop_waiting()
        whole = [waits for waits in self.pipeline if not waits[0].more_body]  # the newest first
        self.pipeline.clear()
        self.pipeline.extend(whole)
        last = whole[0][0] if whole else self._running
        if last is None or last.response_complete:
            self._hang_up()
            return
        last.keep_alive = False
        self.cycle = last

    def _hang_up(self) -> None:
        self._ends = True
        self._stop_waiting()
        self.transport.close()
        self._abort_later()

    def _abort_later(self) -> None:
        """Ends the connection if the response is not read in time."""
        if self._answer_timer is None:
            self._answer_timer = self.loop.call_later(self.answer_s, self.transport.abort)


def _too_large(limit_bytes: int) -> EvPowerError:
    return EvPowerError(
        "head_too_large", f"the headers are larger than {limit_bytes} bytes", status=431
    )


def _too_slow() -> EvPowerError:
    return EvPowerError("head_too_slow", "the headers did not come in time", status=408)

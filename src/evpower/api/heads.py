"""The head of a request: bounded in size and time, which uvicorn leaves to what stands before it.

A head that never ends would be kept in memory as it comes, and a connection that says nothing would
be kept for ever.
"""

import asyncio
from enum import Enum
from http import HTTPStatus
from typing import Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from evpower.api import errors, metrics
from evpower.foundation.errors import EvPowerError

HEAD_BYTES: Final = 32 * 1024  # as nginx takes; a token has two
HEAD_S: Final = 20.0
_SLICE_BYTES: Final = 8 * 1024


class _Part(Enum):
    NONE = "none"  # before a request, or after it
    HEAD = "head"
    BODY = "body"


class HeadProtocol(HttpToolsProtocol):
    """Uvicorn's HTTP protocol; `serve` names it as `http`.

    Answers 431 to a head of more than HEAD_BYTES and 408 to one that takes longer than HEAD_S, and
    hangs up. A connection that asks for nothing is closed after the same time.
    """

    head_bytes = HEAD_BYTES
    head_s = HEAD_S
    _part = _Part.NONE
    _heard_bytes = 0  # of the head that is not whole yet
    _until: asyncio.TimerHandle | None = None

    def connection_made(  # type: ignore[override]
        self, transport: asyncio.Transport
    ) -> None:
        """Wait for the first head."""
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing more."""
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take it in slices, so that not much more than the largest head is ever kept."""
        if len(data) <= _SLICE_BYTES:
            self._take(data)
            return
        for start in range(0, len(data), _SLICE_BYTES):
            if self.transport.is_closing():
                return
            self._take(data[start : start + _SLICE_BYTES])

    def on_message_begin(self) -> None:
        """A head begins."""
        self._part, self._heard_bytes = _Part.HEAD, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Start the application; the body has bounds of its own."""
        self._part = _Part.BODY
        self._stop_waiting()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """What comes next is a head."""
        self._part = _Part.NONE
        super().on_message_complete()

    def _take(self, data: bytes) -> None:
        super().data_received(data)
        if (
            self._part is _Part.BODY
            or self.transport.is_closing()
            or self.transport.get_protocol() is not self  # it is a WebSocket's now
        ):
            return
        if self._part is _Part.HEAD:
            self._heard_bytes += len(data)  # with the end of what was before it: below a slice
            if self._heard_bytes > self.head_bytes:
                self._refuse(_too_large(self.head_bytes))
                return
        if self._until is None and (self._part is _Part.HEAD or not self._is_answering()):
            self._wait()

    def _is_answering(self) -> bool:
        cycle = self.cycle
        return cycle is not None and not cycle.response_complete  # pyright: ignore[reportUnnecessaryComparison]

    def _wait(self) -> None:
        self._until = self.loop.call_later(self.head_s, self._end_late)

    def _stop_waiting(self) -> None:
        if self._until is not None:
            self._until.cancel()
            self._until = None

    def _end_late(self) -> None:
        self._until = None
        if self.transport.is_closing():
            return
        if self._is_answering():
            self._wait()  # meanwhile what was sent may stand unread
        elif self._part is _Part.HEAD:
            self._refuse(_too_slow())
        else:
            self.transport.close()

    def _refuse(self, error: EvPowerError) -> None:
        metrics.REFUSED.labels(error.code).inc()
        if not self._is_answering():  # else these words would stand in another answer
            problem = errors.render(error)
            phrase = HTTPStatus(problem.status).phrase
            lines = [f"HTTP/1.1 {problem.status} {phrase}".encode(), b"connection: close"]
            lines += [name + b": " + value for name, value in problem.headers]
            self.transport.write(b"\r\n".join([*lines, b"", problem.body]))
        self.transport.close()


def _too_large(limit_bytes: int) -> EvPowerError:
    return EvPowerError(
        "head_too_large", f"the headers are larger than {limit_bytes} bytes", status=431
    )


def _too_slow() -> EvPowerError:
    return EvPowerError("head_too_slow", "the headers did not come in time", status=408)

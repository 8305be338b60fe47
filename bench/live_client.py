"""`python -m bench.live_client PLAN.json`: many phones in one process, as light as can be.

Opens a socket for each token, signs in, and waits for its first state. Then it prints how that
went, keeps what arrives, and at a line on stdin writes it down and ends.
"""

import asyncio
import json
import resource
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, cast

import orjson
import uvloop

_HANDSHAKE: Final = (
    b"GET /api/v1/ws HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"User-Agent: okhttp/4.9.2\r\nAccept-Encoding: gzip\r\n\r\n"
)
_SHORT, _LONG = 126, 127
_WAIT_LIMIT_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Plan:
    """Whom to connect; `at_once`: how many may be connecting at the same time, 0: all."""

    port: int
    tokens: str
    frames: str
    at_once: int = 0


@dataclass(frozen=True, slots=True)
class Connected:
    """How connecting went."""

    sockets: int
    failed: int
    seconds: float


class Phone(asyncio.Protocol):
    """One socket."""

    __slots__ = ("_buffer", "_frames", "_open", "_ready", "_token", "_transport")

    def __init__(
        self, token: bytes, ready: asyncio.Future[bool], frames: list[tuple[float, bytes]]
    ) -> None:
        self._token = token
        self._ready = ready
        self._frames = frames
        self._buffer = b""
        self._open = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(_HANDSHAKE)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._open:
            head, ended, rest = self._buffer.partition(b"\r\n\r\n")
            if not ended:
                return
            if not head.startswith(b"HTTP/1.1 101 "):
                self._fail()
                return
            self._open, self._buffer = True, rest
            if self._transport is not None:
                self._transport.write(masked(b'{"type":"auth","token":"' + self._token + b'"}'))
        now = time.time()
        for payload in self._messages():
            if payload.startswith(b'{"type":"balance_update"'):
                self._frames.append((now, payload))
                if not self._ready.done():
                    self._ready.set_result(True)
            elif not payload.startswith(b"{"):
                self._fail()  # a close frame

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._fail()

    def _fail(self) -> None:
        if not self._ready.done():
            self._ready.set_result(False)

    def _messages(self) -> Iterator[bytes]:
        while len(self._buffer) >= 2:
            size, start = self._buffer[1], 2
            if size == _SHORT:
                if len(self._buffer) < 4:
                    return
                size, start = int.from_bytes(self._buffer[2:4], "big"), 4
            if size == _LONG or len(self._buffer) < start + size:
                return
            payload, self._buffer = self._buffer[start : start + size], self._buffer[start + size :]
            yield payload


def masked(payload: bytes) -> bytes:
    """Frame a text as a client must; a mask of zeros leaves it as it is."""
    size = (
        bytes([0x80 | len(payload)])
        if len(payload) < _SHORT
        else bytes([0x80 | _SHORT]) + len(payload).to_bytes(2, "big")
    )
    return b"\x81" + size + bytes(4) + payload


async def _run(plan: Plan, tokens: list[bytes]) -> list[tuple[float, bytes]]:
    loop = asyncio.get_running_loop()
    frames: list[tuple[float, bytes]] = []
    gate = asyncio.Semaphore(plan.at_once or len(tokens))

    async def connect(token: bytes) -> bool:
        async with gate:
            ready: asyncio.Future[bool] = loop.create_future()
            try:
                async with asyncio.timeout(_WAIT_LIMIT_S):
                    await loop.create_connection(
                        lambda: Phone(token, ready, frames), "127.0.0.1", plan.port
                    )
                    return await ready
            except (OSError, TimeoutError):
                return False

    began = time.perf_counter()
    came = await asyncio.gather(*(connect(token) for token in tokens))
    took_s = time.perf_counter() - began
    print(json.dumps(asdict(Connected(sum(came), len(came) - sum(came), took_s))), flush=True)
    first = len(frames)
    await loop.run_in_executor(None, sys.stdin.readline)
    return frames[first:]


def main(path: Path) -> None:
    """Connect, tell, collect, end."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    plan = Plan(**json.loads(path.read_text()))
    frames = uvloop.run(_run(plan, Path(plan.tokens).read_bytes().split()))
    with Path(plan.frames).open("wb") as file:
        for at, payload in frames:
            state = orjson.loads(payload)
            file.write(orjson.dumps([at, state["client_id"], state["version"]]) + b"\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

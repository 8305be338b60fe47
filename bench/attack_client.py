"""`python -m bench.attack_client PLAN.json`: the attacks of one address without credentials.

It prints how much it did when standard input closes.
"""

import asyncio
import base64
import contextlib
import json
import secrets
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import jwt
import uvloop

_BYTE_EVERY_S: Final = 1.0
_HEAD: Final = b"POST %s HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
_HANDSHAKE: Final = (
    b"GET /api/v1/ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
_UNSENT: Final = b"Content-Length: 1000\r\n\r\n{"
# What is left unfinished on every socket, in turn.
SHAPES: Final[Mapping[str, tuple[bytes, ...]]] = {
    "heads": (_HEAD % b"/api/v1/balance/topup-qr" + b"X: ", b"GET / HT", b"\r\n"),
    "handshakes": (
        _HANDSHAKE,
        _HANDSHAKE + b"\r\n",
        b"POST /x HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        _HANDSHAKE + b"Cookie: " + b"a" * 8200 + b"\r\n\r\n",
    ),
    "bodies": (
        _HEAD % b"/nowhere" + _UNSENT,
        _HEAD % b"/api/v1/payment/webhook/sandbox" + _UNSENT,
        _HEAD % b"/nowhere" + b"Content-Length: 10000000\r\n\r\n{",
        _HEAD % b"/nowhere" + b"Transfer-Encoding: chunked\r\n\r\n3e8\r\n{",
    ),
}


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do until standard input closes. `rate`: sockets opened, or requests, a second."""

    port: int
    attack: str
    address: str
    sockets: int
    rate: float


@dataclass(slots=True)
class Done:
    """What was done so far. `count`: sockets opened, or requests answered."""

    count: int = 0
    seconds: float = 0.0


def _ask(path: str, headers: Mapping[str, str], body: bytes = b"") -> bytes:
    method = "POST" if body else "GET"
    fields = {"Host": "a", "Content-Length": str(len(body)), **headers}
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {text}" for name, text in fields.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


def _forged() -> bytes:
    now = str(int(time.time()))
    headers = {"webhook-id": secrets.token_hex(8), "webhook-timestamp": now}
    headers["webhook-signature"] = "v1," + secrets.token_urlsafe(32)
    return _ask("/api/v1/payment/webhook/sandbox", headers, b"{" + b" " * 2000)


def _key() -> bytes:
    return _ask("/api/v1/balance/x", {"X-Service-Key": "evp_" + secrets.token_urlsafe(32)})


def _token() -> bytes:
    token = jwt.encode({"sub": secrets.token_hex(8)}, secrets.token_hex(32), algorithm="HS256")
    return _ask("/api/v1/balance/x", {"Authorization": f"Bearer {token}"})


def _key_id() -> bytes:
    fields = json.dumps({"alg": "ES256", "kid": secrets.token_hex(8)})
    header = base64.urlsafe_b64encode(fields.encode()).decode().rstrip("=")
    token = f"{header}.e30.{secrets.token_urlsafe(64)}"
    return _ask("/api/v1/balance/x", {"Authorization": f"Bearer {token}"})


REQUESTS: Final[Mapping[str, Callable[[], bytes]]] = {
    "webhooks": _forged,
    "keys": _key,
    "tokens": _token,
    "key_ids": _key_id,
}


class _RateLimiter:
    """Lets through so many a second."""

    def __init__(self, rate: float) -> None:
        self._every_s = 1 / rate
        self._next_s = time.monotonic()

    async def wait(self) -> None:
        now = time.monotonic()
        self._next_s = max(self._next_s + self._every_s, now - 1)
        if self._next_s > now:
            await asyncio.sleep(self._next_s - now)


async def _open(plan: Plan) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", plan.port, local_addr=(plan.address, 0))


async def _hold(plan: Plan, done: Done, shape: bytes, limiter: _RateLimiter) -> None:
    """Keep a socket open and send on slowly; connect again when it is closed."""
    while True:
        await limiter.wait()
        with contextlib.suppress(OSError):
            reader, writer = await _open(plan)
            done.count += 1
            try:
                writer.write(shape)
                while not reader.at_eof() and not writer.is_closing():
                    await asyncio.sleep(_BYTE_EVERY_S)
                    writer.write(b"x")
                    await writer.drain()
            finally:
                writer.close()


async def _ask_on(plan: Plan, done: Done, make: Callable[[], bytes], limiter: _RateLimiter) -> None:
    """Send requests on one connection, and read what is answered."""
    while True:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            reader, writer = await _open(plan)
            try:
                while True:
                    await limiter.wait()
                    writer.write(make())
                    head = await reader.readuntil(b"\r\n\r\n")
                    size = head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]
                    await reader.readexactly(int(size or b"0"))
                    done.count += 1
            finally:
                writer.close()


async def _attack(plan: Plan) -> None:
    limiter, done, began_s = _RateLimiter(plan.rate), Done(), time.monotonic()
    shapes = SHAPES.get(plan.attack)
    if shapes is not None:
        ways = [_hold(plan, done, shapes[n % len(shapes)], limiter) for n in range(plan.sockets)]
    else:
        ways = [_ask_on(plan, done, REQUESTS[plan.attack], limiter) for _ in range(plan.sockets)]
    tasks = [asyncio.create_task(way) for way in ways]
    print("begun", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    done.seconds = time.monotonic() - began_s
    print(json.dumps(asdict(done)), flush=True)
    for task in tasks:
        task.cancel()


if __name__ == "__main__":
    uvloop.run(_attack(Plan(**json.loads(Path(sys.argv[1]).read_text()))))

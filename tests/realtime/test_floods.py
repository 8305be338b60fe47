"""What a stranger may send without harm: floods of small frames, and unread responses."""

import asyncio
import base64
import logging
import os
import socket as sockets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import pytest
from websockets.frames import Frame, Opcode

from evpower.foundation.db import Connection, Database
from evpower.foundation.websocket import SocketProtocol
from tests.realtime.scenario import Live, running
from tests.waiting import WAIT_LIMIT_S, until

_NEVER_S = 3600.0
_KERNEL = 4096  # bytes, of the small buffers on both ends


def _frame(opcode: Opcode, data: bytes = b"", *, fin: bool = True) -> bytes:
    return Frame(opcode, data, fin=fin).serialize(mask=True)


def _narrow() -> sockets.socket:
    listener = sockets.socket()
    listener.setsockopt(sockets.SOL_SOCKET, sockets.SO_SNDBUF, _KERNEL)
    return listener


class Stranger:
    """A raw connection after its handshake, which reads only on request."""

    def __init__(self, raw: sockets.socket) -> None:
        self._raw = raw
        self._loop = asyncio.get_running_loop()

    async def send(self, data: bytes) -> bool:
        """False: the server disconnected."""
        try:
            async with asyncio.timeout(WAIT_LIMIT_S):
                await self._loop.sock_sendall(self._raw, data)
        except (ConnectionError, OSError):
            return False
        return True

    async def is_cut(self) -> bool:
        """Read until the end; True: by hanging up, without a close frame."""
        received = b""
        try:
            async with asyncio.timeout(WAIT_LIMIT_S):
                while more := await self._loop.sock_recv(self._raw, 65536):
                    received = more
        except ConnectionError:
            return True
        return not received.startswith(b"\x88")


@asynccontextmanager
async def stranger(live: Live) -> AsyncIterator[tuple[Stranger, SocketProtocol]]:
    """A socket that is not signed in, and the server's side of it."""
    host, port = live.url.removeprefix("ws://").split("/")[0].split(":")
    raw = sockets.socket()
    raw.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, _KERNEL)
    raw.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(raw, (host, int(port)))
    key = base64.b64encode(os.urandom(16)).decode()
    await loop.sock_sendall(
        raw,
        f"GET /api/v1/ws HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode(),
    )
    answer = b""
    while b"\r\n\r\n" not in answer:
        more = await loop.sock_recv(raw, 4096)
        assert more, answer
        answer += more
    assert b" 101 " in answer
    (wire,) = (
        connection for connection in live.server.server_state.connections if _is_socket(connection)
    )
    try:
        yield Stranger(raw), cast("SocketProtocol", wire)
    finally:
        raw.close()


def _is_socket(connection: object) -> bool:
    return isinstance(connection, SocketProtocol)


async def test_unread_pongs_are_not_stored(db: Database, owner: Connection) -> None:
    pings = _frame(Opcode.PING, b"x" * 125) * 50
    async with running(db, owner, listener=_narrow()) as live, stranger(live) as (phone, wire):
        heard, most, hear = 0, 0, wire.handle_ping

        def hear_and_count() -> None:
            nonlocal heard
            heard += 1
            hear()

        wire.handle_ping = hear_and_count  # type: ignore[method-assign]
        for sent in range(50, 450, 50):  # fewer than what ends the socket
            await phone.send(pings)
            await until(lambda sent=sent: heard == sent)
            most = max(most, wire.transport.get_write_buffer_size())
        assert wire.slow, "all of it went out"
        assert most < 30_000, f"{most} bytes wait for a client that never reads"


@pytest.mark.parametrize(
    "flood",
    [_frame(Opcode.PING), _frame(Opcode.PONG), _frame(Opcode.CONT, fin=False),
     _frame(Opcode.TEXT, b"{}")],
    ids=["pings", "pongs", "parts of a message", "messages"],
)  # fmt: skip
async def test_a_flood_of_small_frames_ends_the_socket(
    db: Database, owner: Connection, flood: bytes
) -> None:
    first = _frame(Opcode.TEXT, fin=False) if flood == _frame(Opcode.CONT, fin=False) else b""
    async with running(db, owner, auth_s=_NEVER_S) as live:
        async with stranger(live) as (phone, wire):
            await phone.send(first + flood * 40_000)
            await until(lambda: wire.disconnected or wire.close_sent, "the flood goes on")
            assert wire.queue.qsize() < 1000, "it was not all taken in"
        await until(lambda: len(live.hub) == 0)


async def test_a_message_in_endless_parts_is_cut(db: Database, owner: Connection) -> None:
    async with (
        running(db, owner, auth_s=_NEVER_S) as live,
        stranger(live) as (phone, wire),
    ):
        await phone.send(_frame(Opcode.TEXT, b'{"type":', fin=False))
        for _ in range(100):
            if not await phone.send(_frame(Opcode.CONT, fin=False)):
                break
            await asyncio.sleep(0)
        assert await phone.is_cut()
        assert wire.disconnected


async def test_a_message_in_parts_is_heard(live: Live) -> None:
    async with stranger(live) as (phone, _):
        for part, fin in ((b'{"type"', False), (b':"pi', False), (b'ng"}', True)):
            opcode = Opcode.TEXT if part.startswith(b"{") else Opcode.CONT
            await phone.send(_frame(opcode, part, fin=fin))
        assert not await phone.is_cut(), "4401: it was read, and the client had not signed in"


async def test_text_that_is_no_utf8_is_closed_and_fills_no_log(
    live: Live, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="uvicorn.error"):
        async with live.open() as app:
            await app.wire.send(b'{"type":"\xff"}', text=True)
            assert (await app.closed())[0] == 1007
    records = [record for record in caplog.records if record.name.startswith("uvicorn")]
    assert records == []

"""A pooler in transaction mode, as PgBouncer 1.21 and newer: what it loses, EvPower must not need.

It refuses start-up parameters, lends a server connection for one transaction and another one for
the next, and carries prepared statements of the protocol from one to the other, as
max_prepared_statements does.
`python -m tests.pooler <dsn>` runs it as a process, which prints its address.
"""

import asyncio
import base64
import contextlib
import hashlib
import hmac
import itertools
import os
import struct
import sys
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import urlsplit, urlunsplit

_TRACKED = {"user", "database", "client_encoding"}
_SSL, _GSS, _CANCEL = 80877103, 80877104, 80877102
_STARTUP = 196608


class ServerEnded(Exception):
    """PostgreSQL closed the connection, or refused it."""


async def read_message(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    head = await reader.readexactly(5)
    (length,) = struct.unpack("!i", head[1:])
    return head[:1], await reader.readexactly(length - 4)


def message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!i", len(body) + 4) + body


def error(code: str, text: str) -> bytes:
    fields = f"SFATAL\0VFATAL\0C{code}\0M{text}\0\0"
    return message(b"E", fields.encode())


@dataclass(eq=False)
class Server:
    """A connection to PostgreSQL, lent to one client for one transaction."""

    dsn: str
    max_prepared: int
    reader: asyncio.StreamReader = field(init=False)
    writer: asyncio.StreamWriter = field(init=False)
    parameters: list[bytes] = field(default_factory=list[bytes])
    key: bytes = b""
    prepared: OrderedDict[bytes, None] = field(default_factory=OrderedDict[bytes, None])
    # What the next ParseComplete and CloseComplete belong to, and whether the client asked for it.
    parses: deque[tuple[bytes, bool]] = field(default_factory=deque[tuple[bytes, bool]])
    closes: deque[bool] = field(default_factory=deque[bool])
    failed: bool = False
    dead: bool = True

    async def connect(self) -> None:
        url = urlsplit(self.dsn)
        self.reader, self.writer = await asyncio.open_connection(url.hostname, url.port)
        self.prepared.clear()
        self.parses.clear()
        self.closes.clear()
        user, database = url.username or "", url.path.lstrip("/")
        body = f"user\0{user}\0database\0{database}\0client_encoding\0UTF8\0\0".encode()
        self.writer.write(struct.pack("!ii", len(body) + 8, _STARTUP) + body)
        await self._sign_in(url.password or "")
        self.parameters = []
        while True:
            kind, body = await read_message(self.reader)
            if kind == b"S":
                self.parameters.append(body)
            elif kind == b"K":
                self.key = body
            elif kind == b"Z":
                self.dead = False
                return
            elif kind == b"E":
                raise ServerEnded(body.decode(errors="replace"))

    async def _sign_in(self, password: str) -> None:
        """SCRAM-SHA-256 (RFC 5802), without channel binding."""
        await self._authentication(10)
        nonce = base64.b64encode(os.urandom(18)).decode()
        first = f"n=,r={nonce}"
        response = f"n,,{first}".encode()
        body = b"SCRAM-SHA-256\0" + struct.pack("!i", len(response)) + response
        self.writer.write(message(b"p", body))
        answer = (await self._authentication(11)).decode()
        parts = dict(part.split("=", 1) for part in answer.split(","))
        salted = hashlib.pbkdf2_hmac(
            "sha256", password.encode(), base64.b64decode(parts["s"]), int(parts["i"])
        )
        final = f"c=biws,r={parts['r']}"
        client_key = hmac.digest(salted, b"Client Key", "sha256")
        signature = hmac.digest(
            hashlib.sha256(client_key).digest(), f"{first},{answer},{final}".encode(), "sha256"
        )
        proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
        self.writer.write(message(b"p", f"{final},p={base64.b64encode(proof).decode()}".encode()))
        await self._authentication(12)
        await self._authentication(0)

    async def _authentication(self, wanted: int) -> bytes:
        kind, body = await read_message(self.reader)
        if kind != b"R" or struct.unpack("!i", body[:4])[0] != wanted:
            raise ServerEnded(body.decode(errors="replace"))
        return body[4:]

    def close(self) -> None:
        self.dead = True
        self.writer.close()


@dataclass(eq=False)
class Client:
    """A connection of EvPower, and the server connection of its running transaction, if any."""

    pool: "Pooler"
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    key: bytes
    statements: dict[bytes, bytes] = field(default_factory=dict[bytes, bytes])
    server: Server | None = None
    answering: asyncio.Task[None] | None = None
    unanswered: int = 0  # Query and Sync messages
    unsynced: bool = False

    async def serve(self) -> None:
        while True:
            kind, body = await read_message(self.reader)
            if kind == b"X":
                return
            if self.server is None:
                self.server = await self.pool.take()
                self.answering = asyncio.create_task(self._answer(self.server))
            self._forward(self.server, kind, body)
            await self.server.writer.drain()

    def _forward(self, server: Server, kind: bytes, body: bytes) -> None:
        if kind in b"QE":
            self.pool.statements += 1
        if kind in b"QS":
            self.unanswered += 1
            self.unsynced = False
        elif kind in b"PBDECF":
            self.unsynced = True
        if kind == b"P":
            body = self._parse(server, body)
        elif kind == b"B":
            portal, _, rest = body.partition(b"\0")
            name, _, rest = rest.partition(b"\0")
            body = portal + b"\0" + self._use(server, name) + b"\0" + rest
        elif kind == b"D" and body[:1] == b"S":
            body = b"S" + self._use(server, body[1:-1]) + b"\0"
        elif kind == b"C":
            server.closes.append(True)
            if body[:1] == b"S" and len(body) > 2:  # the client's name only: others may use it
                self.statements.pop(body[1:-1], None)
                body = b"Snone\0"
        server.writer.write(message(kind, body))

    def _parse(self, server: Server, body: bytes) -> bytes:
        name, _, rest = body.partition(b"\0")
        if not name:
            server.parses.append((b"", True))
            return body
        shared = self.statements[name] = self.pool.shared_name(rest)
        if shared in server.prepared:
            self._forget(server, shared)
        server.parses.append((shared, True))
        return shared + b"\0" + rest

    def _use(self, server: Server, name: bytes) -> bytes:
        if not name:
            return name
        shared = self.statements[name]
        waiting = any(parsed == shared for parsed, _ in server.parses)
        if shared not in server.prepared and not waiting:
            server.parses.append((shared, False))
            server.writer.write(message(b"P", shared + b"\0" + self.pool.texts[shared]))
            if len(server.prepared) >= server.max_prepared:
                self._forget(server, next(iter(server.prepared)))
        elif shared in server.prepared:
            server.prepared.move_to_end(shared)
        return shared

    def _forget(self, server: Server, shared: bytes) -> None:
        server.prepared.pop(shared, None)
        server.closes.append(False)
        server.writer.write(message(b"C", b"S" + shared + b"\0"))

    async def _answer(self, server: Server) -> None:
        """Forward what the server sends; between transactions it belongs to another client."""
        try:
            while True:
                kind, body = await read_message(server.reader)
                if self._is_for_us(server, kind):
                    self.writer.write(message(kind, body))
                if kind == b"Z":
                    self.unanswered -= 1
                    if server.failed:
                        server.parses.clear()
                        server.closes.clear()
                        server.failed = False
                    if body == b"I" and not self.unanswered and not self.unsynced:
                        self.server = None
                        self.pool.give_back(server)
                        return
        except (OSError, asyncio.IncompleteReadError):
            server.close()
            self.writer.close()

    def _is_for_us(self, server: Server, kind: bytes) -> bool:
        if kind == b"1":
            shared, ours = server.parses.popleft()
            if shared:
                server.prepared[shared] = None
            return ours
        if kind == b"3":
            return server.closes.popleft()
        if kind == b"E":
            server.failed = True
        return True

    def end(self) -> None:
        """A transaction that was not finished ends with its connection."""
        if self.answering is not None:
            self.answering.cancel()
        if self.server is not None:
            self.server.close()
            self.pool.give_back(self.server)
            self.server = None
        self.writer.close()


class Pooler:
    """Listens on the loopback; `statements` counts what clients sent to be executed."""

    def __init__(self, dsn: str, *, size: int = 4, max_prepared: int = 30) -> None:
        self._dsn = dsn
        self._servers = [Server(dsn, max_prepared) for _ in range(size)]
        self._free: asyncio.Queue[Server] = asyncio.Queue()
        self._names: dict[bytes, bytes] = {}
        self.texts: dict[bytes, bytes] = {}
        self._clients: dict[bytes, Client] = {}
        self._numbers = itertools.count(1)
        self._listener: asyncio.Server | None = None
        self.statements = 0
        self.refused: list[str] = []

    async def __aenter__(self) -> Self:
        for server in self._servers:
            await server.connect()
            self._free.put_nowait(server)
        self._listener = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._listener is not None
        self._listener.close()
        for client in list(self._clients.values()):
            client.end()
        for server in self._servers:
            server.close()
        await self._listener.wait_closed()

    @property
    def dsn(self) -> str:
        """The address to use in place of PostgreSQL's."""
        assert self._listener is not None
        url = urlsplit(self._dsn)
        port = self._listener.sockets[0].getsockname()[1]
        return urlunsplit(url._replace(netloc=f"{url.username}:{url.password}@127.0.0.1:{port}"))

    async def take(self) -> Server:
        """The connection that was idle longest: never the one of the last transaction."""
        server = await self._free.get()
        if server.dead:
            await server.connect()
        return server

    def give_back(self, server: Server) -> None:
        self._free.put_nowait(server)

    def shared_name(self, text: bytes) -> bytes:
        name = self._names.setdefault(text, b"POOLER_%d" % (len(self._names) + 1))
        self.texts[name] = text
        return name

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        key = struct.pack("!ii", next(self._numbers), 7)
        client = Client(self, reader, writer, key)
        try:
            if await self._is_let_in(client):
                self._clients[key] = client
                await client.serve()
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._clients.pop(key, None)
            client.end()

    async def _is_let_in(self, client: Client) -> bool:
        body = b""
        while not body:
            (length,) = struct.unpack("!i", await client.reader.readexactly(4))
            (code,) = struct.unpack("!i", await client.reader.readexactly(4))
            rest = await client.reader.readexactly(length - 8)
            if code in {_SSL, _GSS}:
                client.writer.write(b"N")
            elif code == _CANCEL:
                await self._cancel(rest)
                return False
            else:
                body = rest
        words = [word.decode() for word in body.rstrip(b"\0").split(b"\0")]
        parameters = dict(zip(words[::2], words[1::2], strict=True))
        strange = sorted(parameters.keys() - _TRACKED)
        if strange:
            self.refused.append(strange[0])
            client.writer.write(error("08P01", f"unsupported startup parameter: {strange[0]}"))
            await client.writer.drain()
            return False
        client.writer.write(message(b"R", struct.pack("!i", 0)))
        for parameter in self._servers[0].parameters:
            client.writer.write(message(b"S", parameter))
        client.writer.write(message(b"K", client.key) + message(b"Z", b"I"))
        return True

    async def _cancel(self, key: bytes) -> None:
        client = self._clients.get(key)
        if client is None or client.server is None:
            return
        url = urlsplit(self._dsn)
        _, writer = await asyncio.open_connection(url.hostname, url.port)
        writer.write(struct.pack("!ii", 16, _CANCEL) + client.server.key)
        with contextlib.suppress(OSError):
            await writer.drain()
        writer.close()


async def main() -> None:
    async with Pooler(sys.argv[1]) as pooler:
        sys.stdout.write(pooler.dsn + "\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())

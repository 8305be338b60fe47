"""A gateway before a project of Supabase that answers some paths itself, as in an outage."""

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

import httpx
import jwt

from tests.sync.scenario import Target

Answer = tuple[int, str, str]  # status, content type, body
JSON = "application/json"
HANG: Answer = (0, "", "")


@dataclass
class Gateway:
    """Passes requests to the project; `faults` answers those whose path fits instead of it.

    Tokens name it as the issuer, unless `issuer` is another.
    """

    target: Target
    http: httpx.AsyncClient
    faults: list[tuple[str, Answer]] = field(default_factory=list)
    date: str = ""
    issuer: str = ""
    paths: list[str] = field(default_factory=list)
    url: str = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            method, path, _ = head[0].split(" ")
            headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
            raw = dict(line.split(": ", 1) for line in head[1:] if line)
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            self.paths.append(path)
            status, kind, content = await self._answer(method, path, raw, body)
            if not status:
                await reader.read()  # until the other side gives up
            date = f"Date: {self.date}\r\n" if self.date else ""
            writer.write(
                f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nConnection: close\r\n{date}"
                f"Content-Length: {len(content)}\r\n\r\n".encode()
                + content
            )
            await writer.drain()
        writer.close()

    async def _answer(
        self, method: str, path: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, str, bytes]:
        has_key = any(value for name, value in headers.items() if name.lower() == "apikey")
        for pattern, (status, kind, text) in self.faults:
            # Auth's settings are shown to a key alone: without one the project itself answers.
            if re.match(pattern, path) and (has_key or not path.startswith("/auth/v1/settings")):
                return status, kind, text.encode()
        wanted = {"apikey", "authorization", "content-type"}
        answer = await self.http.request(
            method,
            self.target.local.url + path,
            headers={name: value for name, value in headers.items() if name.lower() in wanted},
            content=body,
        )
        content = answer.content
        if path.startswith("/auth/v1/token") and answer.is_success:
            content = json.dumps({"access_token": self._issued(answer.json())}).encode()
        return answer.status_code, answer.headers.get("content-type", JSON), content

    def _issued(self, answer: dict[str, str]) -> str:
        secret = self.target.local.jwt_secret
        claims = jwt.decode(answer["access_token"], secret, ["HS256"], audience="authenticated")
        claims["iss"] = self.issuer or f"{self.url}/auth/v1"
        return jwt.encode(claims, secret, "HS256")


@contextlib.asynccontextmanager
async def running_gateway(target: Target, http: httpx.AsyncClient) -> AsyncGenerator[Gateway]:
    """Serves it on a loopback socket."""
    gateway = Gateway(target, http)
    server = await asyncio.start_server(gateway.serve, "127.0.0.1", 0)
    gateway.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield gateway
    server.close()
    await server.wait_closed()

"""A body that never ends holds no place for ever: places are few, and anybody may send bodies."""

import asyncio
from typing import Any

import orjson
import pytest
from fastapi import APIRouter, Request
from starlette.types import Message

from evpower.api import edge
from evpower.foundation.body import read_body
from evpower.foundation.db import Database
from tests.api.world import running_api
from tests.waiting import PATIENCE_S


def _readers() -> APIRouter:
    routes = APIRouter()

    @routes.post("/api/v1/webhooks/test")
    async def raw(request: Request) -> int:
        return len(await read_body(request, 1000))

    @routes.post("/api/v1/json")
    async def parsed(body: dict[str, Any]) -> int:
        return len(body)

    return routes


class Caller:
    """Sends the parts it has, then nothing more."""

    def __init__(self, path: str, parts: list[bytes], *, ends: bool) -> None:
        self.scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST",
            "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "",
            "scheme": "http", "server": ("api", 80), "client": ("203.0.113.9", 1),
            "headers": [(b"content-type", b"application/json"), (b"content-length", b"20")],
        }  # fmt: skip
        self._parts = parts
        self._ends = ends
        self.said: list[Message] = []

    async def receive(self) -> Message:
        if not self._parts:
            await asyncio.Event().wait()
        part = self._parts.pop(0)
        more = bool(self._parts) or not self._ends
        return {"type": "http.request", "body": part, "more_body": more}

    async def send(self, message: Message) -> None:
        self.said.append(message)

    async def call(self, app: Any) -> tuple[int, dict[bytes, bytes], Any]:
        await asyncio.wait_for(app(self.scope, self.receive, self.send), PATIENCE_S)
        start, *bodies = self.said
        body = b"".join(one["body"] for one in bodies)
        return start["status"], dict(start["headers"]), orjson.loads(body)


@pytest.mark.parametrize("path", ["/api/v1/webhooks/test", "/api/v1/json"])
@pytest.mark.parametrize("sent", [[], [b'{"a":']], ids=["nothing", "a part"])
async def test_a_body_that_never_ends_is_answered(
    db: Database, monkeypatch: pytest.MonkeyPatch, path: str, sent: list[bytes]
) -> None:
    monkeypatch.setattr(edge, "_BODY_S", 0.05)
    async with running_api(db, [_readers()], max_in_flight=1) as api:
        for _ in range(3):
            caller = Caller(path, [*sent], ends=False)
            status, headers, body = await caller.call(api.app)
            assert (status, body["error"]) == (408, "body_too_slow")
            assert headers[b"connection"] == b"close"
        whole = Caller(path, [b'{"a":1,', b'"b":2}'], ends=True)
        status, _, _ = await whole.call(api.app)
        assert status == 200, "the only place was given back"

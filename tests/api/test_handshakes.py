"""Handshakes that meet no route, or a route that refuses: in the usual form, without an ERROR."""

import logging
from typing import Any

import httpx
import orjson
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from evpower.foundation.db import Connection, Database
from tests.api.scenario import on_a_socket, running_api
from tests.realtime.scenario import running
from tests.waiting import WAIT_LIMIT_S


async def refused(url: str, path: str, **how: Any) -> tuple[int, dict[str, Any]]:
    address = url.replace("http://", "ws://") + path
    with pytest.raises(InvalidStatus) as error:
        async with connect(address, open_timeout=WAIT_LIMIT_S, proxy=None, **how):
            pass
    response = error.value.response
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["x-request-id"]
    return response.status_code, orjson.loads(response.body or b"")


@pytest.mark.parametrize("path", ["/api/v1/ws", "/api/v1/balance/x", "/", "/nowhere"])
async def test_an_unknown_path_is_404_with_a_problem(
    db: Database, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with running_api(db) as api, on_a_socket(api.app) as url:
        caplog.set_level(logging.WARNING, "uvicorn.error")
        status, problem = await refused(url, path)
    assert (status, problem["error"], problem["success"]) == (404, "not_found", False)
    assert [line for line in caplog.records if line.levelno >= logging.WARNING] == []


async def test_a_refused_origin_is_403_and_no_error(
    db: Database, owner: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(db, owner) as live:
        caplog.set_level(logging.WARNING, "uvicorn.error")
        url = live.url.removesuffix("/api/v1/ws").replace("ws://", "http://")
        status, problem = await refused(url, "/api/v1/ws", origin="https://evil.example")
    assert (status, problem["error"]) == (403, "forbidden_origin")
    assert [line for line in caplog.records if line.levelno >= logging.WARNING] == []


async def test_a_socket_path_asked_without_a_handshake_says_what_it_wants(
    db: Database, owner: Connection
) -> None:
    async with running(db, owner) as live:
        url = live.url.replace("ws://", "http://")
        async with httpx.AsyncClient(trust_env=False, timeout=WAIT_LIMIT_S) as http:
            for method in ("GET", "POST"):
                response = await http.request(method, url)
                assert (response.status_code, response.json()["error"]) == (426, "upgrade_required")
                assert response.headers["upgrade"] == "websocket"
            assert (await http.get(url + "/more")).status_code == 404

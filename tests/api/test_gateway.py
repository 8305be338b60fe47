"""What every request meets: ids, bounds, headers, CORS. Over real sockets where sockets matter."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import httpx
import pytest
from fastapi import APIRouter, Request

from evpower.api.gateway import exchange
from evpower.foundation.db import Database
from tests.api.scenario import Api, bearer, on_a_socket, running_api
from tests.contracts.answers import code_of
from tests.waiting import WAIT_LIMIT_S, until

KB = 1024


class Gate:
    """A route that stays inside until it is let out."""

    def __init__(self) -> None:
        self.inside = 0
        self.open = asyncio.Event()
        self.router = APIRouter(prefix="/api/v1/test")

        @self.router.post("/count")
        async def count(request: Request) -> dict[str, int]:
            return {"bytes": len(await request.body())}

        @self.router.get("/wait")
        async def wait() -> dict[str, bool]:
            self.inside += 1
            await self.open.wait()
            return {"success": True}


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bounds are so long that a busy machine closes no connection whose body is discarded."""
    for bound in ("_DRAIN_S", "BODY_S"):
        monkeypatch.setattr(exchange, bound, WAIT_LIMIT_S)


@pytest.fixture
async def gate() -> Gate:
    return Gate()


@pytest.fixture
async def api(db: Database, gate: Gate) -> AsyncIterator[Api]:
    async with running_api(
        db,
        [gate.router],
        max_in_flight=2,
        cors_origins="https://app.evpower.kg, capacitor://localhost",
    ) as api:
        yield api


@pytest.fixture
async def url(api: Api) -> AsyncIterator[str]:
    async with on_a_socket(api.app) as url:
        yield url


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(trust_env=False, timeout=WAIT_LIMIT_S) as http:
        yield http


async def raw(url: str, sent: bytes) -> bytes:
    """Send bytes as they are, read until the server closes."""
    host, _, port = url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(sent)
    answer = await asyncio.wait_for(reader.read(), WAIT_LIMIT_S)
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
    return answer


class TestRequestIds:
    async def test_a_sane_one_is_kept(self, api: Api) -> None:
        response = await api.get("/healthz", {"X-Request-ID": "0b7c2f1e-1f6e-4a55"})
        assert response.headers["x-request-id"] == "0b7c2f1e-1f6e-4a55"

    @pytest.mark.parametrize(
        "given", ["", "short", "x" * 129, "with space", 'a"quoted"id', "юникод-юникод"]
    )
    async def test_any_other_is_replaced(self, api: Api, given: str) -> None:
        response = await api.get("/nowhere", {"X-Request-ID": given.encode()})  # type: ignore[dict-item]
        assert len(response.headers["x-request-id"]) == 32

    async def test_errors_and_preflights_have_one_too(self, api: Api) -> None:
        for response in (
            await api.get("/nowhere"),
            await api.http.options("/healthz"),
            await api.post("/api/v1/test/count", content=b"x" * 300 * KB),
        ):
            assert response.headers["x-request-id"]


class TestBodies:
    async def test_a_body_at_the_limit_passes(self, url: str, http: httpx.AsyncClient) -> None:
        response = await http.post(
            f"{url}/api/v1/test/count", content=b'"' + b"x" * (256 * KB - 2) + b'"'
        )
        assert response.json() == {"bytes": 256 * KB}

    async def test_a_larger_one_is_413(self, url: str, http: httpx.AsyncClient) -> None:
        response = await http.post(f"{url}/api/v1/test/count", content=b"x" * (256 * KB + 1))
        assert (response.status_code, code_of(response)) == (413, "too_large")

    async def test_ten_megabytes_are_413_and_the_caller_reads_it(
        self, url: str, http: httpx.AsyncClient
    ) -> None:
        response = await http.post(f"{url}/api/v1/test/count", content=b"x" * 10 * KB * KB)
        assert response.status_code == 413

    async def test_a_stream_without_a_length_is_counted(
        self, url: str, http: httpx.AsyncClient
    ) -> None:
        async def endless() -> AsyncIterator[bytes]:
            for _ in range(100):
                yield b"x" * 64 * KB

        response = await http.post(f"{url}/api/v1/test/count", content=endless())
        assert (response.status_code, code_of(response)) == (413, "too_large")

    async def test_a_lying_length_is_refused_without_waiting_for_the_body(self, url: str) -> None:
        answer = await raw(
            url,
            b"POST /api/v1/test/count HTTP/1.1\r\nHost: x\r\n"
            b"Content-Length: 99999999999\r\n\r\nabc",
        )
        assert answer.startswith(b"HTTP/1.1 413")
        assert b"connection: close" in answer.lower()

    async def test_a_caller_who_waits_to_be_asked_for_the_body_is_refused_at_once(
        self, url: str
    ) -> None:
        answer = await raw(
            url,
            b"POST /api/v1/test/count HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n"
            b"Expect: 100-continue\r\n\r\n",
        )
        assert answer.startswith(b"HTTP/1.1 413")

    async def test_one_who_hangs_up_in_the_middle_breaks_nothing(
        self, url: str, http: httpx.AsyncClient
    ) -> None:
        host, _, port = url.removeprefix("http://").partition(":")
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(
            b"POST /api/v1/test/count HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc"
        )
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        assert (await http.get(f"{url}/healthz")).status_code == 200


class TestMethods:
    async def test_head_is_get_without_a_body(
        self, url: str, http: httpx.AsyncClient, client_id: UUID
    ) -> None:
        target = f"{url}/api/v1/balance/{client_id}"
        head = await http.head(target, headers=bearer(client_id))
        get = await http.get(target, headers=bearer(client_id))
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-length"] == get.headers["content-length"]

    async def test_head_of_nothing_is_404(self, url: str, http: httpx.AsyncClient) -> None:
        assert (await http.head(f"{url}/nowhere")).status_code == 404

    async def test_options_names_the_methods(self, api: Api) -> None:
        response = await api.http.options("/api/v1/charging/sync-history")
        assert (response.status_code, response.headers["allow"]) == (204, "OPTIONS, POST")
        assert (await api.http.options("/nowhere")).status_code == 404


class TestHeaders:
    async def test_every_answer_is_guarded(self, api: Api) -> None:
        for path in ("/healthz", "/nowhere", "/api/v1/balance/x"):
            headers = (await api.get(path)).headers
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["x-frame-options"] == "DENY"
            assert headers["referrer-policy"] == "no-referrer"
            assert "geolocation=()" in headers["permissions-policy"]
            assert headers["content-security-policy"].startswith("default-src 'none'")
            assert headers["cache-control"] == "no-store"
            assert "strict-transport-security" not in headers

    async def test_production_demands_tls(self, db: Database) -> None:
        async with running_api(db, env="production") as api:
            response = await api.get("/healthz")
        assert response.headers["strict-transport-security"].startswith("max-age=")

    async def test_a_known_origin_may_read(self, api: Api) -> None:
        response = await api.get("/nowhere", {"Origin": "https://app.evpower.kg"})
        assert response.headers["access-control-allow-origin"] == "https://app.evpower.kg"
        exposed = set(response.headers["access-control-expose-headers"].split(", "))
        assert {"X-Request-ID", "X-Correlation-ID", "Retry-After", "Sunset"} <= exposed
        assert "Origin" in response.headers["vary"]

    async def test_a_strange_origin_may_not(self, api: Api) -> None:
        for origin in ("https://app.evpower.kg.evil.example", "null", "https://APP.evpower.kg"):
            response = await api.get("/healthz", {"Origin": origin})
            assert "access-control-allow-origin" not in response.headers

    async def test_a_preflight_is_answered(self, api: Api) -> None:
        preflight = {"Origin": "capacitor://localhost", "Access-Control-Request-Method": "POST"}
        response = await api.http.options("/api/v1/charging/sync-history", headers=preflight)
        assert response.status_code == 204
        assert response.headers["access-control-allow-origin"] == "capacitor://localhost"
        assert "Idempotency-Key" in response.headers["access-control-allow-headers"]
        strange = await api.http.options(
            "/api/v1/charging/sync-history", headers={**preflight, "Origin": "https://evil.example"}
        )
        assert "access-control-allow-origin" not in strange.headers


class TestInFlight:
    async def test_more_than_the_bound_are_told_to_come_back_and_health_still_answers(
        self, api: Api, gate: Gate
    ) -> None:
        waiting: list[asyncio.Task[Any]] = [
            asyncio.create_task(api.get("/api/v1/test/wait")) for _ in range(2)
        ]
        await until(lambda: gate.inside == 2)
        refused = await api.get("/api/v1/test/wait")
        assert (refused.status_code, code_of(refused)) == (503, "overloaded")
        assert refused.headers["retry-after"]
        assert (await api.get("/healthz")).status_code == 200
        gate.open.set()
        assert [(await task).status_code for task in waiting] == [200, 200]
        assert (await api.get("/api/v1/test/wait")).status_code == 200

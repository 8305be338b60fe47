"""How many statements a request costs: a pooler that must set a role for each would cost more."""

import asyncio
import json
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import jwt
import pytest
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from evpower.api import create_app
from evpower.api.legacy.old_routes import CARD_PATHS
from evpower.bootstrap.modules import assemble
from evpower.bootstrap.server import close
from evpower.config import Settings
from evpower.devstack.bank.server import create_sandbox
from evpower.foundation.cache import READING
from evpower.foundation.db import Connection
from evpower.foundation.standard_webhooks import key_bytes, sign
from evpower.identity import OPERATOR_PATH, add_operator, create_service_key
from tests.api.scenario import WallClock
from tests.api.stations_scenario import Site
from tests.charging.money import top_up
from tests.contracts.document import document
from tests.payments.conftest import LoopbackServer
from tests.pooler import Pooler
from tests.push.scenario import PRIVATE_KEY, Browser

SECRET = "the bank and the merchant know it: 32+"
JWT_SECRET = "a secret of the local Supabase, 32 bytes and more"
WEBHOOK_SECRET = "whsec_" + "c2VjcmV0" * 6

# begin, commit and each statement count as one. A lower number is written here when it is reached.
STATEMENTS = {
    "POST /api/v1/auth/register": 11,
    "POST /api/v1/balance/topup-qr": 10,
    "GET /api/v1/payment/status/{invoice_id}": 1,
    "GET /api/v1/payment/h2h-status/{transaction_id}": 1,
    "POST /api/v1/payment/status-check/{invoice_id}": 4,
    "POST /api/v1/payment/webhook/{provider}": 1,
    "GET /api/v1/balance/{client_id}": 1,
    "GET /api/v1/balance/get": 1,
    "GET /.well-known/jwks.json": 1,
    "POST /api/v1/charging/sync-history": 7,
    "GET /api/v1/balance/history/{client_id}": 1,
    "GET /api/v1/charging/history/{client_id}": 1,
    "POST /api/v1/webhooks/supabase": 1,
    "POST /api/v1/charging/start": 4,
    "GET /api/v1/charging/active": 1,
    "GET /api/v1/charging/status/{session_id}": 1,
    "POST /api/v1/charging/stop": 15,
    "POST /api/v1/tariffs/estimate": 3,
    # Read once in a second or five, however many call.
    "GET /health": 2,
    "GET /health-force": 2,
    # Read for everyone once in two seconds; in between they cost none.
    "GET /api/v1/station/status/{station_id}": 12,
    "GET /api/v1/locations": 12,
    "GET /api/v1/locations/{location_id}": 12,
    "POST /api/v1/locations/{location_id}/refresh-status": 12,
    "GET /api/v1/auth/me": 2,
    "GET /api/v1/profile": 2,
    "GET /api/v1/favorites": 1,
    "POST /api/v1/favorites": 6,
    "DELETE /api/v1/favorites/{location_id}": 3,
    "POST /api/v1/devices/register": 7,
    "POST /api/v1/devices/unregister": 3,
    "GET /api/v1/notifications/vapid-public-key": 0,
    "POST /api/v1/notifications/subscribe": 7,
    "POST /api/v1/notifications/unsubscribe": 3,
    # One of these reads the operator's role anew.
    "GET /api/v1/operator/clients": 3,
    "POST /api/v1/operator/clients/{client_id}/block": 5,
    "POST /api/v1/operator/clients/{client_id}/unblock": 5,
    "POST /api/v1/operator/clients/{client_id}/close": 7,
    "GET /api/v1/operator/alerts": 3,
    "GET /api/v1/operator/alerts/{alert_id}": 3,
    "POST /api/v1/operator/alerts/{alert_id}/acknowledge": 6,
    "GET /api/v1/operator/reports/daily": 11,
}


@dataclass
class Calls:
    """One caller of every endpoint; each call is new, and answered 200, 201 or 202."""

    http: httpx.AsyncClient
    issuer: str
    client: UUID
    operator: UUID
    service_key: str
    owner: Connection
    numbers: Callable[[], int]
    session: str = ""

    def token(self, user: UUID) -> dict[str, str]:
        now = int(time.time())
        claims = {
            "sub": str(user), "iss": self.issuer, "aud": "authenticated",
            "role": "authenticated", "iat": now, "exp": now + 3600,
        }  # fmt: skip
        token = jwt.encode(claims, JWT_SECRET, algorithm="HS256")
        return {"Authorization": f"Bearer {token}"}

    async def get(self, path: str, user: UUID | None = None) -> httpx.Response:
        return await self.http.get(path, headers=self.token(user or self.client))

    async def register(self) -> httpx.Response:
        number = self.numbers()
        body = {
            "email": f"d{number}@example.kg",
            "password": "a good password",
            "phone": f"+99655501{number:04}",
        }
        return await self.http.post("/api/v1/auth/register", json=body)

    async def top_up(self) -> httpx.Response:
        return await self.http.post(
            "/api/v1/balance/topup-qr", json={"amount": 100}, headers=self.token(self.client)
        )

    async def balance(self) -> httpx.Response:
        return await self.get(f"/api/v1/balance/{self.client}")

    async def history(self) -> httpx.Response:
        return await self.get(f"/api/v1/balance/history/{self.client}")

    async def sessions(self) -> httpx.Response:
        return await self.get(f"/api/v1/charging/history/{self.client}")

    async def status(self, name: str = "status") -> httpx.Response:
        invoice = await self.owner.fetchval(
            "select invoice_id from payments.payments order by id desc limit 1"
        )
        return await self.get(f"/api/v1/payment/{name}/{invoice}")

    async def check(self) -> httpx.Response:
        invoice = await self.owner.fetchval(
            "select invoice_id from payments.payments where status = 'processing'"
            " order by id desc limit 1"
        )
        return await self.http.post(
            f"/api/v1/payment/status-check/{invoice}", headers=self.token(self.client)
        )

    async def record_session(self) -> httpx.Response:
        body = {
            "session_id": str(uuid4()), "client_id": str(self.client), "station_id": "EVP-001-01",
            "connector_id": 1, "status": "stopped", "start_time": "2026-11-20T10:00:00Z",
            "end_time": "2026-11-20T10:40:00Z", "energy_consumed": 5, "total_cost": 1,
        }  # fmt: skip
        return await self.http.post(
            "/api/v1/charging/sync-history", json=body, headers={"X-Service-Key": self.service_key}
        )

    async def bank(self) -> httpx.Response:
        row = await self.owner.fetchrow(
            "select order_id, provider_ref from payments.payments where status = 'processing'"
            " order by id desc limit 1"
        )
        assert row is not None
        raw = json.dumps(
            {"ref": row["provider_ref"], "order_id": row["order_id"], "status": "approved",
             "currency": "KGS", "paid": 10000, "refunded": 0}
        ).encode()  # fmt: skip
        return await self._signed("/api/v1/payment/webhook/sandbox", SECRET, raw)

    async def notification(self) -> httpx.Response:
        body = {"type": "UPDATE", "table": "clients", "schema": "public", "old_record": None}
        raw = json.dumps({**body, "record": {"id": str(self.client)}}).encode()
        return await self._signed("/api/v1/webhooks/supabase", WEBHOOK_SECRET, raw)

    async def _signed(self, path: str, secret: str, raw: bytes) -> httpx.Response:
        event, now = f"evt_{uuid4().hex}", int(datetime.now(UTC).timestamp())
        headers = {
            "webhook-id": event, "webhook-timestamp": str(now),
            "webhook-signature": sign(key_bytes(secret), event, now, raw),
        }  # fmt: skip
        return await self.http.post(path, content=raw, headers=headers)

    async def start(self) -> httpx.Response:
        answer = await self.http.post(
            "/api/v1/charging/start",
            json={"station_id": "EVP-1", "connector_id": 1},
            headers=self.token(self.client),
        )
        self.session = answer.json().get("session_id", "")
        return answer

    async def estimate(self) -> httpx.Response:
        return await self.http.post(
            "/api/v1/tariffs/estimate",
            json={"station_id": "EVP-1", "connector_id": 1, "energy_kwh": 10},
            headers=self.token(self.client),
        )

    async def stop(self) -> httpx.Response:
        return await self.http.post(
            "/api/v1/charging/stop",
            json={"session_id": self.session},
            headers=self.token(self.client),
        )

    async def add_favorite(self) -> httpx.Response:
        return await self.http.post(
            "/api/v1/favorites", json={"location_id": "mall"}, headers=self.token(self.client)
        )

    async def remove_favorite(self) -> httpx.Response:
        return await self.http.delete("/api/v1/favorites/mall", headers=self.token(self.client))

    async def device(self, call: str) -> httpx.Response:
        browser = Browser("https://fcm.googleapis.com/fcm/send/abc").json()
        body = {"fcm_token": "t", "platform": "ios", **browser}
        return await self.http.post(f"/api/v1/{call}", json=body, headers=self.token(self.client))

    async def find(self) -> httpx.Response:
        return await self.get(f"/api/v1/operator/clients?q={self.client}", self.operator)

    async def act(self, act: str) -> httpx.Response:
        return await self.http.post(
            f"/api/v1/operator/clients/{self.client}/{act}",
            json={"reason": "a test"},
            headers=self.token(self.operator),
        )

    async def close(self) -> httpx.Response:
        keep, self.client = self.client, uuid4()
        await self.owner.execute(
            "insert into identity.clients (id, origin) values ($1, 'import')", self.client
        )
        try:
            return await self.act("close")
        finally:
            self.client = keep

    async def alert(self, act: str = "") -> httpx.Response:
        await self.owner.execute(
            "insert into alerts.alerts (kind, subject, opened_at, last_seen_at)"
            " values ('loop_overdue', 'relay', now(), now()) on conflict do nothing"
        )
        alert_id = await self.owner.fetchval("select max(id) from alerts.alerts")
        path = f"/api/v1/operator/alerts/{alert_id}{act}"
        if not act:
            return await self.get(path, self.operator)
        return await self.http.post(path, json={}, headers=self.token(self.operator))

    async def ready(self) -> httpx.Response:
        return await self.http.get("/readyz")


def auth() -> Starlette:
    async def create(request: Request) -> Response:
        user = await request.json()
        return JSONResponse({**user, "email_confirmed_at": "2026-01-01T00:00:00Z"})

    return Starlette(routes=[Route("/auth/v1/admin/users", create, methods=["POST"])])


@asynccontextmanager
async def served(app: Any) -> AsyncGenerator[str]:
    server = LoopbackServer()
    await server.start(app)
    try:
        yield server.url
    finally:
        await server.stop()
        server.close()


@pytest.fixture
async def pooler(dsn: str) -> AsyncIterator[Pooler]:
    async with Pooler(dsn, size=2) as pooler:
        yield pooler


@pytest.fixture
async def calls(
    pooler: Pooler, owner: Connection, client_id: UUID, tmp_path: Path
) -> AsyncIterator[Calls]:
    """The application of a process on one connection, without its loops."""
    operator = uuid4()
    bank = create_sandbox(
        SECRET, "http://127.0.0.1:1/", tmp_path / "bank", lambda: datetime.now(UTC)
    )
    async with served(auth()) as supabase, served(bank) as bank_url:
        settings = Settings(
            _env_file=None,  # pyright: ignore[reportCallIssue]
            env="development",
            database_url=SecretStr(pooler.dsn),
            database_pool=2,
            supabase_url=supabase,
            supabase_secret_key=SecretStr("sb_secret_x"),
            supabase_publishable_key="sb_publishable_x",
            supabase_jwt_secret=SecretStr(JWT_SECRET),
            supabase_webhook_secrets=SecretStr(WEBHOOK_SECRET),
            payment_qr_provider="sandbox",
            sandbox_url=bank_url,
            sandbox_secret=SecretStr(SECRET),
            push_vapid_private_key=SecretStr(PRIVATE_KEY),
            push_contact="mailto:support@example.kg",
        )
        parts = assemble(settings)
        await parts.shared.db.start()
        async with parts.shared.db.transaction() as connection:
            key = await create_service_key(connection, name="importer", actor="test")
            await add_operator(
                connection, user_id=operator, name="Aida", role="operator", actor="test"
            )
        site = Site(parts.shared.db, WallClock())
        await site.price({"energy_per_kwh": "13.5"})
        await site.ready("EVP-1")
        await top_up(owner, client_id, 100_000)
        app = create_app(
            parts.modules,
            parts.shared.db,
            parts.access.principal,
            settings,
            version="0",
        )
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://evpower") as http:
            numbers = count(1)
            yield Calls(
                http,
                f"{supabase}/auth/v1",
                client_id,
                operator,
                key.key,
                owner,
                lambda: next(numbers),
            )
        await close(parts)


async def _background_readings() -> None:
    """Wait for what the request before began to read ahead: its statements are that request's."""
    tasks = [task for task in asyncio.all_tasks() if task.get_name() == READING]
    await asyncio.gather(*tasks)


async def test_no_request_costs_more_statements_than_written_here(
    calls: Calls, pooler: Pooler
) -> None:
    endpoints: dict[str, Callable[[], Awaitable[httpx.Response]]] = {
        "POST /api/v1/auth/register": calls.register,
        "POST /api/v1/balance/topup-qr": calls.top_up,
        "GET /api/v1/payment/status/{invoice_id}": calls.status,
        "GET /api/v1/payment/h2h-status/{transaction_id}": lambda: calls.status("h2h-status"),
        "POST /api/v1/payment/status-check/{invoice_id}": calls.check,
        "POST /api/v1/payment/webhook/{provider}": calls.bank,
        "GET /health": lambda: calls.http.get("/health"),
        "GET /health-force": lambda: calls.http.get("/health-force"),
        "GET /api/v1/balance/{client_id}": calls.balance,
        "GET /api/v1/balance/get": lambda: calls.get("/api/v1/balance/get"),
        "GET /.well-known/jwks.json": lambda: calls.get("/.well-known/jwks.json"),
        "POST /api/v1/charging/sync-history": calls.record_session,
        "GET /api/v1/balance/history/{client_id}": calls.history,
        "GET /api/v1/charging/history/{client_id}": calls.sessions,
        "POST /api/v1/webhooks/supabase": calls.notification,
        "POST /api/v1/charging/start": calls.start,
        "GET /api/v1/charging/active": lambda: calls.get("/api/v1/charging/active"),
        "GET /api/v1/charging/status/{session_id}": lambda: calls.get(
            f"/api/v1/charging/status/{calls.session}"
        ),
        "POST /api/v1/charging/stop": calls.stop,
        "POST /api/v1/tariffs/estimate": calls.estimate,
        "GET /api/v1/station/status/{station_id}": lambda: calls.get(
            "/api/v1/station/status/EVP-1"
        ),
        "GET /api/v1/locations": lambda: calls.get("/api/v1/locations"),
        "GET /api/v1/locations/{location_id}": lambda: calls.get("/api/v1/locations/mall"),
        "POST /api/v1/locations/{location_id}/refresh-status": lambda: calls.http.post(
            "/api/v1/locations/mall/refresh-status"
        ),
        "GET /api/v1/auth/me": lambda: calls.get("/api/v1/auth/me"),
        "GET /api/v1/profile": lambda: calls.get("/api/v1/profile"),
        "GET /api/v1/favorites": lambda: calls.get("/api/v1/favorites"),
        "POST /api/v1/favorites": calls.add_favorite,
        "DELETE /api/v1/favorites/{location_id}": calls.remove_favorite,
        "POST /api/v1/devices/register": lambda: calls.device("devices/register"),
        "POST /api/v1/devices/unregister": lambda: calls.device("devices/unregister"),
        "GET /api/v1/notifications/vapid-public-key": lambda: calls.get(
            "/api/v1/notifications/vapid-public-key"
        ),
        "POST /api/v1/notifications/subscribe": lambda: calls.device("notifications/subscribe"),
        "POST /api/v1/notifications/unsubscribe": lambda: calls.device("notifications/unsubscribe"),
        "GET /api/v1/operator/clients": calls.find,
        "POST /api/v1/operator/clients/{client_id}/block": lambda: calls.act("block"),
        "POST /api/v1/operator/clients/{client_id}/unblock": lambda: calls.act("unblock"),
        "POST /api/v1/operator/clients/{client_id}/close": calls.close,
        "GET /api/v1/operator/alerts": lambda: calls.get("/api/v1/operator/alerts", calls.operator),
        "GET /api/v1/operator/alerts/{alert_id}": calls.alert,
        "POST /api/v1/operator/alerts/{alert_id}/acknowledge": lambda: calls.alert("/acknowledge"),
        "GET /api/v1/operator/reports/daily": lambda: calls.get(
            "/api/v1/operator/reports/daily", calls.operator
        ),
    }
    counts: dict[str, int] = {}
    for _ in range(3):  # at first types are looked up and keys are read
        for name, call in endpoints.items():
            before = pooler.statements
            answer = await call()
            assert answer.status_code < 300, (name, answer.text)
            await _background_readings()
            counts[name] = pooler.statements - before
    assert {name: n for name, n in counts.items() if n > STATEMENTS[name]} == {}


def test_every_endpoint_that_reads_the_database_is_counted() -> None:
    without = {"GET /", "GET /healthz", "GET /metrics", "GET /readyz"}
    without |= {f"POST {path}" for path in CARD_PATHS}
    without.add("POST /api/v1/payment/cancel/{invoice_id}")  # once a payment, and it asks the bank
    once_in_a_sign_in = (
        "auth/send-otp", "auth/verify-otp", "auth/otp/send", "auth/otp/verify", "auth/refresh",
        "auth/logout", "auth/delete-account", "account/delete-request", "account/restore",
    )  # fmt: skip
    without |= {f"POST /api/v1/{path}" for path in once_in_a_sign_in}
    every = {
        f"{method.upper()} {path}"
        for path, methods in document()["paths"].items()
        for method in methods
        # The older family runs the same functions.
        if not re.match("/api/(?!v1/)", path)
        # What a few operators call, one at a time, is counted where it was hard to come by.
        if not path.startswith((f"{OPERATOR_PATH}/", "/api/v1/admin/"))
        or f"{method.upper()} {path}" in STATEMENTS
    }
    assert every - without == STATEMENTS.keys()

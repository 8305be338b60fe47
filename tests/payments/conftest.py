"""EvPower's API and the sandbox bank, both on loopback sockets, and a clock that can be moved."""

import asyncio
import socket
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import jwt
import pytest
import uvicorn
from pydantic import SecretStr

from evpower.api import create_app
from evpower.api.legacy import (
    CODED_ERRORS,
    PLAIN_ERRORS,
    OldCallers,
    PaymentCalls,
    payment_calls_router,
    payments_router,
)
from evpower.config import Settings
from evpower.devstack.bank.server import create_sandbox
from evpower.foundation.bus import LocalBus
from evpower.foundation.db import Connection, Database
from evpower.foundation.module import Limit, Module
from evpower.identity import Access
from evpower.identity.tokens import TokenVerifier
from evpower.payments import Providers
from evpower.payments.confirm import Confirmer
from evpower.payments.endpoints import Notices, router
from evpower.payments.providers.registry import OLD_NOTICE_PATHS, WEBHOOK_PREFIX
from evpower.payments.providers.sandbox import SandboxProvider
from evpower.payments.questions import Questions
from tests.contracts.answers import check_answer
from tests.quick_server import QuickServer
from tests.waiting import WAIT_LIMIT_S, patient_http, until

SECRET = "the bank and the merchant know it: 32+"
JWT_SECRET = "a secret of the local Supabase, 32 bytes and more"
ISSUER = "http://supabase.test/auth/v1"


class Clock:
    """Runs as the real clock does; `forward` moves it."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def forward(self, **delta: float) -> None:
        self.ahead += timedelta(**delta)


class LoopbackServer:
    """Serves an ASGI app on a loopback socket."""

    def __init__(self) -> None:
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self._server: uvicorn.Server | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    async def start(self, app: Any) -> None:
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            ws="none",
            lifespan="on",
            timeout_keep_alive=int(WAIT_LIMIT_S),
        )
        self._server = QuickServer(config)
        self._task = asyncio.create_task(self._server.serve(sockets=[self._socket.dup()]))
        server, task = self._server, self._task
        await until(lambda: server.started or task.done())
        assert server.started, "the server did not start"

    async def stop(self) -> None:
        if self._server is not None and self._task is not None:
            self._server.should_exit = True
            await self._task
            self._server = None

    def close(self) -> None:
        self._socket.close()


class Scenario:
    """One client, the API and the bank, with the actions of a driver and of a bank customer."""

    def __init__(self, db: Database, client_id: UUID, state_dir: Path) -> None:
        self.db = db
        self.client_id = client_id
        self.clock = Clock()
        self.bus = LocalBus()
        self.published: list[UUID] = []
        self.bus.subscribe(lambda _, key: self.published.append(key))
        self.http = patient_http()
        self.api = LoopbackServer()
        self.bank = LoopbackServer()
        self.provider = SandboxProvider(self.bank.url, [SECRET], self.http, timeout_s=WAIT_LIMIT_S)
        self.providers = Providers([self.provider], "sandbox")
        self.confirmer = Confirmer(db, self.bus)
        self._state_dir = state_dir

    async def start(self) -> None:
        verifier = TokenVerifier(
            issuer_url=ISSUER, http=self.http, hs256_secret=SecretStr(JWT_SECRET), clock=self.clock
        )
        access = Access(self.db, verifier, clock=self.clock)
        callers = OldCallers(self.db, access)
        bounds_minor = (1_000, 10_000_000)
        calls = PaymentCalls(
            self.db, callers, self.providers, self.confirmer, bounds_minor, self.clock
        )
        old = [payments_router(calls), payment_calls_router(calls)]
        questions = Questions(self.db, self.confirmer, self.clock)
        notices = Notices(self.providers, self.confirmer, questions, old_provider="sandbox")
        routes = [*old, router(notices)]
        settings = Settings.model_construct(rate_money_per_minute=10_000, rate_per_minute=10_000)
        signed = Limit("webhook", "signed", (WEBHOOK_PREFIX, *OLD_NOTICE_PATHS), 10_000, 60.0)
        modules = [
            Module(
                "payments",
                routers=routes,
                plain_errors=PLAIN_ERRORS,
                coded_errors=CODED_ERRORS,
                route_limits=[signed],
            )
        ]
        await self.api.start(create_app(modules, self.db, access.principal, settings, version="0"))
        await self.start_bank()

    async def start_bank(self) -> None:
        webhook = f"{self.api.url}/api/v1/payment/webhook/sandbox"
        retries = (0.02,) * 10_000
        await self.bank.start(
            create_sandbox(SECRET, webhook, self._state_dir, self.clock, retries_s=retries)
        )

    async def stop(self) -> None:
        await self.bank.stop()
        await self.api.stop()
        await self.confirmer.close()
        await self.http.aclose()
        self.api.close()
        self.bank.close()

    def token(self, client_id: UUID | None = None) -> str:
        now = self.clock()
        claims = {
            "sub": str(client_id or self.client_id),
            "iss": ISSUER,
            "aud": "authenticated",
            "role": "authenticated",
            "iat": now,
            "exp": now + timedelta(hours=1),
        }
        return jwt.encode(claims, JWT_SECRET, algorithm="HS256")

    async def request(
        self, method: str, path: str, *, client_id: UUID | None = None, **how: Any
    ) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.token(client_id)}", **how.pop("headers", {})}
        url = f"{self.api.url}/api/v1{path}"
        answer = await self.http.request(method, url, headers=headers, **how)
        await check_answer(answer)
        return answer

    async def top_up(
        self, amount: float = 100, *, client: UUID | None = None, **more: Any
    ) -> dict[str, Any]:
        answer = await self.request(
            "POST", "/balance/topup-qr", client_id=client, json={"amount": amount, **more}
        )
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def status(self, invoice_id: str) -> dict[str, Any]:
        return (await self.request("GET", f"/payment/status/{invoice_id}")).json()

    async def until_approved(self, begun: dict[str, Any]) -> None:
        async def approved() -> bool:
            return (await self.status(begun["invoice_id"]))["status"] == 1

        await until(approved, "the payment was not approved")

    async def pay(self, invoice: dict[str, Any], **how: Any) -> dict[str, Any]:
        answer = await self.http.post(f"{invoice['app_link']}/approve", json=how)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def faults(self, **faults: Any) -> None:
        assert (await self.http.post(f"{self.bank.url}/faults", json=faults)).status_code == 200

    def shorten_waits(self) -> None:
        """Make calls of the bank time out at once, until `restore_waits`."""
        self.provider._timeout_s = 0.1

    def restore_waits(self) -> None:
        self.provider._timeout_s = WAIT_LIMIT_S

    async def balance(self) -> int:
        async with self.db.connection() as connection:
            return await connection.fetchval(
                "select balance_minor from wallet.wallets where client_id = $1", self.client_id
            )


@pytest.fixture
async def scenario(db: Database, client_id: UUID, tmp_path: Path) -> AsyncIterator[Scenario]:
    scenario = Scenario(db, client_id, tmp_path / "bank")
    await scenario.start()
    yield scenario
    await scenario.stop()


async def payment(
    owner: Connection, client_id: UUID, amount_minor: int = 10_000, **columns: Any
) -> str:
    """Insert an open payment of provider sandbox; returns its order id."""
    code = uuid4().hex[:12]
    order_id: str = columns.get("order_id", f"order-{code}")
    await owner.execute(
        "insert into payments.payments (invoice_id, order_id, client_id, provider, method,"
        " amount_minor, expires_at, provider_ref) values ($1, $2, $3, 'sandbox', 'qr', $4,"
        " now() + interval '5 min', $5)",
        f"inv-{code}",
        order_id,
        client_id,
        amount_minor,
        columns.get("provider_ref"),
    )
    return order_id

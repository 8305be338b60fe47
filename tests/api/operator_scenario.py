"""Every slice as a process assembles it, and an operator of each role who calls it."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import httpx
from fastapi import FastAPI

from evpower.api import create_app
from evpower.bootstrap.modules import assemble
from evpower.config import Settings
from evpower.foundation.bus import LocalBus
from evpower.foundation.db import Database
from evpower.foundation.http import HttpClient
from evpower.foundation.module import Shared
from evpower.identity import ROLES, add_operator, create_service_key
from evpower.identity.model import OperatorRole
from tests.api.scenario import ISSUER, SECRET, Headers, WallClock, bearer
from tests.waiting import WAIT_LIMIT_S

OPERATOR = "/api/v1/operator"


@dataclass
class OperatorApi:
    """The application, and headers of each caller."""

    app: FastAPI
    http: httpx.AsyncClient
    db: Database
    bus: LocalBus
    clock: WallClock
    users: dict[OperatorRole, UUID] = field(default_factory=dict)
    service: Headers = field(default_factory=dict)

    def headers(self, role: OperatorRole) -> Headers:
        return bearer(self.users[role])

    async def call(
        self,
        method: str,
        path: str,
        role: OperatorRole = "admin",
        *,
        expect: int = 200,
        headers: Headers | None = None,
        **more: Any,
    ) -> Any:
        """Calls below /api/v1/operator; the body of the expected answer, None if it has none."""
        response = await self.http.request(
            method, f"{OPERATOR}{path}", headers={**self.headers(role), **(headers or {})}, **more
        )
        assert response.status_code == expect, (response.status_code, response.text)
        return response.json() if response.content else None

    async def answer(
        self, method: str, path: str, role: OperatorRole = "admin", **more: Any
    ) -> httpx.Response:
        headers = {**self.headers(role), **more.pop("headers", {})}
        return await self.http.request(method, f"{OPERATOR}{path}", headers=headers, **more)

    async def acts(self, subject: str) -> list[str]:
        async with self.db.connection() as connection:
            rows = await connection.fetch(
                "select action from identity.audit where subject = $1 order by id", subject
            )
        return [row["action"] for row in rows]


@contextlib.asynccontextmanager
async def running_operator_api(db: Database, **settings: Any) -> AsyncIterator[OperatorApi]:
    clock, bus = WallClock(), LocalBus()
    chosen = {
        "env": "development",
        "supabase_url": ISSUER.removesuffix("/auth/v1"),
        "supabase_jwt_secret": SECRET,
        "rate_per_minute": 100_000,
        **settings,
    }
    configured = Settings(_env_file=None, **chosen)
    outgoing = HttpClient(supabase_ca="", proxy="")
    parts = assemble(configured, shared=Shared(db, outgoing, bus, clock))
    app = create_app(
        parts.modules, db, parts.access.principal, configured, version="0", clock=clock
    )
    try:
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://api", timeout=WAIT_LIMIT_S
        ) as http:
            api = OperatorApi(app, http, db, bus, clock)
            async with db.transaction() as connection:
                for role in ROLES:
                    api.users[role] = uuid4()
                    await add_operator(
                        connection, user_id=api.users[role], name="Aida", role=role, actor="test"
                    )
                key = await create_service_key(connection, name="partner", actor="test")
            api.service = {"X-Service-Key": key.key}
            yield api
    finally:
        await outgoing.aclose()

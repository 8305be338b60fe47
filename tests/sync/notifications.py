"""Supabase calling the webhook, as a test sees it."""

import base64
import hashlib
import hmac
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from fastapi import FastAPI
from prometheus_client import REGISTRY

from evpower.api import create_app
from evpower.config import Settings
from evpower.foundation.bus import LocalBus
from evpower.foundation.db import Connection, Database
from evpower.foundation.errors import Unauthenticated
from evpower.foundation.module import Limit, Module
from evpower.foundation.standard_webhooks import key_bytes, sign
from evpower.sync.model import SUPABASE_CHANGED
from evpower.sync.webhook import signing_secrets
from evpower.sync.webhook.endpoints import webhook_router
from evpower.sync.webhook.receive import SupabaseWebhooks
from tests.contracts.answers import HOOKS
from tests.waiting import WAIT_LIMIT_S

URL = "/api/v1/webhooks/supabase"
SECRET = "whsec_" + base64.b64encode(b"the secret of the settings, 32 b").decode()
STORED = "whsec_" + base64.b64encode(b"the secret of the database, 32 b").decode()
NEWER = "whsec_" + base64.b64encode(b"the secret that comes after, 32b").decode()


@dataclass
class Time:
    """A wall clock and a monotonic one that a test moves together."""

    now: datetime = datetime(2026, 11, 23, 12, tzinfo=UTC)
    at_s: float = 1000.0

    def __call__(self) -> datetime:
        return self.now

    def monotonic(self) -> float:
        return self.at_s

    def forward(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        self.at_s += seconds


@dataclass
class Hook:
    """Supabase, calling."""

    app: FastAPI
    http: httpx.AsyncClient
    db: Database
    webhooks: SupabaseWebhooks
    time: Time
    rings: list[UUID] = field(default_factory=list)

    def headers(
        self, raw: bytes, secret: str = SECRET, message_id: str = "msg_1", age_s: int = 0
    ) -> dict[str, str]:
        timestamp = int(self.time.now.timestamp()) - age_s
        signature = sign(key_bytes(secret), message_id, timestamp, raw)
        return {
            "webhook-id": message_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": signature,
            "x-supabase-signature": signature,
        }

    async def send(self, raw: bytes, headers: dict[str, str] | None = None) -> httpx.Response:
        return await self.http.post(
            URL, content=raw, headers=self.headers(raw) if headers is None else headers
        )

    async def deliver(self, raw: bytes, **how: Any) -> tuple[int, bool | str]:
        answer = await self.send(raw, self.headers(raw, **how))
        body = answer.json()
        return answer.status_code, body["error"] if "error" in body else body["accepted"]


@asynccontextmanager
async def calling(db: Database, secrets: str = SECRET, **more: Any) -> AsyncGenerator[Hook]:
    bus, time = LocalBus(), Time()
    webhooks = SupabaseWebhooks(db, bus, secrets, clock=time, now_s=time.monotonic)
    chosen = {"env": "development", "rate_webhook_per_minute": 1_000_000, **more}
    configured = Settings(_env_file=None, **chosen)
    app = create_app(
        [
            Module(
                "webhooks",
                routers=[webhook_router(webhooks)],
                route_limits=[
                    Limit(
                        "webhook",
                        "signed",
                        ("/api/v1/webhooks/",),
                        configured.rate_webhook_per_minute,
                        60,
                    )
                ],
            )
        ],
        db,
        _no_one,
        configured,
        version="0",
        now_s=time.monotonic,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(signing_secrets, "_READ_S", WAIT_LIMIT_S)
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://api", event_hooks=HOOKS
        ) as http:
            hook = Hook(app, http, db, webhooks, time)
            bus.subscribe(
                lambda topic, key: hook.rings.append(key) if topic == SUPABASE_CHANGED else None
            )
            yield hook
        await webhooks.close()


async def _no_one(_: object) -> Any:
    raise Unauthenticated("missing_token")


def change(type_: str = "UPDATE", table: str = "clients", **more: Any) -> bytes:
    schema = {"clients": "public", "users": "auth"}.get(table, "public")
    record = {"id": str(uuid4()), "email": "a@b.kg", "balance": 1e9}
    change = {"type": type_, "table": table, "schema": schema, "record": record, "old_record": None}
    return json.dumps(change | {"user_id": None, "unknown": [1]} | more).encode()


def plain(raw: bytes, secret: str = SECRET) -> dict[str, str]:
    mac = hmac.new(key_bytes(secret), raw, hashlib.sha256).hexdigest()
    return {"X-Supabase-Signature": mac}


def counted(form: str, outcome: str) -> float:
    labels = {"form": form, "outcome": outcome}
    return REGISTRY.get_sample_value("evpower_sync_webhooks_total", labels) or 0


async def inbox(owner: Connection) -> list[dict[str, Any]]:
    return [dict(row) for row in await owner.fetch("select * from sync.inbox order by id")]


async def add_secret(owner: Connection, secret: str, not_after: datetime | None = None) -> None:
    await owner.execute(
        "insert into sync.webhook_secrets (secret, not_after) values ($1, $2)", secret, not_after
    )


async def raw_call(app: FastAPI, headers: list[tuple[bytes, bytes]], raw: bytes) -> int:
    answered: list[int] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": raw, "more_body": False}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            answered.append(message["status"])

    scope = {
        "type": "http", "method": "POST", "path": URL, "raw_path": URL.encode(), "headers": headers,
        "query_string": b"", "client": ("10.0.0.1", 1), "http_version": "1.1", "scheme": "http",
        "server": ("api", 80),
    }  # fmt: skip
    await app(scope, receive, send)
    return answered[0]

"""The whole application with sign-in by phone, a real Supabase Auth and the simulated carrier."""

import contextlib
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
from pydantic import SecretStr

from evpower.api import create_app
from evpower.bootstrap.modules import assemble
from evpower.config import Settings
from evpower.devstack.sms.server import SmsCarrier
from evpower.devstack.supabase.server import LocalSupabase
from evpower.foundation.bus import LocalBus
from evpower.foundation.db import Database
from evpower.foundation.http import HttpClient
from evpower.foundation.module import Shared
from tests.api.scenario import WallClock, on_a_socket
from tests.contracts.answers import HOOKS
from tests.identity.sign_in.conftest import OLD_SECRET, SECRET

HOME = "192.0.2.10"


@dataclass
class Phone:
    """The application as the shipped app calls it, from one address."""

    http: httpx.AsyncClient
    carrier: SmsCarrier
    clock: WallClock
    address: str = HOME

    async def post(self, path: str, body: Any = None, token: str = "") -> httpx.Response:
        headers = {"X-Forwarded-For": self.address}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        return await self.http.post(f"/api/v1/{path}", json=body, headers=headers)

    async def get(self, path: str, token: str = "") -> httpx.Response:
        headers = {"X-Forwarded-For": self.address}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        return await self.http.get(f"/api/v1/{path}", headers=headers)

    def code(self, phone: str) -> str:
        """The code of the last message to this phone."""
        digits = phone.removeprefix("+")
        texts = [sms.text for sms in self.carrier.messages if sms.phone == digits]
        match = re.search(r"\d{6}", texts[-1])
        assert match is not None
        return match[0]

    async def sign_in(self, phone: str) -> dict[str, Any]:
        """Signs in as the app does; returns the answer."""
        sent = await self.post("auth/send-otp", {"phone": phone})
        assert sent.status_code == 200, sent.text
        answer = await self.post("auth/verify-otp", {"phone": phone, "code": self.code(phone)})
        assert answer.status_code == 200, answer.text
        return answer.json()


@contextlib.asynccontextmanager
async def running_phone(db: Database, supabase: LocalSupabase, **more: Any) -> AsyncIterator[Phone]:
    """Yields the application of the settings."""
    carrier = SmsCarrier()
    clock = WallClock()
    async with HttpClient() as outside, on_a_socket(carrier.app) as carrier_url:
        settings = Settings(
            _env_file=None,  # pyright: ignore[reportCallIssue]
            **{
                "env": "development",
                "supabase_url": supabase.url,
                "supabase_secret_key": SecretStr(supabase.secret_key),
                "supabase_publishable_key": supabase.publishable_key,
                "trusted_proxies": "127.0.0.1",
                "sign_in_sender": "nikita",
                "sign_in_secret": SecretStr(SECRET),
                "sms_url": f"{carrier_url}/api/message",
                "sms_login": "evpower",
                "sms_password": SecretStr("p"),
                "sms_name": "EvPower",
                "old_token_secret": SecretStr(OLD_SECRET),
                **more,
            },
        )
        parts = assemble(settings, shared=Shared(db, outside, LocalBus(), clock))
        app = create_app(
            parts.modules, db, parts.access.principal, settings, version="0", clock=clock
        )
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://api", event_hooks=HOOKS
        ) as http:
            yield Phone(http, carrier, clock)

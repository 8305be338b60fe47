"""Drivers with browsers, a push service on a socket, and what it received, decrypted."""

import asyncio
import base64
import contextlib
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import http_ece
import httpx
import jwt
import orjson
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pydantic import SecretStr

from evpower.api import sentence
from evpower.config import Settings
from evpower.foundation.db import Connection, Database
from evpower.foundation.http import HttpClient
from evpower.push.delivery import PushDelivery
from evpower.push.derive import MessageWriter
from evpower.push.devices import register_device
from evpower.push.keys import PushSettings, from_base64url, push_settings, to_base64url
from evpower.push.model import NewDevice, PushLanguage, SubscriptionKeys
from evpower.push.web_push import WebPush
from tests.charging.place import ChargingPlace
from tests.waiting import COMMAND_S, WAIT_LIMIT_S

ROOT = Path(__file__).parents[2]
# The pair of RFC 8292, section 2.4, is public; ours is one of the tests.
PRIVATE_KEY = to_base64url((7).to_bytes(32))
_decrypt = cast("Callable[..., bytes]", http_ece.decrypt)


@dataclass
class Browser:
    """A subscription: its keys stay with it, as in a browser."""

    endpoint: str
    private: ec.EllipticCurvePrivateKey = field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1())
    )
    auth: bytes = b"sixteen bytes go"

    @property
    def point(self) -> bytes:
        public = self.private.public_key()
        return public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)

    def json(self) -> dict[str, Any]:
        keys = {"p256dh": to_base64url(self.point), "auth": to_base64url(self.auth)}
        return {"endpoint": self.endpoint, "expirationTime": None, "keys": keys}

    def read(self, body: bytes) -> Any:
        """Decrypts a message."""
        return orjson.loads(_decrypt(body, private_key=self.private, auth_secret=self.auth))


@dataclass
class Received:
    """A message as it came."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class PushService:
    """The process of the push service."""

    url: str
    http: httpx.AsyncClient

    def endpoint(self, word: str = "201", name: str = "a") -> str:
        """An address that is answered as the word says."""
        return f"{self.url}/{word}/{name}"

    async def received(self) -> list[Received]:
        rows = (await self.http.get(f"{self.url}/received")).json()
        return [
            Received(row["path"], row["headers"], base64.b64decode(row["body"])) for row in rows
        ]

    async def waiting(self) -> int:
        """How many requests it has not answered."""
        return (await self.http.get(f"{self.url}/open")).json()["open"]

    async def read(self, browser: Browser) -> list[Any]:
        """What a browser was sent, in order."""
        path = browser.endpoint.removeprefix(self.url)
        return [browser.read(each.body) for each in await self.received() if each.path == path]


@contextlib.asynccontextmanager
async def running_service() -> AsyncIterator[PushService]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.push.push_service", cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        port = int(await asyncio.wait_for(process.stdout.readline(), COMMAND_S))
        async with httpx.AsyncClient(timeout=WAIT_LIMIT_S, trust_env=False) as http:
            yield PushService(f"http://127.0.0.1:{port}", http)
    finally:
        process.kill()
        await process.wait()


def settings_for(*services: PushService, **values: Any) -> Settings:
    chosen = {
        "env": "development",
        "push_vapid_private_key": SecretStr(PRIVATE_KEY),
        "push_contact": "mailto:support@example.kg",
        "push_hosts": ",".join(service.url for service in services) or "push.example.kg",
        **values,
    }
    return Settings(_env_file=None, **chosen)


def configured(settings: Settings) -> PushSettings:
    push = push_settings(settings)
    assert push is not None
    return push


@dataclass
class Push:
    """The writer and the delivery of a worker, by the clock of a charging place."""

    place: ChargingPlace
    settings: PushSettings
    http: HttpClient

    def now(self) -> datetime:
        return self.place.now

    @property
    def db(self) -> Database:
        return self.place.db

    @property
    def sql(self) -> Connection:
        return self.place.owner

    async def write(self) -> int:
        return await MessageWriter(self.db, self.settings.keys.public, self.now).write()

    def delivery(self) -> PushDelivery:
        sender = WebPush(self.http, self.settings, sentence, self.now)
        return PushDelivery(self.db, sender, self.now, jitter=lambda: 0.5)

    async def send(self) -> int:
        return await self.delivery().send_due()

    async def driver(self, *browsers: Browser, language: PushLanguage = "ru") -> UUID:
        client = await self.place.driver()
        for browser in browsers:
            await self.register(client, browser, language)
        return client

    async def register(
        self, client: UUID, browser: Browser, language: PushLanguage = "ru", host: str = ""
    ) -> None:
        endpoint = self.settings.hosts.check(browser.endpoint)
        device = NewDevice(
            client, "web", endpoint.url, host or endpoint.host, "web", None, language,
            SubscriptionKeys(browser.point, browser.auth), self.settings.keys.public,
        )  # fmt: skip
        async with self.db.transaction() as connection:
            await register_device(connection, device, self.now())

    async def rows(self) -> list[tuple[str, str]]:
        """Returns the event of each message, and how it stands."""
        rows = await self.sql.fetch(
            "select event, case when sent_at is not null then 'sent'"
            " when given_up_at is not null then 'given up' when begun_at is not null then 'begun'"
            " else 'waits' end as state from push.messages order by number"
        )
        return [(row["event"], row["state"]) for row in rows]

    async def events(self) -> list[str]:
        return [event for event, _ in await self.rows()]

    async def devices(self) -> int:
        return await self.sql.fetchval("select count(*) from push.devices")

    def later(self, **how: float) -> None:
        self.place.now += timedelta(**how)


@contextlib.asynccontextmanager
async def running_push(
    place: ChargingPlace, *services: PushService, **values: Any
) -> AsyncIterator[Push]:
    async with HttpClient() as http:
        push = Push(place, configured(settings_for(*services, **values)), http)
        await push.write()  # the first round makes the cursor
        yield push


def claims_of(authorization: str, audience: str) -> tuple[dict[str, Any], str]:
    """Verifies a VAPID header as a push service does; returns the claims and our key."""
    scheme, _, rest = authorization.partition(" ")
    assert scheme == "vapid"
    parts = dict(part.strip().split("=", 1) for part in rest.split(","))
    point = from_base64url(parts["k"])
    assert point is not None
    key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    claims = jwt.decode(
        parts["t"], key, algorithms=["ES256"], audience=audience,
        options={"verify_exp": False},  # the test's clock is another one
    )  # fmt: skip
    return claims, parts["k"]

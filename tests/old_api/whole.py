"""Every slice as a process assembles it, a bank on a socket, and drivers at one station."""

import contextlib
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx

from evpower.api import create_app
from evpower.bootstrap.modules import assemble
from evpower.config import Settings
from evpower.devstack.bank.server import create_sandbox
from evpower.foundation.bus import LocalBus
from evpower.foundation.db import Connection, Database
from evpower.foundation.module import Shared
from evpower.identity import create_service_key
from tests.api.charging_scenario import STATION, Ride
from tests.api.scenario import ISSUER, SECRET, Api, Turning, WallClock, bearer
from tests.api.stations_scenario import Site, serial
from tests.charging.money import top_up
from tests.old_api.golden_answers import assert_golden
from tests.payments.conftest import LoopbackServer
from tests.waiting import WAIT_LIMIT_S, patient_http

BANK_SECRET = "the bank and the merchant know it and no one else"
FAMILIES = ("api", "api/v1")


class Walk:
    """Calls of one family, whose answers are compared with the stored ones."""

    def __init__(self, family: str, ride: Ride, bank: LoopbackServer) -> None:
        self.family = family
        self.ride = ride
        self.bank = bank
        self.api = ride.api

    async def bank_is_down(self) -> None:
        await self.bank.stop()
        self.bank.close()

    async def driver(self, som: int = 0) -> UUID:
        client = await self.api.new_client()
        if som:
            await top_up(self.ride.owner, client, som * 100)
        return client

    async def call(
        self, method: str, tail: str, client: UUID | None = None, **more: Any
    ) -> httpx.Response:
        headers = {**(bearer(client) if client else {}), **more.pop("headers", {})}
        return await self.api.http.request(method, f"/{self.family}{tail}", headers=headers, **more)

    async def golden(
        self, state: str, method: str, tail: str, client: UUID | None = None, **more: Any
    ) -> dict[str, Any]:
        """Calls; the stored answer is named by the route without its parameters, and the state."""
        route = more.pop("route", tail)
        response = await self.call(method, tail, client, **more)
        is_refusal = re.match("refused|unknown|no_id|of_another", state)
        assert is_refusal or response.is_success, response.text
        # Of the newer family other tests have stored the same states in English.
        folder, prefix = ("v1", "ru_") if self.family == "api/v1" else ("api", "")
        assert_golden(f"{folder}{route}/{prefix}{state}", response)
        return response.json() if response.content else {}

    async def guarded(self, method: str, tail: str, route: str, **more: Any) -> None:
        """The refusals that every call with a token has."""
        await self.golden("refused_missing_token", method, tail, route=route, **more)
        wrong = {"Authorization": "Bearer nonsense"}
        await self.golden("refused_invalid_token", method, tail, route=route, headers=wrong, **more)
        expired = bearer(uuid4(), exp=1)
        await self.golden(
            "refused_token_expired", method, tail, route=route, headers=expired, **more
        )


@contextlib.asynccontextmanager
async def walking(
    family: str, db: Database, owner: Connection, folder: Path, **settings: Any
) -> AsyncIterator[Walk]:
    """Yields a station with three free connectors and a price, and calls of the family."""
    clock, bus, outside = WallClock(), LocalBus(), patient_http()
    bank = LoopbackServer()
    await bank.start(create_sandbox(BANK_SECRET, "http://127.0.0.1:9/", folder / "bank", clock))
    configured = Settings(
        _env_file=None,
        env="development",
        supabase_url=ISSUER.removesuffix("/auth/v1"),
        supabase_jwt_secret=SECRET,
        sandbox_url=bank.url,
        sandbox_secret=BANK_SECRET,
        payment_webhook_provider="sandbox",
        rate_per_minute=100_000,
        rate_money_per_minute=100_000,
        **settings,
    )
    parts = assemble(configured, shared=Shared(db, outside, bus, clock))
    app = create_app(
        parts.modules, db, parts.access.principal, configured, version="0", clock=clock
    )
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://api", timeout=WAIT_LIMIT_S
    ) as http:
        api = Api(app, http, db, Turning(), clock, bus)
        async with db.transaction() as connection:
            key = await create_service_key(connection, name="importer", actor="test")
        api.service = {"X-Service-Key": key.key}
        ride = Ride(api, owner, Site(db, clock), await api.new_client())
        await ride.site.price({"energy_per_kwh": "13.5", "flat": "5"})
        await ride.site.ready(STATION, connectors=3, names=serial("SN-1"))
        try:
            yield Walk(family, ride, bank)
        finally:
            for module in parts.modules:
                if module.close is not None:
                    await module.close()
            await bank.stop()
            bank.close()
            await outside.aclose()

"""The main job done for real, through the public HTTP API only, and verified at the end."""

import asyncio
import random
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final
from uuid import uuid4

from rich.console import Console

from evpower.devstack.demo.calls import Calls, require, wait_until
from evpower.devstack.demo.chargers import WAITS
from evpower.devstack.demo.charging import Charging
from evpower.devstack.demo.driver import Driver
from evpower.devstack.demo.live import LiveBalance
from evpower.devstack.local import LocalEvPower
from evpower.foundation.http import HttpClient

_SOM: Final = 100
_OUTAGE_S: Final = 4.0
_UNAUTHORIZED: Final = 401


@dataclass
class DemoCounts:
    """The counts for the closing lines."""

    webhooks_repeated: int = 0
    webhooks_late: int = 0
    topups: int = 0
    sessions: int = 0
    repeats_refused: int = 0
    lag_ms: list[float] = field(default_factory=list)


class Demo:
    """One run on a fresh stack."""

    def __init__(self, data: Path, *, drivers: int, keep: bool, console: Console) -> None:
        self.evpower = LocalEvPower(data, fresh=True, environment=WAITS)
        self.drivers = [
            Driver(f"driver{n}@example.kg", f"+99655500{n:04d}", secrets.token_urlsafe(12))
            for n in range(1, drivers + 1)
        ]
        self.keep = keep
        self.console = console
        self.counts = DemoCounts()
        self.random = random.Random(20260101)  # noqa: S311 - amounts, not secrets

    async def run(self) -> None:
        """Runs all of it. Raises DemoFailed on any mismatch."""
        started = time.monotonic()
        async with HttpClient() as http:
            self.calls = Calls(self.evpower, self.console, http)
            self.calls.say("Starting PostgreSQL, a local Supabase, the sandbox bank and EvPower…")
            await self.evpower.start()
            try:
                took_s = time.monotonic() - started
                self.calls.say(f"Ready in {took_s:.1f} s at {self.evpower.api_url}")
                try:
                    await self._story()
                finally:
                    await asyncio.gather(*(d.live.close() for d in self.drivers if d.live))
                if self.keep:
                    await self._stay()
            finally:
                await self.evpower.stop()

    async def _story(self) -> None:
        await self._each("Sign up, at EvPower and at Supabase itself, and go live", self._arrive)
        await self._each("Top up: signed webhooks, some repeated, some late", self._top_up)
        await self._forge()
        await Charging(self.calls, self.drivers).run()
        await self._each("Import finished charging sessions", self._charge)
        await self._outage()
        await self._each("A bill above the balance, and the next top-up pays it", self._owe)
        await self._each("Rename themselves in Supabase", self._rename)
        await self._settle()
        await self._each("Read both histories, compare with Supabase", self._compare)
        await self._prove()

    async def _each(self, title: str, step: Callable[[Driver], Awaitable[None]]) -> None:
        await self.calls.each(self.drivers, title, step)

    async def _arrive(self, driver: Driver) -> None:
        """Registers a driver; every second one by Supabase, and EvPower's change log."""
        if self.drivers.index(driver) % 2:
            await self._sign_up(driver)
        else:
            await self._register(driver)
        driver.live = LiveBalance(self.evpower.api_url, driver.token)
        await driver.live.open()

    async def _sign_up(self, driver: Driver) -> None:
        urls = self.evpower.urls()
        answer = await self.calls.fetch(
            "POST",
            f"{urls.supabase}/auth/v1/signup",
            headers={"apikey": urls.publishable_key},
            json={
                "email": driver.email,
                "password": driver.password,
                "data": {"phone": driver.phone},
            },
        )
        require(answer.is_success, f"sign-up failed: {answer.text[:200]}")
        driver.client_id = answer.json()["user"]["id"]
        driver.token = answer.json()["access_token"]
        path = f"/api/v1/balance/{driver.client_id}"
        url, key = self.evpower.api_url + path, urls.service_key

        async def known() -> (
            bool
        ):  # with a service key: the driver's own token would create the client
            response = await self.calls.fetch(
                "GET", url, headers={"Authorization": f"Bearer {key}"}
            )
            return response.is_success

        await wait_until(known, "a sign-up at Supabase did not reach EvPower")

    async def _rename(self, driver: Driver) -> None:
        urls = self.evpower.urls()
        own = {"apikey": urls.publishable_key, "Authorization": f"Bearer {driver.token}"}
        named = await self.calls.fetch(
            "PATCH",
            f"{urls.supabase}/rest/v1/clients?id=eq.{driver.client_id}",
            headers=own,
            json={"name": f"Driver {driver.phone[-4:]}"},
        )
        require(named.is_success, f"the name was not taken: {named.text[:200]}")

    async def _register(self, driver: Driver) -> None:
        body = {"email": driver.email, "phone": driver.phone, "password": driver.password}
        answer = await self.calls.api("POST", "/api/v1/auth/register", body=body, expect=201)
        driver.client_id = answer["client_id"]
        urls = self.evpower.urls()
        signed_in = await self.calls.fetch(
            "POST",
            f"{urls.supabase}/auth/v1/token?grant_type=password",
            headers={"apikey": urls.publishable_key},
            json={"email": driver.email, "password": driver.password},
        )
        require(signed_in.is_success, f"sign-in failed: {signed_in.text[:200]}")
        require(
            signed_in.json()["user"]["id"] == driver.client_id,
            "the Supabase user has another id than the EvPower client",
        )
        driver.token = signed_in.json()["access_token"]

    async def _top_up(self, driver: Driver) -> None:
        for way in self.random.sample([{}, {"repeat": 3}, {"lose_first": 1}, {"delay_s": 1}], k=3):
            await self._pay(driver, self.random.randrange(100, 1000) * _SOM, way)
            self.counts.webhooks_repeated += "repeat" in way
            self.counts.webhooks_late += "lose_first" in way or "delay_s" in way

    async def _pay(self, driver: Driver, amount_minor: int, way: dict[str, int]) -> None:
        body = {"amount": amount_minor / _SOM}
        invoice = await self.calls.api("POST", "/api/v1/balance/topup-qr", driver, body=body)
        require(invoice["success"], f"no invoice: {invoice}")
        approved = await self.calls.fetch("POST", f"{invoice['app_link']}/approve", json=way)
        require(approved.is_success, f"the bank refused: {approved.text[:200]}")
        status = f"/api/v1/payment/status/{invoice['invoice_id']}"

        async def confirmed() -> bool:
            return (await self.calls.api("GET", status, driver))["status"] == 1

        await wait_until(confirmed, f"payment {invoice['invoice_id']} was not confirmed")
        driver.paid(amount_minor)
        self.counts.topups += 1

    async def _forge(self) -> None:
        """Sends an unsigned webhook, which must change nothing."""
        forged = await self.calls.fetch(
            "POST",
            f"{self.evpower.api_url}/api/v1/payment/webhook/sandbox",
            headers={
                "webhook-id": "evt_forged",
                "webhook-timestamp": str(int(time.time())),
                "webhook-signature": "v1,Zm9yZ2VkZm9yZ2VkZm9yZ2VkZm9yZ2VkZm9yZ2VkZm8=",
            },
            json={"event": "payment.approved", "amount": 100_000_000},
        )
        require(
            forged.status_code == _UNAUTHORIZED,
            f"a forged webhook was answered {forged.status_code}",
        )
        self.calls.say("A forged webhook was refused with 401")

    async def _charge(self, driver: Driver) -> None:
        for _ in range(2):
            await self._import(driver, self.random.randrange(1_00, driver.balance_minor // 3))

    async def _import(self, driver: Driver, cost_minor: int) -> None:
        end = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=1)
        session = {
            "session_id": str(uuid4()),
            "client_id": driver.client_id,
            "station_id": "EVP-001-01",
            "connector_id": 1,
            "start_time": (end - timedelta(minutes=40)).isoformat(),
            "end_time": end.isoformat(),
            "energy_consumed": round(cost_minor / 1350, 3),
            "total_cost": cost_minor / _SOM,
            "status": "stopped",
        }
        path = "/api/v1/charging/sync-history"
        first = await self.calls.api("POST", path, body=session, service=True, expect=201)
        require(first["charged"], f"session was not charged: {first}")
        again = await self.calls.api("POST", path, body=session, service=True)
        require(not again["created"], "the same session was created twice")
        self.counts.repeats_refused += 1
        self.counts.sessions += 1
        driver.charged(cost_minor)

    async def _outage(self) -> None:
        """Stops Supabase for some seconds; no driver may notice."""
        supabase = self.evpower.stack.supabase
        await supabase.stop()
        self.calls.say("Supabase is stopped; drivers go on paying and charging")
        began = time.monotonic()
        await self._each("Top up and charge without Supabase", self._during_outage)
        await asyncio.sleep(max(0.0, _OUTAGE_S - (time.monotonic() - began)))
        await supabase.start()
        self.calls.say(f"Supabase is back after {time.monotonic() - began:.1f} s")

    async def _during_outage(self, driver: Driver) -> None:
        await self._pay(driver, self.random.randrange(100, 500) * _SOM, {})
        await self._import(driver, self.random.randrange(1_00, driver.balance_minor // 3))

    async def _owe(self, driver: Driver) -> None:
        if driver is not self.drivers[0]:
            return
        await self._import(driver, driver.balance_minor + 50 * _SOM)
        await self._pay(driver, 200 * _SOM, {})

    async def _settle(self) -> None:
        """Waits until nothing is pending; the time it takes is the lag after everything."""
        began = time.monotonic()

        async def done() -> bool:
            return (await self.calls.command("sync", "status", "--json"))["pending"] == 0

        await wait_until(done, "changes are still not in Supabase")
        self.calls.say(
            f"Supabase has everything {time.monotonic() - began:.1f} s after the last change"
        )

    async def _compare(self, driver: Driver) -> None:
        urls = self.evpower.urls()
        own = {"apikey": urls.publishable_key, "Authorization": f"Bearer {driver.token}"}
        rows = await self.calls.fetch(
            "GET", f"{urls.supabase}/rest/v1/clients?select=*", headers=own
        )
        require(
            rows.is_success and len(rows.json()) == 1,
            f"a driver must see exactly their own row in Supabase: {rows.text[:200]}",
        )
        theirs = round(float(rows.json()[0]["balance"]) * _SOM)
        balance = await self.calls.api("GET", f"/api/v1/balance/{driver.client_id}", driver)
        ours = round(balance["balance"] * _SOM)
        require(
            ours == theirs == driver.balance_minor,
            f"{driver.email}: expected {driver.balance_minor}, EvPower {ours}, Supabase {theirs}",
        )
        money = f"/api/v1/balance/history/{driver.client_id}?limit=500"
        await self._see(driver)
        history = await self.calls.api("GET", money, driver)
        require(
            len(history) == driver.transactions,
            f"{driver.email}: {len(history)} transactions instead of {driver.transactions}",
        )
        charges = f"/api/v1/charging/history/{driver.client_id}?limit=500"
        sessions = await self.calls.api("GET", charges, driver)
        require(
            len(sessions) == driver.sessions,
            f"{driver.email}: {len(sessions)} sessions instead of {driver.sessions}",
        )

    async def _see(self, driver: Driver) -> None:
        live = driver.live
        assert live is not None  # noqa: S101 - every driver arrived

        async def shown() -> bool:
            return live.balance_minor == driver.balance_minor

        await wait_until(shown, f"{driver.email}: the live socket shows {live.balance_minor}")
        require(live.in_order and not live.strangers, f"{driver.email}: wrong live frames")

    async def _prove(self) -> None:
        check = await self.calls.command("sync", "check", "--json")
        ledger = await self.calls.command("ledger", "verify", "--json")
        status = await self.calls.command("sync", "status", "--json")
        total = sum(driver.balance_minor for driver in self.drivers)
        self.calls.say(
            f"{len(self.drivers)} drivers, {self.counts.topups} top-ups "
            f"({self.counts.webhooks_repeated} with repeated, {self.counts.webhooks_late} with "
            f"late webhooks), {self.counts.sessions} sessions, each sent twice and charged once"
        )
        self.calls.say(f"Balances: {total / _SOM:.2f} som in EvPower, the same in Supabase")
        frames = sum(driver.live.frames for driver in self.drivers if driver.live)
        self.calls.say(f"The same on every live socket, after {frames} frames in order")
        self.calls.say(
            f"Commit to Supabase: p50 {status['lag_p50_ms']} ms, "
            f"p99 {status['lag_p99_ms']} ms (the outage included)"
        )
        self.calls.say(f"sync check: {check['clients']} clients, drift {check['drift']}")
        self.calls.say(
            f"ledger verify: {ledger['transactions']} transactions, {ledger['discrepancies']} wrong"
        )
        require(check["drift"] == 0 and ledger["discrepancies"] == 0, "the two sides are not equal")
        self.console.print("Equal to the last tyiyn.", style="bold green")

    async def _stay(self) -> None:
        urls = self.evpower.urls()
        self.calls.say(
            f"Still running: EvPower {urls.api}, docs {urls.api}/docs, Supabase {urls.supabase}"
        )
        self.calls.say(f"The first driver: {self.drivers[0].email} / {self.drivers[0].password}")
        self.calls.say(urls.to_json())
        self.calls.say("Ctrl-C ends everything")
        await self.evpower.stack.watch()

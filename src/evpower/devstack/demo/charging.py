"""Drivers charge at simulated stations, whatever goes wrong there, and pay for what they got."""

import asyncio
import tempfile
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from evpower.devstack.demo.calls import Calls, require, wait_until
from evpower.devstack.demo.chargers import (
    CONNECTORS,
    WAITS,
    Charger,
    make_charger,
    new_car,
    plan_of,
    running,
    station_id,
    stations_csv,
)
from evpower.devstack.demo.driver import Driver

_PRICE_SOM: Final = "13.5"
_TYIYN_PER_KWH: Final = 1350
_LIMIT_KWH: Final = 10
_LIMIT_SOM: Final = 120
_ENOUGH_KWH: Final = 9.0  # so much is charged before a driver stops
_ENOUGH_AT_A_SLOW_ONE_KWH: Final = 0.05
_FREE_BELOW_WH: Final = 500
_UNKNOWN_CARD: Final = "04DEADBEEF"
_PLANNED: Final = ("billed", "free", "quarantined", "unattributed")


class Charging:
    """Every driver charges once; the counts the plan foresees are compared with EvPower's."""

    def __init__(self, calls: Calls, drivers: Sequence[Driver]) -> None:
        self._calls = calls
        self._drivers = drivers
        self._count = -(-len(drivers) // CONNECTORS)
        self._chargers: list[Charger] = []
        self._together: list[asyncio.Barrier] = []
        self._planned: Counter[str] = Counter()
        self._delivered_wh = 0

    async def run(self) -> None:
        """Adds the stations, charges, and compares. Raises DemoFailed."""
        waits = ", ".join(
            f"{name.removeprefix('EVPOWER_')}={value}" for name, value in WAITS.items()
        )
        self._calls.say(f"Waits are short here: {waits}")
        await self._add_stations()
        async with running(self._chargers):
            await wait_until(self._are_online, "the stations are not online")
            self._calls.say(
                f"{self._count} stations of {CONNECTORS} connectors are online; each has its own"
                f" trouble: {', '.join(sorted({charger.plan for charger in self._chargers}))}"
            )
            makes = {charger.persona for charger in self._chargers} - {"plain"}
            self._calls.say(f"Among them are stations of the field: {', '.join(sorted(makes))}")
            await self._calls.each(
                self._drivers, "Charge, and pay for what was delivered", self._charge,
                at_once=len(self._drivers),
            )  # fmt: skip
            await self._charge_unknown_card()
        await self._compare()

    async def _add_stations(self) -> None:
        url = self._calls.evpower.urls().ocpp
        await self._calls.command(
            "station", "add", station_id(0), "--location", "Demo", "--simulator", "--no-auth",
            f"--connectors={CONNECTORS}", "--power-kw=1200", f"--price-som={_PRICE_SOM}", "--json",
        )  # fmt: skip
        passwords: dict[int, str] = {}
        imported: list[int] = []
        for number in range(1, self._count):
            if plan_of(number) != "second_socket":
                imported.append(number)
                continue
            added = await self._calls.command(
                "station", "add", station_id(number), "--location", "Demo", "--simulator",
                f"--connectors={CONNECTORS}", "--power-kw=1200", "--json",
            )  # fmt: skip
            passwords[number] = added["password"]
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "demo.csv"
            file.write_text(stations_csv(imported))
            await self._calls.command("station", "import", str(file), "--json")
            plan = Path(folder) / "demo.json"
            plan.write_text(
                '{"plan": "demo", "name": "Demo",'
                f' "elements": [{{"prices": {{"energy_per_kwh": "{_PRICE_SOM}"}}}}]}}'
            )
            await self._calls.command("tariff", "save", str(plan), "--json")
        await self._calls.command("tariff", "assign", "demo", "--everywhere", "--json")
        self._chargers = [
            make_charger(number, url, passwords.get(number)) for number in range(self._count)
        ]
        for number in range(self._count):
            drivers = len(self._drivers[number * CONNECTORS : (number + 1) * CONNECTORS])
            self._together.append(asyncio.Barrier(drivers))

    async def _are_online(self) -> bool:
        for charger in self._chargers:
            shown = await self._calls.api("GET", f"/api/v1/station/status/{charger.id}")
            if not shown["online"] or not shown["available_for_charging"]:
                return False
        return True

    async def _charge(self, driver: Driver) -> None:
        place = self._drivers.index(driver)
        charger, together = self._chargers[place // CONNECTORS], self._together[place // CONNECTORS]
        connector = place % CONNECTORS + 1
        charger.station.plug_in(connector, new_car())
        body: dict[str, Any] = {"station_id": charger.id, "connector_id": connector}
        if charger.plan == "energy_limit":
            body["energy_kwh"] = _LIMIT_KWH
        if charger.plan == "amount_limit":
            body["amount_som"] = _LIMIT_SOM
        started = await self._calls.api("POST", "/api/v1/charging/start", driver, body=body)
        session = str(started["session_id"])
        await self._wait_energy(driver, session, charger)
        await together.wait()
        if connector == 1:
            await charger.misbehave()
        await together.wait()
        ends_itself = charger.plan in {
            "energy_limit", "amount_limit", "power_cut", "station_fault"
        }  # fmt: skip
        if not ends_itself:
            await self._calls.api(
                "POST", "/api/v1/charging/stop", driver, body={"session_id": session}
            )
        await self._check_bill(driver, session, charger, connector)
        charger.station.unplug(connector)

    async def _wait_energy(self, driver: Driver, session: str, charger: Charger) -> None:
        enough_kwh = _ENOUGH_AT_A_SLOW_ONE_KWH if charger.is_slow else _ENOUGH_KWH

        async def charged() -> bool:
            status = await self._status(driver, session)
            require(status["status"] != "error", f"{charger.id}: {status['message']}")
            return status["status"] == "stopped" or status["energy_consumed"] >= enough_kwh

        await wait_until(charged, f"{charger.id} ({charger.plan}): no energy came")

    async def _status(self, driver: Driver, session: str) -> dict[str, Any]:
        answer: dict[str, Any] = await self._calls.api(
            "GET", f"/api/v1/charging/status/{session}", driver
        )
        return answer

    async def _check_bill(
        self, driver: Driver, session: str, charger: Charger, connector: int
    ) -> None:
        where = f"{charger.id} connector {connector} ({charger.plan}, {charger.persona})"

        async def is_billed() -> bool:
            return (await self._status(driver, session))["status"] == "stopped"

        await wait_until(is_billed, f"{where}: no bill came")
        transactions = [t for t in charger.station.transactions if t.connector == connector]
        require(len(transactions) == 1, f"{where}: {len(transactions)} transactions")
        delivered_wh = transactions[0].delivered_wh
        require(delivered_wh is not None, f"{where}: the station goes on")
        assert delivered_wh is not None  # noqa: S101 - just required
        status = await self._status(driver, session)
        billed_wh = round(status["energy_consumed"] * 1000)
        cost_minor = round(status["cost"] * 100)
        full_minor = (delivered_wh * _TYIYN_PER_KWH + 500) // 1000
        if charger.plan == "impossible_register":
            self._planned["quarantined"] += 1
            require(0 < billed_wh <= delivered_wh, f"{where}: {billed_wh} Wh of {delivered_wh}")
            expected_minor = (billed_wh * _TYIYN_PER_KWH + 500) // 1000
        else:
            require(billed_wh == delivered_wh, f"{where}: {billed_wh} Wh of {delivered_wh}")
            is_free = charger.plan == "station_fault" and delivered_wh < _FREE_BELOW_WH
            self._planned["free" if is_free else "billed"] += 1
            expected_minor = 0 if is_free else full_minor
            if charger.plan == "amount_limit":
                expected_minor = min(full_minor, _LIMIT_SOM * 100)
        require(
            cost_minor == expected_minor,
            f"{where}: {cost_minor} tyiyn instead of {expected_minor} for {billed_wh} Wh",
        )
        self._delivered_wh += delivered_wh
        driver.charged(cost_minor)

    async def _charge_unknown_card(self) -> None:
        """Charges with a card that no client has: it is recorded, stopped, and billed to no one."""
        charger = self._chargers[0]
        charger.station.faults.skip.add("Authorize")
        charger.station.plug_in(1, new_car())
        with suppress(TimeoutError):
            async with asyncio.timeout(20):
                await charger.station.start_by_card(_UNKNOWN_CARD)
        self._planned["unattributed"] += 1

        async def is_over() -> bool:
            await asyncio.sleep(0.1)
            newest = charger.station.transactions[-1]
            return newest.id_tag == _UNKNOWN_CARD and newest.delivered_wh is not None

        await wait_until(is_over, "an unknown card goes on charging")
        charger.station.unplug(1)
        await charger.station.wait_sent()

    async def _compare(self) -> None:
        """Compares what the plan foresees with what EvPower has."""
        rows = await self._calls.list_of("session", "list", "--limit=10000", "--json")
        counts: Counter[str] = Counter()
        for row in rows:
            require(row["state"] == "settled", f"session {row['id']} is {row['state']}")
            if row["quarantine_reason"] is not None:
                counts["quarantined"] += 1
            elif row["free_reason"] is not None:
                counts["free"] += 1
            else:
                counts["billed"] += 1
        unknown = await self._calls.list_of("session", "unattributed", "--json")
        counts["unattributed"] = len(unknown)
        for name in _PLANNED:
            require(
                counts[name] == self._planned[name],
                f"{counts[name]} sessions are {name}, {self._planned[name]} were planned",
            )
        violations = [
            f"{charger.id}: {text}"
            for charger in self._chargers
            for text in charger.station.violations
        ]
        require(not violations, f"what EvPower sent is against the protocol: {violations[:3]}")
        shown = ", ".join(f"{counts[name]} {name}" for name in _PLANNED)
        self._calls.say(
            f"{len(rows)} sessions, {self._delivered_wh / 1000:.3f} kWh by the stations' own"
            f" meters: {shown}, each as planned"
        )

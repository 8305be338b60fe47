"""A whole stack, stations that an operator adds, and drivers with an app who charge at them."""

import asyncio
import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import asyncpg
import httpx
from websockets.asyncio.client import ClientConnection, connect

from evpower.devstack import children
from evpower.devstack.local import LocalEvPower, running
from evpower.simulator import Car, SimulatedStation, StationConfig, make_station
from tests.conftest import as_owner
from tests.faults.driver import Driver
from tests.waiting import COMMAND_S, WAIT_LIMIT_S, until

PRICE_SOM = Decimal("13.5")
POWER_KW = 6000  # far more than a car draws: what a charge delivers is plausible
LEAST_WH = 50  # of a charge that runs: two samples, as a car draws 42 Wh in a second
# No test waits for a station to settle.
QUICK = {
    "EVPOWER_CHARGING_FIRST_FRAME_WAIT_S": "0.5",
    "EVPOWER_CHARGING_SETTLE_AFTER_CONNECT_S": "0.1",
}


def quick_car() -> Car:
    """Draws the 500 Wh below which a faulty station's charge is free in 3 s."""
    return Car(battery_wh=600_000, max_power_w=600_000)


def cost_minor(energy_wh: int) -> int:
    """What this energy costs, in tyiyn."""
    exact = PRICE_SOM * 100 * energy_wh / 1000
    return int(exact.to_integral_value(ROUND_HALF_UP))


def minor(som: float) -> int:
    """A number of an answer, in tyiyn."""
    return round(som * 100)


class Phone(Driver):
    """A driver's app: the API's calls, and every message of the live socket."""

    def __init__(self, evpower: LocalEvPower, http: httpx.AsyncClient, api: str = "") -> None:
        super().__init__(evpower, http)
        self.api = api or self.urls.api
        self.messages: list[dict[str, Any]] = []

    async def call(self, method: str, path: str, body: Any = None) -> httpx.Response:
        return await self.http.request(
            method, self.api + path, json=body, headers={"Authorization": f"Bearer {self._token}"}
        )

    async def top_up(self, som: int) -> None:
        await self.approve(await self.open_invoice(som))
        await until(lambda: self.has_balance(som), f"the balance never was {som} som")

    async def has_balance(self, som: float) -> bool:
        return (await self.balance())["balance"] == som

    async def balance(self) -> dict[str, Any]:
        answer = await self.call("GET", f"/api/v1/balance/{self.client_id}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def start(self, station: str, connector: int = 1, **limits: Any) -> dict[str, Any]:
        body = {"station_id": station, "connector_id": connector, **limits}
        answer = await self.call("POST", "/api/v1/charging/start", body)
        assert answer.status_code == 200, answer.text
        assert answer.json()["success"] is True, answer.text
        return answer.json()

    async def stop(self, session_id: str) -> dict[str, Any]:
        answer = await self.call("POST", "/api/v1/charging/stop", {"session_id": session_id})
        assert answer.status_code == 200, answer.text
        assert answer.json()["success"] is True, answer.text
        return answer.json()

    async def status(self, session_id: str) -> dict[str, Any]:
        answer = await self.call("GET", f"/api/v1/charging/status/{session_id}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def history(self) -> list[dict[str, Any]]:
        answer = await self.call("GET", f"/api/v1/charging/history/{self.client_id}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def money(self) -> list[dict[str, Any]]:
        answer = await self.call("GET", f"/api/v1/balance/history/{self.client_id}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def charges_wh(self, session_id: str, least_wh: int = 1) -> None:
        """Waits until the status shows this much energy."""

        async def is_shown() -> bool:
            return (await self.status(session_id))["energy_consumed"] * 1000 >= least_wh

        await until(is_shown, f"the status never showed {least_wh} Wh")

    async def is_billed(self, session_id: str) -> bool:
        return (await self.status(session_id))["status"] == "stopped"

    @asynccontextmanager
    async def listening(self) -> AsyncGenerator[None]:
        """Collects what the live socket sends."""
        url = f"{self.api.replace('http', 'ws', 1)}/api/v1/ws"
        async with connect(url, proxy=None, open_timeout=WAIT_LIMIT_S) as socket:
            await socket.send(json.dumps({"type": "auth", "token": self._token}))
            task = asyncio.create_task(self._listen(socket))
            await until(lambda: self.of_type("balance_update"), "the live socket sent no balance")
            try:
                yield
            finally:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task

    def of_type(self, kind: str) -> list[dict[str, Any]]:
        return [message for message in self.messages if message["type"] == kind]

    async def _listen(self, socket: ClientConnection) -> None:
        async for text in socket:
            self.messages.append(json.loads(text))


@dataclass
class Site:
    """A running stack whose operator adds stations."""

    evpower: LocalEvPower
    http: httpx.AsyncClient

    @property
    def socket_url(self) -> str:
        """Where stations connect, without their id."""
        return f"{self.evpower.api_url.replace('http', 'ws', 1)}/ocpp"

    async def run(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """Runs `evpower <words>` with the stack's settings."""
        return await asyncio.wait_for(
            children.run(
                [sys.executable, "-m", "evpower", *words],
                env=self.evpower.environment(),
                fold=False,
            ),
            COMMAND_S,
        )

    async def command(self, *words: str) -> Any:
        """Runs `evpower <words>`; returns its JSON."""
        done = await self.run(*words, "--json")
        assert done.stdout, done.stderr
        return json.loads(done.stdout)

    async def command_lines(self, *words: str) -> list[Any]:
        """Runs `evpower <words>`; returns the JSON of each line."""
        done = await self.run(*words)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    async def add_station(
        self, station_id: str, *options: str, power_kw: int = POWER_KW
    ) -> dict[str, Any]:
        """Adds one without a password, with a price; returns what the command prints."""
        added: dict[str, Any] = await self.command(
            "station", "add", station_id, "--location", "Mall", f"--power-kw={power_kw}",
            f"--price-som={PRICE_SOM}", "--no-auth", "--simulator", *options,
        )  # fmt: skip
        return added

    async def add_stations(self, station_ids: Sequence[str], *, power_kw: int = POWER_KW) -> None:
        """Adds many without a password, with one connector and one price."""
        lines = ["station,location_name,connector,standard,power_kw,no_auth,simulated"]
        lines += [f"{name},Mall,1,IEC_62196_T2_COMBO,{power_kw},true,true" for name in station_ids]
        tariff = {
            "plan": "site", "name": "Site",
            "elements": [{"prices": {"energy_per_kwh": str(PRICE_SOM)}}],
        }  # fmt: skip
        with tempfile.TemporaryDirectory() as folder:
            stations, plan = Path(folder) / "stations.csv", Path(folder) / "plan.json"
            stations.write_text("\n".join(lines) + "\n")
            plan.write_text(json.dumps(tariff))
            await self.command("station", "import", str(stations))
            await self.command("tariff", "save", str(plan))
        await self.command("tariff", "assign", "site", "--everywhere")

    def station(
        self,
        station_id: str,
        *,
        url: str = "",
        persona: str = "plain",
        power_kw: int = POWER_KW,
        **config: Any,
    ) -> SimulatedStation:
        """A station in this process, that samples each second."""
        station = make_station(
            StationConfig(
                station_id, url or self.socket_url, rated_power_w=power_kw * 1000, **config
            ),
            persona,
        )
        station.configuration.set("MeterValueSampleInterval", "1")
        return station

    async def driver(self, som: int = 500) -> Phone:
        """Signed up, with money paid in."""
        phone = Phone(self.evpower, self.http)
        await phone.sign_up()
        if som:
            await phone.top_up(som)
        return phone

    async def rows(self, query: str, *values: object) -> list[asyncpg.Record]:
        """What EvPower's database has."""
        return await _rows(as_owner(self.evpower.urls().database_url), query, *values)

    async def supabase_rows(self, query: str, *values: object) -> list[asyncpg.Record]:
        """What Supabase has."""
        return await _rows(self.evpower.urls().supabase_database_url, query, *values)


async def _rows(dsn: str, query: str, *values: object) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetch(query, *values)
    finally:
        await connection.close()


@asynccontextmanager
async def running_site(folder: Path, **options: Any) -> AsyncGenerator[Site]:
    """Yields the stack; `options` as of LocalEvPower."""
    settings: Mapping[str, str] = QUICK | options.pop("environment", {})
    async with (
        httpx.AsyncClient(timeout=WAIT_LIMIT_S, trust_env=False) as http,
        running(LocalEvPower(folder / "data", environment=settings, **options)) as evpower,
    ):
        yield Site(evpower, http)

"""`evpower serve` as a process of its own that a test may kill, and stations at its socket."""

import asyncio
import contextlib
import os
import random
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from evpower import charging, stations, tariffs, wallet
from evpower.charging import StartRequest
from evpower.foundation.db import Connection, Database
from evpower.foundation.failpoints import Failpoint
from tests.faults.serving import free_port
from tests.ocpp.scenario import V16, Station, basic
from tests.stations.scenario import draft
from tests.waiting import COMMAND_S, WAIT_LIMIT_S, until
from tests.wallet.scenario import Scenario

TARIFF = {"name": "Usual", "elements": [{"prices": {"energy_per_kwh": "10"}}]}
POWER_W = 360_000
_COMMAND = 2  # the type of a message
_CONFIGURATION = "GetConfiguration"
_PREPARING = {"connectorId": 1, "status": "Preparing", "errorCode": "NoError"}
_NO_KEYS: dict[str, object] = {"configurationKey": []}
_NOWHERE = "http://127.0.0.1:9"  # Supabase, which no charge needs


@dataclass
class Serving:
    """The process, its database, and a clock that both sides have."""

    db: Database
    owner: Connection
    dsn: str
    folder: Path
    port: int
    ahead_s: float = 0
    process: Process | None = None

    def now(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self.ahead_s)

    def later(self, minutes: float) -> None:
        """Turns the clock: energy takes time."""
        self.ahead_s += minutes * 60
        self._put("clock", str(self.ahead_s))

    async def start(self) -> None:
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("EVPOWER")},
            "EVPOWER_ENV": "development", "EVPOWER_DATABASE_URL": self.dsn,
            "EVPOWER_PORT": str(self.port), "EVPOWER_SUPABASE_URL": _NOWHERE,
            "EVPOWER_SUPABASE_SECRET_KEY": "sb_secret_of_no_project",
            "EVPOWER_SUPABASE_PUBLISHABLE_KEY": "sb_publishable_of_no_project",
            "EVPOWER_CHARGING_FIRST_FRAME_WAIT_S": "0",
            "EVPOWER_CHARGING_SETTLE_AFTER_CONNECT_S": "0",
            "EVPOWER_FAILPOINT_FILE": str(self.folder / "failpoint"),
            "EVPOWER_CLOCK_FILE": str(self.folder / "clock"),
        }  # fmt: skip
        with (self.folder / "serve.log").open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "evpower", "serve", env=environment, cwd=self.folder,
                stdout=log, stderr=log,
            )  # fmt: skip
        await until(self._is_alive, within_s=COMMAND_S)

    async def _is_alive(self) -> bool:
        assert self.process is not None
        assert self.process.returncode is None, (self.folder / "serve.log").read_text()
        with contextlib.suppress(httpx.TransportError):
            async with httpx.AsyncClient(trust_env=False, timeout=WAIT_LIMIT_S) as http:
                return (await http.get(f"http://127.0.0.1:{self.port}/healthz")).is_success
        return False

    def kill_at(self, step: Failpoint) -> None:
        """Names the step at which it dies."""
        assert self.process is not None
        self._put("failpoint", f"{step.value} {self.process.pid}")

    async def restart(self, step: Failpoint) -> None:
        """Waits until it is dead, and starts it again."""
        assert self.process is not None
        code = await asyncio.wait_for(self.process.wait(), WAIT_LIMIT_S)
        assert code == -signal.SIGKILL, f"it was not killed at {step}"
        await self.start()

    async def stop(self) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()

    def _put(self, name: str, text: str) -> None:
        half_done = self.folder / f"{name}.new"
        half_done.write_text(text)
        half_done.replace(self.folder / name)


@dataclass
class Charge:
    """A driver with a card and 1000 som at a station of their own, whose frames may be repeated."""

    serving: Serving
    station_id: str
    password: str
    client: UUID
    card: str
    wire: Station | None = None
    opened: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)

    @property
    def station(self) -> Station:
        assert self.wire is not None
        return self.wire

    async def open(self) -> None:
        """Connects, again after the server died."""
        await self.opened.aclose()
        socket = await self.opened.enter_async_context(
            connect(
                f"ws://127.0.0.1:{self.serving.port}/ocpp/{self.station_id}",
                additional_headers={"Authorization": basic(self.station_id, self.password)},
                subprotocols=[V16], compression=None, ping_interval=None, close_timeout=1,
                open_timeout=WAIT_LIMIT_S, proxy=None,
            )
        )  # fmt: skip
        self.wire = Station(socket)

    def stamp(self) -> str:
        return self.serving.now().isoformat().replace("+00:00", "Z")

    def start(self, tag: str = "") -> tuple[str, dict[str, Any]]:
        payload = {"connectorId": 1, "idTag": tag or self.card, "meterStart": 0}
        return "StartTransaction", payload | {"timestamp": self.stamp()}

    def values(self, transaction: int, energy_wh: int) -> tuple[str, dict[str, Any]]:
        entry = {"timestamp": self.stamp(), "sampledValue": [{"value": str(energy_wh)}]}
        payload = {"connectorId": 1, "transactionId": transaction, "meterValue": [entry]}
        return "MeterValues", payload

    def end(self, transaction: int, energy_wh: int) -> tuple[str, dict[str, Any]]:
        payload = {"transactionId": transaction, "meterStop": energy_wh, "reason": "Local"}
        return "StopTransaction", payload | {"timestamp": self.stamp()}

    async def send(self, frame: tuple[str, dict[str, Any]], message_id: str = "") -> Any:
        return await self.station.call(*frame, message_id or uuid4().hex)

    async def send_killed_at(self, step: Failpoint, frame: tuple[str, dict[str, Any]]) -> Any:
        """The server dies at a frame, which the station then sends again, and again as a new one.

        Returns the answers, which are one.
        """
        message_id = uuid4().hex
        self.serving.kill_at(step)
        await self.station.send([_COMMAND, message_id, *frame])
        with contextlib.suppress(ConnectionClosed):
            while True:
                assert (await self.station.receive())[1] != message_id, "it was answered"
        await self.serving.restart(step)
        assert await self.was_stored(message_id)
        await self.open()
        answers = [await self.send(frame, each) for each in (message_id, message_id, uuid4().hex)]
        assert answers[1:] == answers[:-1]
        return answers[0]

    async def was_stored(self, message_id: str) -> bool:
        """Whether a request was stored with its answer."""
        return await self.serving.owner.fetchval(
            "select array_agg(direction order by direction) = '{in,out}' from ocpp.frames"
            " where station_id = $1 and message_id = $2",
            self.station_id,
            message_id,
        )

    async def request(self, **limits: Any) -> str:
        """Starts by app. Returns the session's tag."""
        async with self.serving.db.transaction() as connection:
            started = await charging.start(
                connection, StartRequest(self.client, self.station_id, 1, **limits),
                now=self.serving.now(),
            )  # fmt: skip
        await self.send(("StatusNotification", _PREPARING))  # whose news has the command sent
        return await self.serving.owner.fetchval(
            "select id_tag from charging.sessions where id = $1", started.session_id
        )

    async def reply(
        self, action: str, status: str = "Accepted", *, killed_at: Failpoint | None = None
    ) -> None:
        """Waits for a command and replies to it; the server asks for the configuration, too."""
        while True:
            message = await self.station.receive()
            if message[0] != _COMMAND:
                continue
            is_it = message[2] == action
            if is_it and killed_at is not None:
                self.serving.kill_at(killed_at)
            usual: dict[str, object] = {"status": status}
            response = _NO_KEYS if message[2] == _CONFIGURATION else usual
            await self.station.send([3, message[1], response])
            if is_it:
                return

    async def commands(self) -> list[str]:
        """The actions of all commands that a charge needs."""
        rows = await self.serving.owner.fetch(
            "select action from stations.commands where station_id = $1 and action like 'remote%'"
            " order by id",
            self.station_id,
        )
        return [row["action"] for row in rows]

    async def bills(self) -> list[int]:
        """The energy of each bill."""
        rows = await self.serving.owner.fetch(
            "select b.energy_wh from charging.settlements b join charging.sessions s"
            " on s.id = b.session_id where s.client_id = $1 and b.bill_number is not null"
            " order by b.bill_number",
            self.client,
        )
        return [row["energy_wh"] for row in rows]

    async def has_state(self, state: str) -> bool:
        """Whether the only session of the driver is so."""
        rows = await self.serving.owner.fetch(
            "select state from charging.sessions where client_id = $1", self.client
        )
        return [row["state"] for row in rows] == [state]

    async def is_paid(self, *energies_wh: int) -> None:
        """One session with these bills: the newest is what was paid, and nothing is on hold."""
        bills = await self.bills()
        assert bills == list(energies_wh), bills
        assert not energies_wh or await self.has_state("settled")
        rows = await self.serving.owner.fetch(
            "select balance_minor, held_minor from wallet.wallets where client_id = $1", self.client
        )
        left_minor = 1000_00 - (energies_wh[-1] if energies_wh else 0)
        assert [tuple(row) for row in rows] == [(left_minor, 0)], rows
        assert (await wallet.verify(self.serving.db)).count == 0


async def set_price(serving: Serving) -> None:
    """1 Wh costs 1 tyiyn, everywhere."""
    yesterday = serving.now() - timedelta(days=1)
    async with serving.db.transaction() as connection:
        await tariffs.save(
            connection, plan="usual", document=TARIFF, valid_from=yesterday, now=yesterday,
            actor="aida",
        )  # fmt: skip
        await tariffs.assign(
            connection, plan="usual", scope="everything", scope_id="", valid_from=yesterday,
            now=yesterday, actor="aida",
        )  # fmt: skip


@contextlib.asynccontextmanager
async def charge_at(serving: Serving, station_id: str) -> AsyncGenerator[Charge]:
    """Adds a station and a driver with a card; the station is connected and has booted."""
    async with serving.db.transaction() as connection:
        added = await stations.add_station(
            connection, draft(station_id, connectors=(stations.usual_connector(1, POWER_W),)),
            now=serving.now(), actor="aida",
        )  # fmt: skip
    assert added.password is not None
    client = await Scenario(serving.owner).topped_up(1000_00)
    card = f"04{random.randbytes(6).hex().upper()}"
    async with serving.db.transaction() as connection:
        await charging.add_card(connection, tag=card, client_id=str(client), actor="aida")
    charge = Charge(serving, station_id, added.password, client, card)
    await charge.open()
    try:
        await charge.station.boot()
        yield charge
    finally:
        await charge.opened.aclose()


@contextlib.asynccontextmanager
async def serving_stations(
    db: Database, owner: Connection, dsn: str, folder: Path
) -> AsyncGenerator[Serving]:
    """Starts the process on a database."""
    with free_port() as port:
        serving = Serving(db, owner, dsn, folder, port)
        await set_price(serving)
    try:
        await serving.start()
        yield serving
    finally:
        await serving.stop()

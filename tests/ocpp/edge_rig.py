"""A simulated station, its driver and the server, in one time that a test turns."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID

from evpower import charging, stations, tariffs
from evpower.charging import StartRequest, jobs
from evpower.charging.due import find_due, watch_transaction
from evpower.charging.request_stop import StopRequest, request_stop
from evpower.charging.rules import DEFAULT_RULES
from evpower.foundation.db import Connection, Database
from evpower.foundation.errors import EvPowerError
from evpower.ocpp.module import Times
from evpower.simulator import Faults, SimulatedStation, StationConfig
from tests.ocpp.scenario import Central, OcppPayload, running
from tests.simulator.turned_clock import TurnedClock
from tests.waiting import until
from tests.wallet.scenario import Scenario

STATION = "EVP-001"
POWER_W = 22_000  # of each connector, in the operator's data and in the station
PRICE_SOM = 10  # of a kWh: a Wh costs 1 tyiyn
BALANCE = 1000_00
NEVER_S = 1e6  # no reply is late, however far a test turns the clock
REPLY_S = 0.3  # in real time, where a test waits for a reply that never comes
_STEP_S = 30.0
_LATE = "a reply to no request"  # the clock was turned beyond what the station waits


@dataclass
class EdgeRig:
    """Wh, tyiyn; the driver begins with 1,000 som."""

    central: Central
    clock: TurnedClock
    station: SimulatedStation
    client: UUID
    ids: list[str] = field(default_factory=list[str])

    async def advance(self, seconds: float) -> None:
        """Turns the clock in steps; after each the station sends what it has, and jobs run."""
        while seconds > 0:
            await self.clock.advance(min(_STEP_S, seconds))
            seconds -= _STEP_S
            await self.settled()

    async def settled(self) -> None:
        """What the station and the server have to say to each other was said."""
        await until(self.is_quiet)
        await self.central.parts.sockets.touch()
        await self.run_jobs()
        await until(self.is_quiet)

    async def is_quiet(self) -> bool:
        if not self.station.is_online:
            return True
        waits = "select exists (select from stations.commands where state in ('queued', 'sent'))"
        return not self.station.queued and not await self.value(waits)

    async def run_jobs(self) -> None:
        """A round of each loop of charging."""
        db, bus = self.central.db, self.central.bus
        await jobs.give_up_undelivered_starts(db, bus, self.clock)
        await jobs.expire_starts(db, bus, self.clock)
        async with db.connection() as connection:
            due = await find_due(connection, self.clock(), DEFAULT_RULES)
        for item in due:
            async with db.transaction() as connection:
                changes = await watch_transaction(connection, item, now=self.clock())
            changes.publish(bus)

    async def online(self) -> None:
        """The pause before the next connection is over, and it is made."""

        async def is_online() -> bool:
            await self.clock.advance(2)
            return self.station.is_online

        await until(is_online)
        await self.settled()

    async def request(self, connector: int = 1, **limits: Any) -> UUID:
        """Starts by app. Returns the session."""
        async with self.central.db.transaction() as connection:
            started = await charging.start(
                connection, StartRequest(self.client, STATION, connector, **limits),
                now=self.clock(),
            )  # fmt: skip
        self.central.bus.publish(stations.STATION_CHANGED, stations.station_key(STATION))
        return started.session_id

    async def refusal(self) -> str:
        """The code with which a start by app is refused."""
        try:
            await self.request()
        except EvPowerError as error:
            return error.code
        return ""

    async def charge(self, minutes: float = 3, **limits: Any) -> UUID:
        """Plugs in, starts by app and charges. Returns the session."""
        self.station.plug_in()
        session = await self.request(**limits)
        await until(lambda: self.station.transactions)
        await self.settled()
        await self.advance(minutes * 60)
        return session

    async def ask_to_stop(self, session: UUID) -> None:
        """The driver stops."""
        async with self.central.db.transaction() as connection:
            request = StopRequest(session, self.client, "driver")
            requested = await request_stop(connection, request, now=self.clock())
        requested.changes.publish(self.central.bus)
        await self.settled()

    async def send(self, action: str, payload: OcppPayload, message_id: str = "") -> OcppPayload:
        """Sends a request over the station's present socket; returns the payload of the answer."""
        assert self.station.link is not None
        self.ids.append(message_id or f"more-{len(self.ids)}")
        return await self.station.link.call(action, payload, self.ids[-1])

    def stamp(self, back: timedelta = timedelta()) -> str:
        return (self.clock() - back).strftime("%Y-%m-%dT%H:%M:%SZ")

    @property
    def delivered_wh(self) -> int:
        """What the first transaction delivered by the station's own meter, once it ended."""
        return self.station.transactions[0].delivered_wh or 0

    async def value(self, query: str, *values: object) -> Any:
        async with self.central.db.connection() as connection:
            return await connection.fetchval(query, *values)

    async def session(self, session: UUID) -> dict[str, Any]:
        query = "select * from charging.sessions where id = $1"
        row = await self.central.owner.fetchrow(query, session)
        assert row is not None
        return dict(row)

    async def state(self, session: UUID) -> str:
        return (await self.session(session))["state"]

    async def bills(self) -> list[int]:
        """The energy of each bill of all sessions, the oldest first."""
        rows = await self.central.owner.fetch(
            "select energy_wh, total_minor from charging.settlements"
            " where bill_number is not null order by id"
        )
        assert all(row["total_minor"] == row["energy_wh"] for row in rows)
        return [row["energy_wh"] for row in rows]

    async def money(self) -> tuple[int, int]:
        """Balance and what is on hold, in tyiyn."""
        row = await self.central.owner.fetchrow(
            "select balance_minor, held_minor from wallet.wallets where client_id = $1", self.client
        )
        assert row is not None
        return row["balance_minor"], row["held_minor"]

    async def commands(self, action: str) -> list[str]:
        """The states of the commands of an action, the oldest first."""
        rows = await self.central.owner.fetch(
            "select state from stations.commands where action = $1 order by id", action
        )
        return [row["state"] for row in rows]

    async def alerts(self) -> set[str]:
        rows = await self.central.owner.fetch("select kind from alerts.alerts")
        return {row["kind"] for row in rows}

    async def transactions(self) -> list[tuple[str, str | None]]:
        """Purpose and kind of end of each, the oldest first."""
        rows = await self.central.owner.fetch(
            "select purpose, end_kind from charging.transactions order by id"
        )
        return [(row["purpose"], row["end_kind"]) for row in rows]


@contextlib.asynccontextmanager
async def edge_rig(
    db: Database,
    owner: Connection,
    faults: Faults | None = None,
    *,
    times: Times | None = None,
    no_auth: bool = True,
    command_reply_s: float = NEVER_S,
    **config: Any,
) -> AsyncGenerator[EdgeRig]:
    """`config`: of the station. It is connected and idle."""
    clock = TurnedClock()
    clock.now = datetime.now(UTC).replace(microsecond=0)
    async with running(
        db, owner, clock=clock, times=times, charging_first_frame_wait_s=0,
        charging_settle_after_connect_s=0, charging_command_reply_s=command_reply_s,
    ) as central:  # fmt: skip
        password = await central.add(STATION, no_auth=no_auth)
        await set_price(db, str(PRICE_SOM), clock() - timedelta(days=1))
        client = await Scenario(owner).topped_up(BALANCE)
        fields: dict[str, Any] = {
            "id": STATION, "url": f"{central.base}/ocpp", "rated_power_w": POWER_W,
            "reply_timeout_s": NEVER_S, "connectors": 2,
            "password": None if no_auth else password,
        }  # fmt: skip
        station = SimulatedStation(
            StationConfig(**(fields | config)), faults=faults, clock=clock, sleep=clock.sleep,
            random=Random(1),
        )  # fmt: skip
        stop = asyncio.Event()
        sending = asyncio.create_task(central.parts.dispatcher.loop().run(stop))
        rig = EdgeRig(central, clock, station, client)
        async with station.running():
            await until(lambda: station.is_online)
            await rig.settled()
            yield rig
            broken = [text for text in station.violations if not text.startswith(_LATE)]
            assert broken == []
        stop.set()
        await sending


async def is_billed_right(rig: EdgeRig) -> None:
    """One bill of what the station delivered, to the Wh, and nothing on hold."""
    assert await rig.bills() == [rig.delivered_wh]
    assert await rig.money() == (BALANCE - rig.delivered_wh, 0)


async def set_price(db: Database, som: str, at: datetime) -> None:
    """A kWh costs this everywhere from then on."""
    document = {"name": "Usual", "elements": [{"prices": {"energy_per_kwh": som}}]}
    async with db.transaction() as connection:
        await tariffs.save(
            connection, plan="usual", document=document, valid_from=at, now=at, actor="aida"
        )
        await tariffs.assign(
            connection, plan="usual", scope="everything", scope_id="", valid_from=at, now=at,
            actor="aida",
        )  # fmt: skip

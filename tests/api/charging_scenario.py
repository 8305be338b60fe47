"""A driver's phone and a station: the calls of the one, the reports of the other."""

from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import httpx

from evpower import charging, stations
from evpower.charging import Changes, StationReadings, StationStart, StationStop, StationTime
from evpower.charging.due import find_due, watch_transaction
from evpower.charging.rules import DEFAULT_RULES
from evpower.foundation.db import Connection
from evpower.stations import Command
from tests.api.scenario import Api, Headers, bearer
from tests.api.stations_scenario import Site
from tests.charging.money import top_up
from tests.charging.place import read

STATION = "EVP-1"
START, STOP, ACTIVE = (f"/api/v1/charging/{name}" for name in ("start", "stop", "active"))


@dataclass
class Ride:
    """One driver at one station."""

    api: Api
    owner: Connection
    site: Site
    client: UUID

    async def open(self, som: int = 1000, **values: Any) -> None:
        await self.site.price({"energy_per_kwh": "13.5", "flat": "5"})
        await self.site.ready(STATION, connectors=2, **values)
        if som:
            await top_up(self.owner, self.client, som * 100)

    async def start(self, headers: Headers | None = None, **body: Any) -> httpx.Response:
        body = {"station_id": STATION, "connector_id": 1, **body}
        return await self.api.post(START, headers or bearer(self.client), json=body)

    async def started(self, **body: Any) -> str:
        response = await self.start(**body)
        assert response.status_code == 200, response.text
        return response.json()["session_id"]

    async def stop(self, session: object, headers: Headers | None = None) -> httpx.Response:
        return await self.api.post(
            STOP, headers or bearer(self.client), json={"session_id": session}
        )

    async def status(self, session: str, headers: Headers | None = None) -> httpx.Response:
        return await self.api.get(
            f"/api/v1/charging/status/{session}", headers or bearer(self.client)
        )

    async def active(self, headers: Headers | None = None) -> httpx.Response:
        return await self.api.get(ACTIVE, headers or bearer(self.client))

    async def deliver(self) -> Command:
        """The station has its oldest queued command, and has not replied."""
        async with self.api.db.transaction() as connection:
            epoch = await connection.fetchval(
                "select epoch from stations.sockets_public where station_id = $1", STATION
            )
            claimed = await stations.claim_command(connection, STATION, epoch, self.api.clock())
        assert claimed is not None, "no command is queued"
        return claimed.command

    async def reply(self, command: Command, outcome: Any) -> None:
        """The station replies to a command."""
        now = self.api.clock()
        async with self.api.db.transaction() as connection:
            ended = await stations.end_command(connection, command.id, outcome, {}, now)
            assert ended is not None
            self.publish(await charging.command_ended(connection, ended, now=now))

    async def begin(self, session: str, meter_wh: int = 1000) -> int:
        """The station reports the start of a session; returns the transaction's number."""
        tag = await self.owner.fetchval(
            "select id_tag from charging.sessions where id = $1", UUID(session)
        )
        now = self.api.clock()
        report = StationStart(
            STATION, 1, tag, Decimal(meter_wh), None, StationTime(now, now.isoformat()), now
        )
        async with self.api.db.transaction() as connection:
            answer = await charging.start_transaction(connection, report, now=now)
        self.publish(answer.changes)
        return answer.transaction_id

    async def end(self, transaction: int, meter_wh: int, reason: str | None = "Remote") -> None:
        """The station reports the end of a transaction."""
        now = self.api.clock()
        report = StationStop(
            STATION, transaction, None, None, Decimal(meter_wh),
            StationTime(now, now.isoformat()), reason, (), (), now,
        )  # fmt: skip
        async with self.api.db.transaction() as connection:
            answer = await charging.stop_transaction(connection, report, now=now)
        self.publish(answer.changes)

    async def values(self, transaction: int, meter_wh: int) -> None:
        """The station reports its register."""
        now = self.api.clock()
        report = StationReadings(STATION, 1, transaction, None, (read(meter_wh, now),), (), now)
        async with self.api.db.transaction() as connection:
            self.publish(await charging.meter_values(connection, report, now=now))

    async def progress(self, session: str, **values: Any) -> None:
        """Writes what meter values would."""
        values = {"last_value_at": self.api.clock(), **values}
        names = ", ".join(f"{name} = ${number}" for number, name in enumerate(values, 2))
        await self.owner.execute(
            f"update charging.progress set revision = revision + 1, {names} where session_id = $1",
            UUID(session), *values.values(),
        )  # fmt: skip

    async def watch(self) -> None:
        """The job that watches what charges, until nothing is due."""
        now = self.api.clock()
        async with self.api.db.transaction() as connection:
            while due := await find_due(connection, now, DEFAULT_RULES):
                self.publish(await watch_transaction(connection, due[0], now=now))

    def publish(self, changes: Changes) -> None:
        changes.publish(self.api.bus)

    def forward(self, **delta: float) -> None:
        self.api.clock.ahead += timedelta(**delta)

    async def stay_online(self) -> None:
        await self.owner.execute("update stations.sockets set last_frame_at = $1", self.api.clock())


async def wants_the_cable_first(owner: Connection) -> None:
    """Makes the station one of a make that starts only when the car is plugged in."""
    await owner.execute(
        "insert into stations.profiles (station_id, overrides) values ($1, $2)",
        STATION, '{"plug_first": true}',
    )  # fmt: skip


async def free_the_station(ride: Ride) -> None:
    """Lets every card charge at the station for nothing."""
    async with ride.api.db.transaction() as connection:
        await charging.free_station(
            connection, station=STATION, minutes=30, actor="operator:aida",
            reason="the app is down", now=ride.api.clock(),
        )  # fmt: skip

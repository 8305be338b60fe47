"""A driver who charges at a station on a real socket, from the start to the bill."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from evpower import charging, stations, tariffs
from evpower.charging import Rules, StartRequest, StopRequest, configured_rules, jobs
from evpower.charging.due import find_due, watch_transaction
from evpower.charging.store_ends import Due
from evpower.foundation.db import Connection, Database
from tests.ocpp.scenario import Central, Station, running
from tests.waiting import until
from tests.wallet.scenario import Scenario

Members = dict[str, Any]
TARIFF = {"name": "Usual", "elements": [{"prices": {"energy_per_kwh": "10"}}]}


@dataclass
class Driving:
    """The server with its commands sent, one station, one driver with 1000 som."""

    central: Central
    client: UUID

    def later(self, hours: float = 1) -> None:
        """Turns the clock: energy takes time."""
        self.central.clock.ahead += timedelta(hours=hours)

    def stamp(self) -> str:
        return self.central.clock().strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    async def begin(
        self,
        station: Station,
        tag: str,
        *,
        meter: object = 0,
        message_id: str = "start",
        **changes: Any,
    ) -> Any:
        payload = {
            "connectorId": 1, "idTag": tag, "meterStart": meter, "timestamp": self.stamp()
        }  # fmt: skip
        return await station.call("StartTransaction", payload | changes, message_id)

    async def charging(self, station: Station, *, meter: object = 0) -> tuple[str, int]:
        """A session that charges. Returns the tag and the transaction's id."""
        await station.boot()
        await self.request()
        tag = (await accept(station, "RemoteStartTransaction"))["idTag"]
        transaction = (await self.begin(station, tag, meter=meter))["transactionId"]
        return tag, transaction

    def values(self, transaction: object, energy: object, **changes: Any) -> Members:
        self.later()
        sample = {"value": energy, "context": "Sample.Periodic", "unit": "Wh"}
        sample |= changes.pop("sample", {})
        entry = {"timestamp": self.stamp(), "sampledValue": [sample]}
        return {"connectorId": 1, "transactionId": transaction, "meterValue": [entry]} | changes

    def end(self, transaction: object, meter: object, **changes: Any) -> Members:
        self.later()
        payload = {
            "transactionId": transaction, "meterStop": meter, "timestamp": self.stamp()
        }  # fmt: skip
        return payload | changes

    async def request(self, **limits: Any) -> UUID:
        """Starts by app. Returns the session's id."""
        async with self.central.db.transaction() as connection:
            started = await charging.start(
                connection, StartRequest(self.client, "EVP-001", 1, **limits),
                now=self.central.clock(),
            )  # fmt: skip
        self.central.bus.publish(stations.STATION_CHANGED, stations.station_key("EVP-001"))
        return started.session_id

    async def value(self, query: str, *values: object) -> Any:
        return await self.central.owner.fetchval(query, *values)

    async def session(self) -> Any:
        return await self.central.owner.fetchrow("select * from charging.sessions")

    async def bills(self) -> list[tuple[int, int]]:
        """Energy in Wh and total in tyiyn of each bill."""
        rows = await self.central.owner.fetch(
            "select energy_wh, total_minor from charging.settlements"
            " where bill_number is not null order by bill_number"
        )
        return [(row["energy_wh"], row["total_minor"]) for row in rows]

    async def online(self, station: Station) -> None:
        """The station is heard at the present time, so that a driver may start."""
        await station.call("Heartbeat")
        await self.central.parts.sockets.touch()

    async def watch(self) -> None:
        """Does what is due of running transactions."""
        central, rules = self.central, configured_rules(self.central.settings)
        while due := await self._due(rules):
            for item in due:
                async with central.db.transaction() as connection:
                    changes = await watch_transaction(
                        connection, item, now=central.clock(), rules=rules
                    )
                changes.publish(central.bus)

    async def _due(self, rules: Rules) -> list[Due]:
        async with self.central.db.connection() as connection:
            return await find_due(connection, self.central.clock(), rules)

    async def expire_starts(self) -> None:
        """Gives up the starts whose window is over."""
        await jobs.expire_starts(self.central.db, self.central.bus, self.central.clock)

    async def stop(self, session_id: UUID) -> None:
        """Stops by app."""
        async with self.central.db.transaction() as connection:
            await charging.request_stop(
                connection, StopRequest(session_id, self.client, f"client:{self.client}"),
                now=self.central.clock(),
            )  # fmt: skip
        self.central.bus.publish(stations.STATION_CHANGED, stations.station_key("EVP-001"))

    async def command(self, action: stations.CommandAction, **arguments: str) -> None:
        """An operator's command."""
        async with self.central.db.transaction() as connection:
            await stations.request_command(
                connection, station="EVP-001", action=action, arguments=arguments,
                expires_in=timedelta(minutes=5), now=self.central.clock(), actor="aida",
            )  # fmt: skip
        self.central.bus.publish(stations.STATION_CHANGED, stations.station_key("EVP-001"))

    async def until_state(self, state: str) -> None:
        """Waits until the session has this state."""

        async def has_state() -> bool:
            return (await self.session())["state"] == state

        await until(has_state, f"the session never was {state}")

    async def until_command(self, state: str) -> None:
        """Waits until the newest command has this state."""

        async def has_state() -> bool:
            query = "select state from stations.commands order by id desc limit 1"
            return await self.value(query) == state

        await until(has_state, f"the command never was {state}")

    async def alerts(self) -> set[str]:
        """The kinds that were opened."""
        rows = await self.central.owner.fetch("select kind from alerts.alerts")
        return {row["kind"] for row in rows}

    async def held(self) -> int:
        return await self.value(
            "select held_minor from wallet.wallets where client_id = $1", self.client
        )

    async def balance(self) -> int:
        return await self.value(
            "select balance_minor from wallet.wallets where client_id = $1", self.client
        )


async def accept(station: Station, action: str) -> Any:
    """Receives a command and accepts it. Returns its payload."""
    call = await station.receive()
    assert call[0] == 2
    assert call[2] == action, call
    await station.send([3, call[1], {"status": "Accepted"}])
    return call[3]


@contextlib.asynccontextmanager
async def driving(db: Database, owner: Connection) -> AsyncIterator[Driving]:
    async with running(
        db, owner, charging_first_frame_wait_s=0, charging_settle_after_connect_s=0
    ) as central:
        await central.add(no_auth=True)
        yesterday = central.clock() - timedelta(days=1)
        async with db.transaction() as connection:
            await tariffs.save(
                connection, plan="usual", document=TARIFF, valid_from=yesterday, now=yesterday,
                actor="aida",
            )  # fmt: skip
            await tariffs.assign(
                connection, plan="usual", scope="everything", scope_id="", valid_from=yesterday,
                now=yesterday, actor="aida",
            )  # fmt: skip
        client = await Scenario(owner).topped_up(1000_00)
        stop = asyncio.Event()
        sending = asyncio.create_task(central.parts.dispatcher.loop().run(stop))
        yield Driving(central, client)
        stop.set()
        await sending

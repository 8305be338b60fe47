"""A place with stations, a price and drivers; frames come in as the OCPP edge brings them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

from evpower import stations, tariffs
from evpower.charging.bill_effect import bill_by_operator
from evpower.charging.booted import station_booted
from evpower.charging.due import find_due, watch_transaction
from evpower.charging.events import (
    Changes,
    Reading,
    StartAnswer,
    StationReadings,
    StationStart,
    StationStatus,
    StationStop,
    StationTime,
    StopAnswer,
)
from evpower.charging.meter_values import meter_values
from evpower.charging.operate import OperatorBill
from evpower.charging.request_stop import StopRequest, request_stop
from evpower.charging.rules import DEFAULT_RULES, Rules
from evpower.charging.start import StartRequest, start
from evpower.charging.start_transaction import start_transaction
from evpower.charging.status_reported import status_reported
from evpower.charging.stop_transaction import stop_transaction
from evpower.foundation.db import Connection, Database
from evpower.stations import Command, Location, StationDraft
from evpower.stations.model import ConnectorDraft
from tests.stations.scenario import claim
from tests.wallet.scenario import Scenario

NOON = datetime(2026, 3, 8, 6, tzinfo=UTC)  # in Bishkek
POWER_W = 60_000
PRICE = {"name": "t", "elements": [{"prices": {"energy_per_kwh": {"price": "12"}}}]}


@dataclass
class ChargingPlace:
    """Everything happens at `now`, which a test moves; money in som, energy in Wh."""

    db: Database
    owner: Connection
    now: datetime = NOON
    rules: Rules = DEFAULT_RULES
    changes: Changes = field(default_factory=Changes)

    @property
    def money(self) -> Scenario:
        return Scenario(self.owner)

    async def build(
        self,
        station: str = "S1",
        connectors: int = 2,
        tariff: Mapping[str, Any] | None = PRICE,
        **facts: Any,
    ) -> None:
        """Add a station with connectors of 60 kW, connected; with a tariff for everything."""
        drafts = tuple(
            ConnectorDraft(number, "GBT_DC", "CABLE", "DC", POWER_W, number)
            for number in range(1, connectors + 1)
        )
        draft = StationDraft(station, Location("L", "L"), drafts, no_auth=True, **facts)
        async with self.db.transaction() as connection:
            await stations.add_station(connection, draft, now=self.now, actor="test")
            if tariff is not None:
                await tariffs.save(
                    connection, plan="t", document=tariff, valid_from=self.now, now=self.now,
                    actor="test",
                )  # fmt: skip
                await tariffs.assign(
                    connection, scope="everything", scope_id="", plan="t", valid_from=self.now,
                    now=self.now, actor="test",
                )  # fmt: skip
            await self.connect(connection, station)

    async def connect(self, connection: Connection, station: str = "S1") -> None:
        await stations.open_connection(
            connection, station, address="1.1.1.1", version="ocpp1.6", is_authenticated=True,
            node="n", now=self.now,
        )  # fmt: skip

    async def frame(self, station: str = "S1") -> None:
        """Let the station send something that says nothing."""
        async with self.db.connection() as connection:  # others may do so at the same time
            await connection.execute(
                "update stations.sockets set last_frame_at = $2 where station_id = $1",
                station,
                self.now,
            )

    def later(self, minutes: float) -> None:
        self.now += timedelta(minutes=minutes)

    async def driver(self, som: int = 1_000) -> UUID:
        return await self.money.topped_up(som * 100)

    async def start(self, client: UUID, connector: int = 1, **limits: Any) -> UUID:
        """Start by app; returns the session."""
        await self.frame()
        async with self.db.transaction() as connection:
            request = StartRequest(client, "S1", connector, **limits)
            return (await start(connection, request, now=self.now, rules=self.rules)).session_id

    async def begin(
        self,
        session: UUID | None,
        *,
        meter_wh: int | None = 0,
        connector: int = 1,
        tag: str | None = None,
        time: datetime | None = None,
        has_time: bool = True,
    ) -> int:
        """Let the station begin the session; returns the transaction's number."""
        tag = tag or await self.value("id_tag", session)
        report = StationStart(
            "S1", connector, tag or "", None if meter_wh is None else Decimal(meter_wh), None,
            self._stamp(time, has_time=has_time), self.now,
        )  # fmt: skip
        async with self.db.transaction() as connection:
            answer: StartAnswer = await start_transaction(
                connection, report, now=self.now, rules=self.rules
            )
        return answer.transaction_id

    async def charging(
        self, client: UUID, *, meter_wh: int | None = 0, **limits: int
    ) -> tuple[UUID, int]:
        """Start by app and begin; returns session and transaction."""
        session = await self.start(client, **limits)
        return session, await self.begin(session, meter_wh=meter_wh)

    def _stamp(self, time: datetime | None, *, has_time: bool) -> StationTime:
        if not has_time:
            return StationTime(None, None)
        time = time or self.now
        return StationTime(time, time.isoformat())

    async def values(
        self,
        transaction: int | None,
        *energies: int | str | None,
        connector: int = 1,
        context: str = "Sample.Periodic",
        time: datetime | None = None,
        **facts: int,
    ) -> None:
        time = time or self.now
        readings = [read(energy, time, context, **facts) for energy in energies]
        await self.frames(transaction, readings, connector=connector)

    async def frames(
        self, transaction: int | None, readings: Sequence[Reading], *, connector: int = 1
    ) -> None:
        await self.frame()
        event = StationReadings("S1", connector, transaction, None, tuple(readings), (), self.now)
        async with self.db.transaction() as connection:
            self.changes = await meter_values(connection, event, now=self.now, rules=self.rules)

    async def stop(
        self,
        transaction: int | None,
        meter_wh: int | str | None,
        *,
        reason: str | None = "Remote",
        tag: str | None = None,
        time: datetime | None = None,
        has_time: bool = True,
        readings: Sequence[Reading] = (),
    ) -> StopAnswer:
        event = StationStop(
            "S1", transaction, None, tag, None if meter_wh is None else Decimal(meter_wh),
            self._stamp(time, has_time=has_time), reason, tuple(readings), (), self.now,
        )  # fmt: skip
        async with self.db.transaction() as connection:
            return await stop_transaction(connection, event, now=self.now)

    async def status(
        self,
        status: str,
        connector: int = 1,
        *,
        is_history: bool = False,
        time: datetime | None = None,
    ) -> None:
        event = StationStatus(
            "S1", connector, status, None, self._stamp(time, has_time=True), self.now, is_history
        )
        async with self.db.transaction() as connection:
            await status_reported(connection, event, now=self.now, rules=self.rules)

    async def boot(self) -> None:
        async with self.db.transaction() as connection:
            await station_booted(connection, "S1", False, now=self.now, rules=self.rules)

    async def price(self, prices: Mapping[str, Any]) -> None:
        """Let everything cost this from now on."""
        await self.price_document({"name": "t", "elements": [{"prices": prices}]})

    async def price_document(self, document: Mapping[str, Any]) -> None:
        async with self.db.transaction() as connection:
            await tariffs.save(
                connection, plan="t", document=document, valid_from=self.now, now=self.now,
                actor="test",
            )  # fmt: skip

    async def ask_to_stop(self, session: UUID, client: UUID | None = None) -> None:
        async with self.db.transaction() as connection:
            request = StopRequest(session, client, "test")
            await request_stop(connection, request, now=self.now, rules=self.rules)

    async def correct(self, transaction: int, energy_wh: int) -> None:
        """Let an operator bill the session of a transaction by another figure."""
        session = await self.owner.fetchval(
            "select session_id from charging.transactions where id = $1", transaction
        )
        bill = OperatorBill(session, energy_wh, None, "operator:aida", "read on the meter")
        async with self.db.transaction() as connection:
            await bill_by_operator(connection, bill, now=self.now)

    async def watch(self) -> list[str]:
        """Do what is due now; returns what it was."""
        async with self.db.connection() as connection:
            items = await find_due(connection, self.now, self.rules)
        for due in items:
            async with self.db.transaction() as connection:
                self.changes = await watch_transaction(
                    connection, due, now=self.now, rules=self.rules
                )
        return [due.kind for due in items]

    async def value(self, column: str, session: UUID | None) -> Any:
        return await self.owner.fetchval(
            f"select {column} from charging.sessions where id = $1", session
        )

    async def session(self, session: UUID) -> dict[str, Any]:
        row = await self.owner.fetchrow("select * from charging.sessions where id = $1", session)
        assert row is not None
        return dict(row)

    async def bill(self, session: UUID) -> tuple[str, int, int]:
        """Return state, energy and cost in som."""
        row = await self.session(session)
        return row["state"], row["energy_wh"], row["cost_minor"] // 100

    async def progress(self, transaction: int) -> dict[str, Any]:
        row = await self.owner.fetchrow(
            "select * from charging.progress where transaction_id = $1", transaction
        )
        assert row is not None
        return dict(row)

    async def held(self, client: UUID) -> int:
        return (await self.money.wallet(client))["held_minor"] // 100

    async def bills(self, session: UUID) -> list[tuple[int, int]]:
        """Return energy and cost in som of each bill."""
        rows = await self.owner.fetch(
            "select energy_wh, total_minor from charging.settlements where session_id = $1"
            " and bill_number is not null order by bill_number",
            session,
        )
        return [(row["energy_wh"], row["total_minor"] // 100) for row in rows]

    async def answer(
        self, reply: Any = "accepted", response: Mapping[str, Any] | None = None
    ) -> list[str]:
        """Let the station answer each command that waits; returns their actions."""
        actions: list[str] = []
        while (command := await self._claim()) is not None:
            actions.append(command.action)
            async with self.db.transaction() as connection:
                await stations.end_command(connection, command.id, reply, response or {}, self.now)
        return [action for action in actions if action != "remote_start"]

    async def _claim(self) -> Command | None:
        async with self.db.transaction() as connection:
            epoch = await connection.fetchval(
                "select epoch from stations.sockets_public where station_id = 'S1'"
            )
            return await claim(connection, "S1", epoch, self.now)

    async def payload(self, action: str) -> Any:
        """Return what the only command of an action says."""
        [row] = await self.owner.fetch(
            "select payload from stations.commands where action = $1", action
        )
        return json.loads(row["payload"])

    async def steps(self, transaction: int) -> list[tuple[str, str | None]]:
        """Return the steps to end a charge, each with its outcome."""
        rows = await self.owner.fetch(
            "select step, outcome from charging.stop_steps where transaction_id = $1 order by id",
            transaction,
        )
        return [(row["step"], row["outcome"]) for row in rows]

    async def commands(self) -> list[str]:
        rows = await self.owner.fetch(
            "select action from stations.commands where action <> 'remote_start' order by id"
        )
        return [row["action"] for row in rows]

    async def alerts(self) -> list[str]:
        rows = await self.owner.fetch(
            "select kind from alerts.alerts where closed_at is null order by kind"
        )
        return [row["kind"] for row in rows]

    async def client(self) -> UUID:
        client = uuid4()
        await self.owner.execute(
            "insert into identity.clients (id, origin) values ($1, 'import')", client
        )
        return client


def read(
    energy: int | str | None,
    time: datetime | None,
    context: str = "Sample.Periodic",
    *,
    step: int = 1,
    **facts: int,
) -> Reading:
    """Return a meter value as the tolerant reader gives it."""
    stamp = StationTime(time, None if time is None else time.isoformat())
    empty = Reading(
        stamp, context, None if energy is None else Decimal(energy), Decimal(step),
        None, None, None, None, None, None, (None, None, None),
    )  # fmt: skip
    return empty.replace(**facts)

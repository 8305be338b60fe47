"""A station with two connectors that is online, a tariff, drivers with money, and a clock."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from evpower import charging, stations, tariffs
from evpower.charging import (
    Changes,
    StartedSession,
    StartRequest,
    StationStart,
    StationTime,
    StopRequest,
    StopRequested,
    jobs,
)
from evpower.charging.events import StartAnswer
from evpower.charging.rules import DEFAULT_RULES, Rules
from evpower.foundation.bus import LocalBus
from evpower.foundation.db import Connection, Database
from evpower.stations import Command, Touch
from evpower.stations.commands import end_overdue
from tests.stations.scenario import claim, draft
from tests.wallet.scenario import Scenario

STATION = "EVP-001"
NOON = datetime(2026, 12, 1, 12, tzinfo=UTC)
# 13.50 som per kWh.
TARIFF: dict[str, Any] = {
    "name": "Usual",
    "elements": [{"prices": {"energy_per_kwh": "13.50"}}],
}


@dataclass
class Site:
    """Each call is a transaction of its own, at the site's present time."""

    db: Database
    sql: Connection
    now: datetime = NOON
    rules: Rules = DEFAULT_RULES
    scenario: Scenario = field(init=False)

    def __post_init__(self) -> None:
        self.scenario = Scenario(self.sql)

    async def open(self, *, tariff: dict[str, Any] = TARIFF, **station: Any) -> None:
        """Makes the tariff and the station, and connects it."""
        async with self.db.transaction() as connection:
            await tariffs.save(
                connection,
                plan="usual",
                document=tariff,
                valid_from=self.now - timedelta(days=1),
                now=self.now - timedelta(days=1),
                actor="aida",
            )
            await tariffs.assign(
                connection,
                plan="usual",
                scope="everything",
                scope_id="",
                valid_from=self.now - timedelta(days=1),
                now=self.now - timedelta(days=1),
                actor="aida",
            )
            await stations.add_station(
                connection,
                draft(STATION, **({"no_auth": True} | station)),
                now=self.now,
                actor="aida",
            )
        await self.connect()

    async def connect(self) -> None:
        async with self.db.transaction() as connection:
            opened = await stations.open_connection(
                connection,
                STATION,
                address="10.0.0.1",
                version="ocpp1.6",
                is_authenticated=False,
                node="here",
                now=self.now,
            )
            await stations.touch(connection, [Touch(STATION, opened.epoch, self.now)])

    async def wait(self, seconds: float) -> None:
        """Turns the clock; the station stays online."""
        self.now += timedelta(seconds=seconds)
        await self.sql.execute("update stations.sockets set last_frame_at = $1", self.now)

    async def report(self, status: str, connector: int = 1) -> None:
        await self.sql.execute(
            "update stations.connectors set reported_status = $1, reported_at = $2"
            " where station_id = $3 and number = $4",
            status,
            self.now,
            STATION,
            connector,
        )

    async def run_jobs(self) -> None:
        """A round of the loop that gives up starts and stops sessions of barred clients."""
        async with self.db.transaction() as connection:
            await end_overdue(connection, STATION, self.now)
        bus = LocalBus()
        await jobs.give_up_undelivered_starts(self.db, bus, lambda: self.now)
        await jobs.expire_starts(self.db, bus, lambda: self.now)
        await jobs.stop_barred(self.db, bus, lambda: self.now, self.rules)
        await jobs.end_free_periods(self.db, bus, lambda: self.now)

    async def driver(self, som: int = 1000) -> UUID:
        return await self.scenario.topped_up(som * 100)

    async def card(self, client: UUID, tag: str) -> None:
        await self.sql.execute(
            "insert into identity.aliases (kind, alias, client_id)"
            " values ('id_tag', lower($2), $1)",
            client,
            tag,
        )

    async def start(self, client: UUID, connector: int = 1, **limits: Any) -> StartedSession:
        request = StartRequest(client, limits.pop("station", STATION), connector, **limits)
        async with self.db.transaction() as connection:
            return await charging.start(connection, request, now=self.now, rules=self.rules)

    async def deliver(self, reply: str | None = "accepted") -> Command:
        """Sends the oldest queued command; the station replies, or not at all (None)."""
        async with self.db.transaction() as connection:
            epoch = await connection.fetchval(
                "select epoch from stations.sockets_public where station_id = $1", STATION
            )
            command = await claim(connection, STATION, epoch, self.now)
        assert command is not None, "no command is queued"
        if reply is not None:
            await self.reply(command, reply)
        return command

    async def reply(
        self, command: Command, reply: Any, response: dict[str, Any] | None = None
    ) -> Changes:
        async with self.db.transaction() as connection:
            ended = await stations.end_command(
                connection, command.id, reply, response or {}, self.now
            )
            assert ended is not None
            return await charging.command_ended(connection, ended, now=self.now, rules=self.rules)

    async def begin(self, tag: str | None, connector: int = 1, **facts: Any) -> StartAnswer:
        """The station reports a start; of a session by its id, else of this tag."""
        at = facts.pop("at", self.now)
        raw = facts.pop("raw", None if at is None else at.isoformat())
        report = StationStart(
            STATION,
            connector,
            "" if tag is None else tag,
            facts.pop("meter_wh", Decimal(1000)),
            facts.pop("text_id", None),
            StationTime(at, raw),
            self.now,
        )
        assert not facts, facts
        async with self.db.transaction() as connection:
            return await charging.start_transaction(
                connection, report, now=self.now, rules=self.rules
            )

    async def started(self, client: UUID, connector: int = 1, **limits: Any) -> StartAnswer:
        """A session that charges, as it goes when nothing goes wrong."""
        session = await self.start(client, connector, **limits)
        await self.deliver()
        return await self.begin(await self.tag(session.session_id), connector)

    async def stop(
        self, session_id: UUID, client: UUID | None, reason: Any = None
    ) -> StopRequested:
        actor = "operator:aida" if client is None else f"client:{client}"
        reason = reason or ("stopped_by_operator" if client is None else "stopped_by_driver")
        request = StopRequest(session_id, client, actor, reason)
        async with self.db.transaction() as connection:
            return await charging.request_stop(connection, request, now=self.now, rules=self.rules)

    async def boot(self, *, triggered: bool = False) -> Changes:
        async with self.db.transaction() as connection:
            return await charging.station_booted(
                connection, STATION, triggered, now=self.now, rules=self.rules
            )

    async def open_to_cards(self) -> None:
        """Lets cards count although the station has no password."""
        await self.sql.execute("update stations.stations set cards_without_auth = true")

    async def authorize(self, tag: str) -> str:
        async with self.db.transaction() as connection:
            return await charging.authorize(
                connection, STATION, tag, now=self.now, rules=self.rules
            )

    async def tag(self, session_id: UUID) -> str:
        return (await self.session(session_id))["id_tag"]

    async def session(self, session_id: UUID) -> dict[str, Any]:
        row = await self.sql.fetchrow("select * from charging.sessions where id = $1", session_id)
        assert row is not None
        return dict(row)

    async def state(self, session_id: UUID) -> str:
        return (await self.session(session_id))["state"]

    async def transaction(self, transaction_id: int) -> dict[str, Any]:
        row = await self.sql.fetchrow(
            "select * from charging.transactions where id = $1", transaction_id
        )
        assert row is not None
        return dict(row)

    async def session_of(self, transaction_id: int) -> UUID:
        session_id = (await self.transaction(transaction_id))["session_id"]
        assert session_id is not None
        return session_id

    async def holds(self, session_id: UUID) -> list[tuple[int, int, str]]:
        """Attempt, amount in som and state of a session's holds."""
        rows = await self.sql.fetch(
            "select attempt, amount_minor, state from wallet.holds where session_id = $1"
            " order by attempt",
            session_id,
        )
        return [(row["attempt"], row["amount_minor"] // 100, row["state"]) for row in rows]

    async def commands(self) -> list[tuple[str, str]]:
        """Action and state of every command, the oldest first."""
        rows = await self.sql.fetch("select action, state from stations.commands order by id")
        return [(row["action"], row["state"]) for row in rows]

    async def open_alerts(self) -> list[str]:
        rows = await self.sql.fetch(
            "select kind from alerts.alerts where closed_at is null order by id"
        )
        return [row["kind"] for row in rows]

    async def alerts(self) -> list[str]:
        rows = await self.sql.fetch("select kind from alerts.alerts order by id")
        return [row["kind"] for row in rows]

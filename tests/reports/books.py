"""Sessions, corrections, refunds and debts over several days, as the database itself posts them."""

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from evpower.foundation.db import Connection, Database
from evpower.reports import DailyReport, daily_report
from evpower.reports.daily import ZONE
from tests.wallet.scenario import NOON, Scenario

FIRST = date(2026, 3, 10)  # of the tests' days
NOW = datetime(2026, 5, 1, tzinfo=UTC)
_TODAY = datetime(2026, 6, 1, tzinfo=UTC)  # what the database has stamped itself is later


@dataclass
class Books:
    """Acts happen on `day`, at some second of it in Bishkek; the owner moves the stamps there."""

    db: Database
    sql: Connection
    day: date = FIRST
    sessions: list[UUID] = field(default_factory=list)

    @property
    def money(self) -> Scenario:
        return Scenario(self.sql)

    async def at(self, second: int) -> None:
        """Gives whatever was posted since the last call the time of this second of the day."""
        moment = datetime.combine(self.day, datetime.min.time(), ZONE) + timedelta(seconds=second)
        await self.sql.execute("set session_replication_role = replica")
        for table in ("wallet.transactions", "charging.settlements"):
            await self.sql.execute(
                f"update {table} set created_at = $1 where created_at > $2", moment, _TODAY
            )
        await self.sql.execute("reset session_replication_role")

    async def top_up(self, client: UUID, amount_minor: int) -> None:
        payment = await self.money.payment(client, amount_minor)
        await self.sql.execute("select wallet.credit($1)", payment)

    async def session(
        self,
        client: UUID,
        station: str,
        cost_minor: int,
        energy_wh: int = 0,
        owner: str | None = "",
    ) -> UUID:
        """A session that is billed at once; `owner` "": its bill records none."""
        session = uuid4()
        await self.sql.execute(
            "insert into charging.sessions (id, client_id, station_id, connector_id, state, source,"
            " started_at, ended_at, cost_minor, energy_wh)"
            " values ($1, $2, $3, 1, 'finished', 'import', $4, $4, $5, $6)",
            session,
            client,
            station,
            NOON,
            cost_minor,
            energy_wh,
        )
        bill = await self.sql.fetchval("select cause_id from wallet.charge($1)", session)
        if owner != "":
            await self.record(bill, owner)
        self.sessions.append(session)
        return session

    async def record(self, bill: int, owner: str | None) -> None:
        """The record of what a bill rests on, with the station's owner."""
        await self.sql.execute(
            "insert into charging.cdrs (settlement_id, session_id, is_estimated, energy_wh,"
            " ended_at, periods, parts, station_owner)"
            " select id, session_id, false, energy_wh, ended_at, '[]', '[]', $2"
            " from charging.settlements where id = $1",
            bill,
            owner,
        )

    async def correct(
        self, session: UUID, cost_minor: int, energy_wh: int, owner: str | None = ""
    ) -> None:
        """The next bill of a session, where it is another one; `owner` as for the first."""
        outcome = await self.money.correct(session, cost_minor, energy_wh)
        if outcome == "posted" and owner != "":
            bill = await self.sql.fetchval(
                "select id from charging.settlements where session_id = $1"
                " and bill_number is not null order by bill_number desc limit 1",
                session,
            )
            await self.record(bill, owner)

    async def refund(self, session: UUID, share: float) -> None:
        """Goodwill of a part of what the session was charged and not given back."""
        row = await self.sql.fetchrow(
            "select id, client_id, debited_minor - refunded_minor as left_minor"
            " from charging.settlements where session_id = $1"
            " and debited_minor > refunded_minor limit 1",
            session,
        )
        amount = 0 if row is None else int(row["left_minor"] * share)
        if row is not None and amount > 0:
            order = await self.money.refund_order(row["client_id"], amount, settlement_id=row["id"])
            await self.sql.execute("select wallet.refund($1)", order)

    async def report(self, day: date | None = None, now: datetime = NOW) -> DailyReport:
        return await daily_report(self.db, day or self.day, now)

    async def ledger(self, day: date) -> tuple[int, int]:
        """What the ledger charged on a day, and gave back of charges, by its transactions alone."""
        begins = datetime.combine(day, datetime.min.time(), ZONE)
        row = await self.sql.fetchrow(
            "select coalesce(-sum(t.amount_minor) filter (where t.kind = 'charge'), 0) as charged,"
            " coalesce(sum(t.amount_minor) filter (where r.settlement_id is not null), 0) as back"
            " from wallet.transactions t left join wallet.refunds r on r.id = t.refund_id"
            " where t.created_at >= $1 and t.created_at < $2",
            begins,
            begins + timedelta(days=1),
        )
        assert row is not None
        return int(row["charged"]), int(row["back"])


def money_of(rows: Any) -> tuple[int, int]:
    """The sums of rows of a report: charged, refunded."""
    return (
        sum(row.figures.charged_minor for row in rows),
        sum(row.figures.refunded_minor for row in rows),
    )

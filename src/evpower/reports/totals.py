"""What some days brought, in one sum: for the figures of a start page."""

from dataclasses import dataclass
from datetime import datetime, time, timedelta

from evpower.foundation.db import Database
from evpower.reports import store
from evpower.reports.daily import ZONE


@dataclass(frozen=True, slots=True)
class PeriodTotals:
    """The figures of whole days in Asia/Bishkek, the present one until now."""

    begins_at: datetime
    ends_at: datetime
    energy_wh: int
    revenue_minor: int  # charged less refunded


async def period_totals(db: Database, days: int, now: datetime) -> PeriodTotals:
    """Returns the totals of so many days, with the present one as the last."""
    today = datetime.combine(now.astimezone(ZONE).date(), time(), ZONE)
    begins_at = today - timedelta(days=days - 1)
    async with (
        db.connection() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        money = await store.money(connection, begins_at, now)
        bills = await store.bills(connection, begins_at, now)
    return PeriodTotals(
        begins_at,
        now,
        sum(row.energy_wh for row in bills),
        sum(row.charged_minor - row.refunded_minor for row in money),
    )

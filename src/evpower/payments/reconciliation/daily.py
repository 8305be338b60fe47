"""Reconciles each provider's last day, and earlier days that have differences, once a day."""

from datetime import date, timedelta
from typing import Final

import structlog

from evpower import alerts
from evpower.foundation.backoff import Backoff
from evpower.foundation.clock import Clock, to_z
from evpower.foundation.db import Database
from evpower.foundation.errors import EvPowerError
from evpower.foundation.loops import AT_ONCE, Loop, Pause, Round
from evpower.foundation.money import to_text
from evpower.payments import metrics
from evpower.payments.errors import ProviderError
from evpower.payments.providers.registry import Providers
from evpower.payments.reconciliation import store_days
from evpower.payments.reconciliation.period import ZONE, days, last_day
from evpower.payments.reconciliation.reconcile import Reconciler

ACTOR: Final = "daily reconciliation"
PERIOD_S: Final = 300.0
_BEGINS: Final = timedelta(hours=5)  # after midnight: banks close their day late
_LEASE: Final = timedelta(minutes=30)
_RETRY: Final = Backoff(600.0, 6 * 3600.0)
_MOST_DAYS: Final = 31  # made up for after an outage
_LOOK_BACK: Final = timedelta(days=14)
_LATE_ATTEMPTS: Final = 3
_MOST_ERROR: Final = 300
log = structlog.get_logger()


class DailyReconciliation:
    """Any number of processes may run it: a day is leased."""

    def __init__(self, db: Database, providers: Providers, clock: Clock) -> None:
        self._db = db
        self._providers = providers
        self._clock = clock
        self._reconciler = Reconciler(db, providers, clock)

    def loop(self) -> Loop:
        """Returns the loop."""

        async def work(_: Round) -> Pause | None:
            worked = await self.run_due()
            await self.watch()
            return AT_ONCE if worked else None

        return Loop("provider_reconciliation", work, period_s=PERIOD_S)

    async def run_due(self) -> bool:
        """Reconciles one day that is due. Returns whether there was one."""
        now = self._clock()
        names = self._providers.names
        async with self._db.transaction() as connection:
            await store_days.add_days(connection, names, last_day(now - _BEGINS), _MOST_DAYS, now)
            claimed = await store_days.claim_day(connection, names, now, now + _LEASE)
        if claimed is None:
            return False
        name, day, attempts = claimed
        error = await self._reconcile(name, day)
        now = self._clock()
        retry = timedelta(seconds=_RETRY.pause_s(attempts))
        async with self._db.transaction() as connection:
            await store_days.finish_day(
                connection, name, day, now=now, error=error, next_at=now + retry
            )
        return True

    async def _reconcile(self, name: str, day: date) -> str | None:
        """Reconciles a day and the earlier ones with differences; returns why it failed."""
        since, _ = days(day, day)
        async with self._db.connection() as connection:
            earlier = await store_days.days_with_open(
                connection, name, since - _LOOK_BACK, since, ZONE.key
            )
        try:
            for each in (*earlier, day):
                await self._reconciler.run(name, *days(each, each), actor=ACTOR, kind="daily")
        except (ProviderError, EvPowerError) as error:
            log.warning(
                "reconciliation_failed", provider=name, day=day.isoformat(), reason=str(error)
            )
            return str(error)[:_MOST_ERROR] or type(error).__name__
        return None

    async def watch(self) -> None:
        """Opens and closes the alerts by what is undecided and what fails; sets the gauges."""
        now = self._clock()
        async with self._db.transaction() as connection:
            undecided = await store_days.open_by_provider(connection)
            late = await store_days.late_days(connection, _LATE_ATTEMPTS)
            await alerts.set_alerts(
                connection,
                "payment_difference",
                {
                    row["provider"]: {
                        "differences": row["count"],
                        "som": to_text(row["paid_minor"]),
                        "oldest": to_z(row["oldest"]),
                    }
                    for row in undecided
                },
                now,
            )
            await alerts.set_alerts(
                connection,
                "payment_unreconciled",
                {
                    row["provider"]: {
                        "days": row["count"],
                        "first": row["day"].isoformat(),
                        "error": row["error"],
                    }
                    for row in late
                },
                now,
            )
        counts = {row["provider"]: row["count"] for row in undecided}
        for name in {*self._providers.names, *counts}:
            metrics.DIFFERENCES.labels(name).set(counts.get(name, 0))

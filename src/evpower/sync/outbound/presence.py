"""Enqueues what changes with time alone: a station is online or not, a price begins."""

from datetime import datetime, timedelta
from typing import Final

from evpower import tariffs
from evpower.foundation.clock import Clock
from evpower.foundation.db import Connection, Database
from evpower.foundation.loops import Loop, Round, every
from evpower.stations import ONLINE_FOR
from evpower.sync.outbound import store_rows

# Phones take a station for offline 5 minutes after its last heartbeat.
PERIOD_S: Final = 120.0
_ROUNDS: Final = 5  # in each fifth every row is sent
# How old the price in a station's row may be, and how far ahead it is the highest one.
REFRESHED_WITHIN: Final = timedelta(seconds=PERIOD_S * _ROUNDS)


class Presence:
    """Refreshes stations in the tables of an older backend; any number may run."""

    def __init__(self, db: Database, clock: Clock) -> None:
        self._db = db
        self._clock = clock
        self._previous: datetime | None = None
        self._rounds = 0

    def loop(self) -> Loop:
        """Returns the loop."""

        async def refresh(_: Round) -> None:
            await self.refresh()

        return every(PERIOD_S, "station_presence", refresh)

    async def refresh(self) -> None:
        """Enqueues stations that are online, or went offline since the last round.

        Where a tariff or an assignment began since then, and each fifth time, all are enqueued.
        """
        now = self._clock()
        previous = self._previous or now - timedelta(seconds=PERIOD_S)
        self._rounds += 1
        # Each entry in a transaction of its own: a station's frame locks one, and then its session.
        async with self._db.connection() as connection:
            if self._rounds % _ROUNDS == 0 or await _has_begun(connection, previous, now):
                for topic, row_id in await store_rows.ids_with_prices(connection):
                    await store_rows.enqueue_ids(connection, topic, [row_id])
            else:
                for row_id in await store_rows.stations_heard(connection, previous - ONLINE_FOR):
                    await store_rows.enqueue_ids(connection, "station", [row_id])
        self._previous = now


async def _has_begun(connection: Connection, after: datetime, until: datetime) -> bool:
    plans = await tariffs.list_plans(connection, after)
    assignments = await tariffs.list_assignments(connection, after)
    begins = [*(plan.valid_from for plan in plans), *(entry.valid_from for entry in assignments)]
    return any(at is not None and after < at <= until for at in begins)

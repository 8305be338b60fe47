"""Follows which tables of payments Supabase has; what a new one lacks is enqueued."""

from collections.abc import Sequence
from typing import Final

import structlog

from evpower.foundation.db import Database
from evpower.foundation.errors import Unavailable
from evpower.sync.outbound import store_backfill, store_payment_rows

PAYMENT_TABLES: Final = frozenset({"balance_topups", "payment_transactions_odengi"})
_CLIENTS: Final = 200  # in one transaction
_log = structlog.get_logger()


class OldTables:
    """What this process knows of them. Any number of processes may follow them."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._names: list[str] | None = None

    async def follow(self, names: Sequence[str]) -> None:
        """Stores which tables of payments Supabase named, and fills one that is new.

        Nothing is read or written while they are those of the last call. If the database is busy,
        the next call does it.
        """
        wanted = sorted(PAYMENT_TABLES.intersection(names))
        if wanted == self._names:
            return
        try:
            async with self._db.connection() as connection:
                stored = await store_payment_rows.old_tables(connection)
            if wanted != stored:
                await self._replace(wanted)
            await self._fill()
        except Unavailable as error:
            _log.warning("old_tables_not_stored", error=error.for_operators)
            return
        self._names = wanted

    async def _replace(self, wanted: Sequence[str]) -> None:
        # The lock is the transaction's first: two that had read the list would wait for each other.
        async with self._db.transaction() as connection:
            added = await store_payment_rows.set_old_tables(connection, wanted)
            if added:
                await store_backfill.begin(connection, "payment")
        _log.info("old_tables_changed", tables=list(wanted), added=added)

    async def _fill(self) -> None:
        """Goes on with a backfill of payments that was begun, by this process or another."""
        more = True
        while more:
            async with self._db.transaction() as connection:
                if not await store_payment_rows.unfinished_backfill(connection):
                    return
                after, before = await store_backfill.progress(connection, "payment")
                clients = await store_backfill.next_keys(connection, "client", after, _CLIENTS)
                await store_payment_rows.enqueue_of_clients(connection, clients)
                more = len(clients) == _CLIENTS
                done = before + len(clients)
                last = clients[-1] if clients else None
                await store_backfill.advance(connection, "payment", last, done, more=more)

"""Applies events of providers; concurrent events share one database call."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

import asyncpg
import structlog

from evpower.foundation import failpoints
from evpower.foundation.batching import Batcher, is_database_down
from evpower.foundation.bus import Bus
from evpower.foundation.db import Database
from evpower.foundation.errors import Invalid, Unavailable
from evpower.foundation.failpoints import Failpoint
from evpower.identity import CLIENT_CHANGED
from evpower.payments import metrics, store
from evpower.payments.model import BALANCE_OUTCOMES, Confirmation, Event

log = structlog.get_logger()
_TRIES: Final = 3
_CREDITED_REFERENCE_INDEX: Final = "payments_credited_reference"
_LOGGED_OUTCOMES: Final = frozenset({"review", "event_reused", "unknown_payment"})
_STATE_AFTER: Final = {"confirmed": "approved", "canceled": "canceled", "refunded": "refunded"}


class Confirmer:
    """Applies events; when `confirm` returns, its result is committed and published on the bus."""

    def __init__(self, db: Database, bus: Bus) -> None:
        self._db = db
        self._bus = bus
        self._batcher: Batcher[Event, Confirmation] = Batcher(
            self._run, is_fatal=is_database_down, repeat=_as_repeated
        )

    async def confirm(self, event: Event) -> Confirmation:
        """Applies one event atomically; a repeated call changes nothing.

        Raises Unavailable when the database does not respond: the provider must send it again.
        """
        return await self._batcher(event)

    async def close(self) -> None:
        """Accepts no more events and finishes the pending ones."""
        await self._batcher.close()

    async def _run(self, events: Sequence[Event]) -> Mapping[Event, Confirmation | Exception]:
        confirmations = await self._apply(events)
        for event, confirmation in zip(events, confirmations, strict=True):
            self._report(event, confirmation)
        return dict(zip(events, confirmations, strict=True))

    async def _apply(self, events: Sequence[Event]) -> list[Confirmation]:
        tries_left = _TRIES
        while True:
            tries_left -= 1
            try:
                return await self._apply_once(events)
            except Unavailable as error:  # a lock timed out: nothing was written, so it is retried
                if error.code != "database_busy" or not tries_left:
                    raise
            except asyncpg.UniqueViolationError as error:
                # Another node credited this reference at the same moment; the retry sees that and
                # puts the event in review.
                if error.constraint_name != _CREDITED_REFERENCE_INDEX or not tries_left:
                    raise
            except asyncpg.DataError as error:
                raise Invalid("invalid_webhook", "the event does not fit the database") from error

    async def _apply_once(self, events: Sequence[Event]) -> list[Confirmation]:
        # One statement commits by itself; with a transaction, a test can crash before the commit.
        scope = self._db.transaction() if failpoints.watching() else self._db.connection()
        async with scope as connection:
            confirmations = await store.confirm_many(connection, events)
            failpoints.hit(Failpoint.CONFIRM_UNCOMMITTED)
        failpoints.hit(Failpoint.CONFIRM_COMMITTED)
        return confirmations

    def _report(self, event: Event, confirmation: Confirmation) -> None:
        """Counts and logs the outcome, and publishes a changed balance."""
        metrics.EVENTS.labels(event.provider, confirmation.outcome).inc()
        if state := _STATE_AFTER.get(confirmation.outcome):
            metrics.STATES.labels(event.provider, state).inc()
        if confirmation.outcome in BALANCE_OUTCOMES and confirmation.client_id is not None:
            self._bus.publish(CLIENT_CHANGED, confirmation.client_id)
        if confirmation.outcome in _LOGGED_OUTCOMES:
            log.warning(
                "payment_event_not_applied",
                provider=event.provider,
                event_id=event.event_id,
                outcome=confirmation.outcome,
                review=confirmation.review,
                invoice_id=confirmation.invoice_id,
            )


def _as_repeated(first: Confirmation) -> Confirmation:
    """Returns the result of a duplicate of an event in the same batch."""
    is_known = first.outcome not in ("unknown_payment", "event_reused")
    return replace(first, outcome="repeated", review=None) if is_known else first

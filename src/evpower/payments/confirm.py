"""Apply what providers say happened. Events that come at once share one call of the database."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

import asyncpg
import structlog

from evpower.foundation import failpoints
from evpower.foundation.batching import Batcher
from evpower.foundation.bus import Bus
from evpower.foundation.db import Database
from evpower.foundation.errors import Invalid, Unavailable
from evpower.foundation.failpoints import Failpoint
from evpower.identity import CLIENT_CHANGED
from evpower.payments import metrics, store
from evpower.payments.model import MOVED, Confirmation, Event

log = structlog.get_logger()
_TRIES: Final = 3
_CREDITED: Final = "payments_credited_reference"
_SAID: Final = frozenset({"review", "event_reused", "unknown_payment"})
_STATE_AFTER: Final = {"confirmed": "approved", "canceled": "canceled", "refunded": "refunded"}


class Confirmer:
    """Confirms events: what `confirm` returned is durable, and the bus knows of it."""

    def __init__(self, db: Database, bus: Bus) -> None:
        self._db = db
        self._bus = bus
        self._grouper: Batcher[Event, Confirmation] = Batcher(
            self._run, is_fatal=_no_use_again, repeat=_repeated
        )

    async def confirm(self, event: Event) -> Confirmation:
        """Apply one event whole or not at all; repeating it changes nothing.

        Raises Unavailable when the database does not answer: the provider must send it again.
        """
        return await self._grouper(event)

    async def close(self) -> None:
        """Take no more, and finish what was taken."""
        await self._grouper.close()

    async def _run(self, events: Sequence[Event]) -> Mapping[Event, Confirmation | Exception]:
        done = await self._apply(events)
        for event, confirmation in zip(events, done, strict=True):
            self._tell(event, confirmation)
        return dict(zip(events, done, strict=True))

    async def _apply(self, events: Sequence[Event]) -> list[Confirmation]:
        tries_left = _TRIES
        while True:
            tries_left -= 1
            try:
                return await self._apply_once(events)
            except Unavailable as error:  # a lock not had in time: nothing was written, try again
                if error.code != "database_busy" or not tries_left:
                    raise
            except asyncpg.UniqueViolationError as error:
                # Another node credited this reference at the same moment: seen now, it is reviewed.
                if error.constraint_name != _CREDITED or not tries_left:
                    raise
            except asyncpg.DataError as error:
                raise Invalid("invalid_webhook", "the event does not fit the database") from error

    async def _apply_once(self, events: Sequence[Event]) -> list[Confirmation]:
        # One statement commits by itself; a test that dies before the commit needs a place to.
        within = self._db.transaction() if failpoints.watching() else self._db.connection()
        async with within as connection:
            done = await store.confirm_many(connection, events)
            failpoints.hit(Failpoint.CONFIRM_UNCOMMITTED)
        failpoints.hit(Failpoint.CONFIRM_COMMITTED)
        return done

    def _tell(self, event: Event, done: Confirmation) -> None:
        metrics.EVENTS.labels(event.provider, done.outcome).inc()
        if state := _STATE_AFTER.get(done.outcome):
            metrics.STATES.labels(event.provider, state).inc()
        if done.outcome in MOVED and done.client_id is not None:
            self._bus.publish(CLIENT_CHANGED, done.client_id)
        if done.outcome in _SAID:
            log.warning(
                "payment_event_unsettled",
                provider=event.provider,
                event_id=event.event_id,
                outcome=done.outcome,
                review=done.review,
                invoice_id=done.invoice_id,
            )


def _no_use_again(error: Exception) -> bool:
    return isinstance(error, Unavailable) and error.code == "database_unavailable"


def _repeated(first: Confirmation) -> Confirmation:
    """What the twins of an event in one batch are answered."""
    known = first.outcome not in ("unknown_payment", "event_reused")
    return replace(first, outcome="repeated", review=None) if known else first

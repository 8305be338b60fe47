"""Batches concurrent wallet calls into one statement and one commit."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar
from uuid import UUID

from evpower.foundation.batching import Batcher, is_database_down
from evpower.foundation.db import Connection, Database
from evpower.foundation.errors import EvPowerError
from evpower.wallet import errors, store
from evpower.wallet.metrics import BATCH_RETRIES, BATCH_SIZE, count_many
from evpower.wallet.model import Posting

K = TypeVar("K", int, UUID)

_Many = Callable[[Connection, Sequence[K]], Awaitable[list[Posting]]]
_Refusals = Mapping[str, Callable[[Posting], EvPowerError]]


class WalletBatcher:
    """Batched `credit` and `charge`; a call returns after its commit. One per process; close it."""

    def __init__(self, db: Database, *, max_size: int = 256, in_flight: int = 2) -> None:
        self._credits = _batcher(
            db, "credit", store.credit_many, _payment_id, errors.CREDIT, max_size, in_flight
        )
        # A charge locks its sessions one after another, so two concurrent batches would only wait
        # for each other.
        self._charges = _batcher(
            db, "charge", store.charge_many, _session_id, errors.CHARGE, max_size, 1
        )

    async def credit(self, payment_id: int) -> Posting:
        """Credits a confirmed payment by its own amount; committed when this returns.

        Raises NotFound("payment_not_found"), Conflict("payment_not_confirmed"), Unavailable.
        """
        return await self._credits(payment_id)

    async def charge(self, session_id: UUID) -> Posting:
        """Charges a finished session; committed when this returns.

        Raises NotFound("session_not_found"), Unavailable,
        Conflict("session_not_finished" | "session_billed_elsewhere").
        """
        return await self._charges(session_id)

    async def close(self) -> None:
        """Accepts no more calls and finishes the pending ones."""
        await self._credits.close()
        await self._charges.close()


def _batcher(
    db: Database,
    operation: str,
    many: _Many[K],
    key_of: Callable[[Posting], K | None],
    refusals: _Refusals,
    max_size: int,
    in_flight: int,
) -> Batcher[K, Posting]:
    size, retries = BATCH_SIZE.labels(operation), BATCH_RETRIES.labels(operation)

    async def run(ids: list[K]) -> dict[K, Posting | Exception]:
        async with db.connection() as connection:  # one statement: its own transaction
            postings = await many(connection, ids)
        count_many(operation, postings)
        results: dict[K, Posting | Exception] = {}
        for posting in postings:
            if (key := key_of(posting)) is not None:
                results[key] = errors.error_of(posting, refusals) or posting
        return results

    def on_batch(calls: int, failed: bool) -> None:  # noqa: FBT001 - the signature Batcher calls
        size.observe(calls)
        if failed:
            retries.inc()

    return Batcher(
        run,
        max_size=max_size,
        in_flight=in_flight,
        is_fatal=is_database_down,
        repeat=_as_repeated,
        on_batch=on_batch,
    )


def _payment_id(posting: Posting) -> int | None:
    return posting.cause_id


def _session_id(posting: Posting) -> UUID | None:
    return posting.session_id


def _as_repeated(posting: Posting) -> Posting:
    """Returns what a duplicate call in the same batch gets."""
    return replace(posting, outcome="repeated") if posting.new else posting

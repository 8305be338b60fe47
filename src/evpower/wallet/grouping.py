"""The wallet for a busy process: concurrent calls share one statement and one commit."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace

from evpower.foundation.db import Connection, Database
from evpower.foundation.errors import EvPowerError
from evpower.foundation.grouping import Grouper
from evpower.wallet import errors, store
from evpower.wallet.metrics import BATCH_RETRIES, BATCH_SIZE, count_many
from evpower.wallet.model import Posting

_Many = Callable[[Connection, Sequence[int]], Awaitable[list[Posting]]]
_Refusals = Mapping[str, Callable[[Posting], EvPowerError]]


class WalletGroup:
    """`credit` and `charge`, each call committed when it answers. One per process; close it."""

    def __init__(self, db: Database, *, max_size: int = 256, in_flight: int = 2) -> None:
        self._credits = _grouper(
            db, "credit", store.credit_many, errors.CREDIT, max_size, in_flight
        )
        # Charges lock session by session: two batches at once would only wait for each other.
        self._charges = _grouper(db, "charge", store.charge_many, errors.CHARGE, max_size, 1)

    async def credit(self, payment_id: int) -> Posting:
        """Credit a confirmed payment by its own amount; committed when this answers.

        Raises NotFound("payment_not_found"), Conflict("payment_not_confirmed"), Unavailable.
        """
        return await self._credits(payment_id)

    async def charge(self, settlement_id: int) -> Posting:
        """Debit a settlement; committed when this answers.

        Raises NotFound("settlement_not_found"), Unavailable.
        """
        return await self._charges(settlement_id)

    async def close(self) -> None:
        """Take no more calls and finish those taken."""
        await self._credits.close()
        await self._charges.close()


def _grouper(
    db: Database, operation: str, many: _Many, refusals: _Refusals, max_size: int, in_flight: int
) -> Grouper[int, Posting]:
    size, retries = BATCH_SIZE.labels(operation), BATCH_RETRIES.labels(operation)

    async def run(ids: list[int]) -> dict[int, Posting | Exception]:
        async with db.connection() as connection:  # one statement: its own transaction
            postings = await many(connection, ids)
        count_many(operation, postings)
        results: dict[int, Posting | Exception] = {}
        for one in postings:
            if one.cause_id is not None:
                results[one.cause_id] = errors.error_of(one, refusals) or one
        return results

    def on_batch(calls: int, failed: bool) -> None:  # noqa: FBT001 - the shape Grouper calls
        size.observe(calls)
        if failed:
            retries.inc()

    return Grouper(
        run,
        max_size=max_size,
        in_flight=in_flight,
        hopeless=_is_down,
        repeat=_repeated,
        on_batch=on_batch,
    )


def _is_down(error: Exception) -> bool:
    """Nobody answers: trying 200 times more would only take longer."""
    return isinstance(error, EvPowerError) and error.code == "database_unavailable"


def _repeated(posting: Posting) -> Posting:
    return replace(posting, outcome="repeated") if posting.new else posting

"""Has the recheck ask the provider about a payment at once, because its driver says it is paid."""

from datetime import datetime, timedelta
from typing import Final

from evpower.foundation.db import Database
from evpower.payments import store_recheck
from evpower.payments.model import Payment

_APART: Final = timedelta(seconds=5)


async def ask_soon(db: Database, payment: Payment, *, now: datetime) -> None:
    """Makes an open payment due for a recheck; at most once in 5 s, however often it is called."""
    if payment.closed_at is not None:
        return
    async with db.transaction() as connection:
        await store_recheck.plan_check(connection, payment.id, now=now, apart=_APART)

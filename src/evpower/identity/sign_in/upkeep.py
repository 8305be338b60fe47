"""What sign-in by phone deletes in time, and measures."""

from datetime import datetime, timedelta
from typing import Final

from evpower.foundation.clock import Clock
from evpower.foundation.db import Connection, Database
from evpower.identity import metrics
from evpower.identity.sign_in import store_codes, store_keys, store_refresh

# Longer than the longest window of a limit.
CODES_STAY: Final = timedelta(days=2)
ADDRESSES_STAY: Final = timedelta(days=180)
TOKENS_STAY: Final = timedelta(days=7)  # after their end: a late repetition is still recognised


async def purge_sign_ins(connection: Connection, now: datetime, at_most: int) -> int:
    """Deletes old codes, budgets, addresses and tokens; returns how many rows."""
    left = at_most
    for delete, before in (
        (store_codes.purge_codes, now - CODES_STAY),
        (store_codes.purge_budgets, now - CODES_STAY),
        (store_codes.purge_addresses, now - ADDRESSES_STAY),
        (store_refresh.purge_tokens, now - TOKENS_STAY),
    ):
        left -= await delete(connection, before, left)
        if left <= 0:
            break
    return at_most - left


async def measure_signing_key(db: Database, clock: Clock) -> None:
    """Refreshes the gauge of the key's age."""
    async with db.connection() as connection:
        keys = await store_keys.usable_keys(connection)
    age_s = (clock() - keys[0].created_at).total_seconds() if keys else 0.0
    metrics.SIGNING_KEY_AGE.set(age_s)

"""Reserves money for a charging session. A hold is no transaction: the balance stays."""

from uuid import UUID

from evpower.foundation.db import Connection
from evpower.wallet import errors, store
from evpower.wallet.metrics import count
from evpower.wallet.model import Posting


async def hold(connection: Connection, session_id: UUID, amount_minor: int) -> Posting:
    """Puts an amount on hold, once per session; a repeated call keeps the first amount.

    Raises NotFound("session_not_found"), Conflict("insufficient_balance" | "hold_refused" |
    "hold_resolved").
    """
    posting = count("hold", await store.hold(connection, session_id, amount_minor))
    return errors.raise_if_refused(posting, errors.HOLD)


async def extend_hold(connection: Connection, session_id: UUID, total_minor: int) -> Posting:
    """Raises an open hold to a new total; a lower total changes nothing.

    Raises NotFound("hold_not_found"), Conflict("insufficient_balance" | "hold_resolved").
    """
    posting = count("extend", await store.extend_hold(connection, session_id, total_minor))
    return errors.raise_if_refused(posting, errors.EXTEND)


async def release_hold(connection: Connection, session_id: UUID) -> Posting:
    """Releases a hold; `outcome` is "resolved" when it was charged meanwhile.

    Raises NotFound("hold_not_found").
    """
    posting = count("release", await store.release_hold(connection, session_id))
    return errors.raise_if_refused(posting, errors.RELEASE)

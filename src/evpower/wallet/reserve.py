"""Reserves money for a charging session. A hold is no transaction: the balance stays."""

from dataclasses import fields
from typing import Final
from uuid import UUID

from evpower.foundation.db import Connection, Record
from evpower.foundation.rows import columns
from evpower.wallet import errors, store
from evpower.wallet.metrics import count
from evpower.wallet.model import Posting

# The select list of a `posting` of a row b.
POSTING: Final = columns(Posting, "(b.posting)")
_POSTING: Final = tuple(field.name for field in fields(Posting))


async def hold(
    connection: Connection,
    session_id: UUID,
    amount_minor: int,
    *,
    least_minor: int | None = None,
    attempt: int = 1,
) -> Posting:
    """Puts an amount on hold, once for each attempt of a session; an open hold stays as it is.

    With `least_minor`, what is free is put on hold if it is at least that. The second and later
    attempts follow a hold that was released. Raises NotFound("session_not_found"),
    Conflict("insufficient_balance" | "hold_refused" | "hold_resolved").
    """
    return judge_hold(await store.hold(connection, session_id, amount_minor, least_minor, attempt))


def judge_hold(posting: Posting) -> Posting:
    """Counts what SQL's `wallet.hold` did; returns it. Raises what `hold` raises."""
    return errors.raise_if_refused(count("hold", posting), errors.HOLD)


def posting_of(row: Record) -> Posting:
    """Returns the columns `POSTING` of a row."""
    return Posting(**{name: row[name] for name in _POSTING})


async def extend_hold(
    connection: Connection, session_id: UUID, total_minor: int, *, partly: bool = False
) -> Posting:
    """Raises the open hold to a new total, or with `partly` as far as the free balance goes.

    A lower total changes nothing. Raises NotFound("hold_not_found"),
    Conflict("insufficient_balance" | "hold_refused" | "hold_resolved").
    """
    posting = await store.extend_hold(connection, session_id, total_minor, partly=partly)
    return errors.raise_if_refused(count("extend", posting), errors.EXTEND)


async def release_hold(connection: Connection, session_id: UUID) -> Posting:
    """Releases the newest hold; `outcome` is "resolved" when it was charged meanwhile.

    Raises NotFound("hold_not_found").
    """
    posting = count("release", await store.release_hold(connection, session_id))
    return errors.raise_if_refused(posting, errors.RELEASE)

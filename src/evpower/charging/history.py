"""Reads a client's sessions, newest first by either of two times, as JSON built by the database."""

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from evpower.charging import store
from evpower.charging.model import Order
from evpower.foundation.db import Connection, Record
from evpower.foundation.errors import Invalid, NotFound

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST: Final = (datetime(9999, 1, 1, tzinfo=UTC), UUID(int=2**128 - 1))
_CURSOR_BYTES: Final = 24
# The prefix of a cursor, before its time and id: a cursor is valid for its own order only.
_PREFIXES: Final[dict[Order, bytes]] = {"created_at": b"", "start_time": b"s"}
_MAX_MICROSECONDS: Final = 253_000_000_000_000_000  # before the year 9999


@dataclass(frozen=True, slots=True)
class SessionPage:
    """One page: a JSON list, and the cursor of the next page; None: this is the last one."""

    body: bytes
    next: str | None


async def history(
    connection: Connection,
    client_id: UUID,
    *,
    limit: int,
    before: str | None,
    order: Order = "created_at",
) -> SessionPage:
    """Returns a page of at most `limit` sessions before the cursor, keys as in `charging_sessions`.

    Newest first by `created_at`, when EvPower recorded the session, or by `start_time`, when it
    began.
    Raises Invalid("invalid_cursor"), NotFound("client_not_found").
    """
    at, session_id = _FIRST if before is None else _read_cursor(before, order)
    row = await store.page(connection, client_id, order, limit, at, session_id)
    page = _read_page(row, order)
    if page is None:
        raise client_not_found()
    return page


async def first_pages(
    connection: Connection, requested: Sequence[tuple[UUID, int]]
) -> list[SessionPage | None]:
    """Returns the first page of each of these clients and limits, newest recorded first.

    None: there is no such client.
    """
    rows = await store.first_pages(connection, requested, *_FIRST)
    return [_read_page(row, "created_at") for row in rows]


def client_not_found() -> NotFound:
    """Returns the refusal of a client that does not exist."""
    return NotFound("client_not_found", "there is no such client")


def _read_page(row: Record, order: Order) -> SessionPage | None:
    if not row["known"]:
        return None
    next_cursor = _write_cursor(row["last_place"], row["last_id"], order) if row["more"] else None
    return SessionPage(row["body"], next_cursor)


def _write_cursor(at: datetime, session_id: UUID, order: Order) -> str:
    microseconds = (at - _EPOCH) // timedelta(microseconds=1)
    raw = _PREFIXES[order] + microseconds.to_bytes(8, "big") + session_id.bytes
    return base64.urlsafe_b64encode(raw).decode()


def _read_cursor(cursor: str, order: Order) -> tuple[datetime, UUID]:
    prefix = _PREFIXES[order]
    try:
        raw = base64.b64decode(cursor.encode("ascii"), b"-_", validate=True)
    except (UnicodeEncodeError, binascii.Error) as error:
        raise Invalid("invalid_cursor", "not a cursor of ours") from error
    place = raw.removeprefix(prefix)
    microseconds = int.from_bytes(place[:8], "big")
    if (
        len(place) != _CURSOR_BYTES
        or len(raw) != len(prefix) + _CURSOR_BYTES
        or microseconds > _MAX_MICROSECONDS
    ):
        raise Invalid("invalid_cursor", "not a cursor of ours for this order")
    return _EPOCH + timedelta(microseconds=microseconds), UUID(bytes=place[8:])

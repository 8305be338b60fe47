"""Exports charge detail records: CSV for the books, OCPI 2.2.1 for partners."""

import csv
import io
from collections.abc import AsyncGenerator, Iterator, Sequence
from typing import Final

import orjson

from evpower.charging.ocpi_cdr import ocpi_cdrs
from evpower.charging.store_cdrs import CdrFilter, CdrRow, cdrs_after
from evpower.foundation.clock import to_z
from evpower.foundation.db import Database
from evpower.foundation.money import to_text
from evpower.foundation.text import spreadsheet_safe

_PAGE: Final = 500
CSV_HEAD: Final = (
    "record_id", "bill_number", "session_id", "client_id", "station", "connector", "location",
    "station_owner", "tariff_owner", "tariff", "tariff_version", "started_at", "ended_at",
    "billed_at", "energy_kwh", "total", "change", "currency", "is_estimated", "corrected_by",
    "reason",
)  # fmt: skip


async def csv_lines(db: Database, wanted: CdrFilter) -> AsyncGenerator[bytes]:
    """Yields the file in pieces: a line for each bill. `change` is what it adds to the one before.

    The sum of `change` is what the bills of that time moved.
    """
    yield _csv([CSV_HEAD])
    async for rows in _pages(db, wanted):
        yield _csv([_csv_row(row) for row in rows])


async def ocpi_list(db: Database, wanted: CdrFilter) -> AsyncGenerator[bytes]:
    """Yields a JSON list of OCPI 2.2.1 CDRs in pieces."""
    separator = b"["
    async for rows in _pages(db, wanted):
        for row in rows:
            for record in ocpi_cdrs(row):
                yield separator + orjson.dumps(record)
                separator = b",\n"
    yield b"[]" if separator == b"[" else b"]"


async def _pages(db: Database, wanted: CdrFilter) -> AsyncGenerator[Sequence[CdrRow]]:
    """Yields all bills; each page is a query of its own, so that none holds a connection."""
    after = 0
    while True:
        async with db.connection() as connection:
            rows = await cdrs_after(connection, wanted, after=after, limit=_PAGE)
        if rows:
            yield rows
            after = rows[-1].bill_id
        if len(rows) < _PAGE:
            return


def _csv(rows: Sequence[Sequence[object]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerows(list(map(_plain, row)) for row in rows)
    return text.getvalue().encode()


def _plain(value: object) -> object:
    if not isinstance(value, str) or _is_amount(value):
        return value
    return spreadsheet_safe(value)


def _is_amount(text: str) -> bool:
    return text.removeprefix("-").replace(".", "", 1).isdecimal()


def _csv_row(row: CdrRow) -> Sequence[object]:
    snapshot = row.snapshot or {}
    return list(_cells(row, str(snapshot.get("plan", "")), str(snapshot.get("version", ""))))


def _cells(row: CdrRow, plan: str, version: str) -> Iterator[object]:
    yield from (row.record_id, row.bill_number, row.session_id, row.client_id)
    yield from (row.station_id, row.connector, row.location_name)
    yield from (row.station_owner or "", row.tariff_owner or "", plan, version)
    yield from (to_z(row.started_at), to_z(row.ended_at), to_z(row.created_at))
    yield from (f"{row.energy_wh / 1000:.3f}", to_text(row.total_minor))
    yield to_text(row.total_minor - row.previous_minor)
    yield str((row.snapshot or {}).get("currency", "KGS"))
    yield from ("yes" if row.is_estimated else "no", row.actor or "", row.reason or "")

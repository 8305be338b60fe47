"""Runs and differences as JSON and as CSV."""

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any, Final

from evpower.foundation.clock import to_z
from evpower.foundation.money import to_text
from evpower.foundation.text import spreadsheet_safe
from evpower.payments.reconciliation.model import Difference, Reconciliation

_HEAD: Final = (
    "id", "provider", "kind", "at", "order_id", "invoice_id", "reference", "ours_som",
    "theirs_som", "ours_returned_som", "theirs_returned_som", "currency", "theirs_currency",
    "theirs_status", "found_at", "closed_at", "decision", "decided_by", "decided_at", "reason",
)  # fmt: skip


def run_json(run: Reconciliation) -> dict[str, Any]:
    """Returns a run as JSON: money in minor units."""
    return _plain(asdict(run))


def difference_json(difference: Difference) -> dict[str, Any]:
    """Returns a difference as JSON: money in minor units."""
    return _plain(asdict(difference))


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    return {
        name: to_z(value) if isinstance(value, datetime) else value for name, value in row.items()
    }


def differences_csv(differences: Sequence[Difference]) -> str:
    """Returns differences as CSV (RFC 4180), money in som.

    A text that a spreadsheet would take for a formula has an apostrophe in front.
    """
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(_HEAD)
    writer.writerows(_cells(difference) for difference in differences)
    return text.getvalue()


def _cells(difference: Difference) -> list[str]:
    row = difference
    texts = (row.order_id, row.invoice_id, row.reference)
    return [
        str(row.id),
        spreadsheet_safe(row.provider),
        row.kind,
        to_z(row.at),
        *(spreadsheet_safe(part or "") for part in texts),
        to_text(row.ours_minor),
        to_text(row.theirs_minor),
        to_text(row.ours_returned_minor),
        "" if row.theirs_returned_minor is None else to_text(row.theirs_returned_minor),
        spreadsheet_safe(row.currency),
        spreadsheet_safe(row.theirs_currency),
        row.theirs_status or "",
        to_z(row.found_at),
        "" if row.closed_at is None else to_z(row.closed_at),
        row.decision or "",
        spreadsheet_safe(row.decided_by or ""),
        "" if row.decided_at is None else to_z(row.decided_at),
        spreadsheet_safe(row.reason or ""),
    ]

"""A report as JSON and as CSV."""

import csv
import io
from collections.abc import Iterator
from typing import Any, Final

from evpower.foundation.clock import to_z
from evpower.foundation.money import CURRENCY, to_text
from evpower.foundation.text import spreadsheet_safe
from evpower.reports.model import DailyReport, Figures, ReportRow

_HEAD: Final = (
    "scope", "id", "name", "location", "owner", "energy_kwh", "sessions", "free_sessions",
    "quarantined_sessions", "charged_som", "debts_collected_som", "refunded_som", "revenue_som",
    "uptime_percent", "unbilled_tail_kwh", "outside_charges", "outside_kwh",
)  # fmt: skip


def report_json(report: DailyReport) -> dict[str, Any]:
    """Returns the report as JSON: money in minor units, energy in Wh, uptime from 0 to 1."""
    return {
        "date": report.day.isoformat(),
        "time_zone": report.time_zone,
        "begins_at": to_z(report.begins_at),
        "ends_at": to_z(report.ends_at),
        "is_complete": report.is_complete,
        "currency": CURRENCY,
        "total": _figures(report.total),
        "stations": [
            {
                "station_id": row.id,
                "location_id": row.location_id or None,
                "owner": row.owner or None,
                **_figures(row.figures),
            }
            for row in report.stations
        ],
        "locations": [
            {"location_id": row.id or None, "name": row.name or None, **_figures(row.figures)}
            for row in report.locations
        ],
        "owners": [{"owner": row.id or None, **_figures(row.figures)} for row in report.owners],
    }


def _figures(figures: Figures) -> dict[str, Any]:
    return {
        "energy_wh": figures.energy_wh,
        "sessions": figures.sessions,
        "free_sessions": figures.free_sessions,
        "quarantined_sessions": figures.quarantined_sessions,
        "charged_minor": figures.charged_minor,
        "debts_collected_minor": figures.debts_collected_minor,
        "refunded_minor": figures.refunded_minor,
        "revenue_minor": figures.revenue_minor,
        "uptime": None if figures.uptime is None else round(figures.uptime, 4),
        "unbilled_tail_wh": figures.unbilled_tail_wh,
        "outside_charges": figures.outside_charges,
        "outside_wh": figures.outside_wh,
    }


def report_csv(report: DailyReport) -> str:
    """Returns the report as CSV (RFC 4180): the total, then stations, locations, owners.

    A text that a spreadsheet would take for a formula has an apostrophe in front.
    """
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(_HEAD)
    total = ReportRow(report.day.isoformat(), "", "", "", report.total)
    writer.writerow(_cells("total", total))
    for scope, rows in (
        ("station", report.stations),
        ("location", report.locations),
        ("owner", report.owners),
    ):
        writer.writerows(_cells(scope, row) for row in rows)
    return text.getvalue()


def _cells(scope: str, row: ReportRow) -> list[str]:
    figures = row.figures
    texts = [spreadsheet_safe(part) for part in (row.id, row.name, row.location_id, row.owner)]
    return [scope, *texts, *_numbers(figures)]


def _numbers(figures: Figures) -> Iterator[str]:
    yield _kwh(figures.energy_wh)
    yield str(figures.sessions)
    yield str(figures.free_sessions)
    yield str(figures.quarantined_sessions)
    yield to_text(figures.charged_minor)
    yield to_text(figures.debts_collected_minor)
    yield to_text(figures.refunded_minor)
    yield to_text(figures.revenue_minor)
    yield "" if figures.uptime is None else f"{100 * figures.uptime:.2f}"
    yield _kwh(figures.unbilled_tail_wh)
    yield str(figures.outside_charges)
    yield _kwh(figures.outside_wh)


def _kwh(energy_wh: int) -> str:
    return f"{energy_wh / 1000:.3f}"

"""`evpower report`: what a day brought."""

import json
from datetime import date

import typer

from evpower import reports
from evpower.cli.out import console, counted, fail
from evpower.cli.settings import with_database
from evpower.foundation.clock import utc_now
from evpower.foundation.db import APP_ROLE, Database
from evpower.foundation.money import to_text
from evpower.reports import DailyReport, Figures

report = typer.Typer(help="Energy, revenue and uptime.", no_args_is_help=True)


@report.callback()
def _root() -> None:
    """Energy, revenue and uptime."""


@report.command()
def daily(
    day: str = typer.Option("", "--date", help="2026-12-01; the last day that is over by default."),
    as_csv: bool = typer.Option(False, "--csv", help="Print CSV."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
) -> None:
    """Report a day in Asia/Bishkek, by station, location and owner."""
    now = utc_now()
    try:
        chosen = date.fromisoformat(day) if day else reports.last_day(now)
    except ValueError:
        fail(f"{day!a:.40} is no date", "--date 2026-12-01")

    async def work(database: Database) -> DailyReport:
        return await reports.daily_report(database, chosen, now)

    made = with_database(work, role=APP_ROLE)
    if as_json:
        typer.echo(json.dumps(reports.report_json(made)))
    elif as_csv:
        typer.echo(reports.report_csv(made), nl=False)
    else:
        _print(made)


def _print(made: DailyReport) -> None:
    state = "" if made.is_complete else ", not over yet"
    console.print(f"{made.day.isoformat()} in {made.time_zone}{state}")
    console.print(_line("total", made.total))
    for title, rows in (
        ("station", made.stations),
        ("location", made.locations),
        ("owner", made.owners),
    ):
        for row in rows:
            console.print(_line(f"{title} {row.name or row.id or '(none)'}", row.figures))


def _line(title: str, figures: Figures) -> str:
    uptime = "-" if figures.uptime is None else f"{100 * figures.uptime:.2f} %"
    return (
        f"{title}: {figures.energy_wh / 1000:.3f} kWh, {counted(figures.sessions, 'session')} "
        f"({figures.free_sessions} free, {figures.quarantined_sessions} quarantined), "
        f"charged {to_text(figures.charged_minor)}, "
        f"of these debts {to_text(figures.debts_collected_minor)}, "
        f"refunded {to_text(figures.refunded_minor)}, "
        f"revenue {to_text(figures.revenue_minor)} som, "
        f"uptime {uptime}" + _unpaid(figures)
    )


def _unpaid(figures: Figures) -> str:
    parts = ""
    if figures.unbilled_tail_wh:
        parts += f", unbilled tail {figures.unbilled_tail_wh / 1000:.3f} kWh"
    if figures.outside_charges:
        charges = counted(figures.outside_charges, "charge")
        parts += f", {charges} of no client {figures.outside_wh / 1000:.3f} kWh"
    return parts

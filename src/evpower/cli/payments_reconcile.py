"""`evpower payments reconcile|differences|decide`: what providers have against what we have."""

import asyncio
import getpass
import json
from collections.abc import Awaitable, Callable
from datetime import date, datetime
from pathlib import Path
from typing import Final, TypeVar

import typer

from evpower import payments as money
from evpower.cli.notify import notifying
from evpower.cli.out import console, counted, fail, progress
from evpower.cli.settings import (
    MAX_NUMBER,
    load_checked,
    logs_to_stderr,
    outgoing_http,
    with_database,
)
from evpower.config import Settings
from evpower.foundation.bus import LocalBus
from evpower.foundation.clock import to_z, utc_now
from evpower.foundation.db import Database
from evpower.foundation.errors import EvPowerError
from evpower.foundation.money import to_text
from evpower.payments import Difference, Reconciliation

T = TypeVar("T")
_DECISIONS: Final = ("ask", "review", "explained")
_STATES: Final = ("open", "decided", "closed", "all")
_OPERATOR = typer.Option("", "--operator", help="Who does this; the login name by default.")
_JSON = typer.Option(False, "--json", help="Print JSON.")


def reconcile(
    provider: str = typer.Option(
        "", "--provider", help="Its name; by default the provider of the QR codes."
    ),
    first: str = typer.Option("", "--from", help="2026-12-01; the last day that is over."),
    last: str = typer.Option("", "--to", help="The last day, part of the period; --from's."),
    file: Path | None = typer.Option(
        None, "--file", exists=True, dir_okay=False, help="The provider's report as CSV."
    ),
    columns: str = typer.Option(
        "", "--columns", help="As EVPOWER_PAYMENT_REPORT_COLUMNS, which is the default."
    ),
    operator: str = _OPERATOR,
    as_json: bool = _JSON,
) -> None:
    """Compare a provider's transactions with what was credited, and store what differs."""
    settings = load_checked()
    name = provider or settings.payment_qr_provider or "sandbox"
    report = _report(file, columns or settings.payment_report_columns)
    since, until = _period(first, last, report)

    async def work(
        database: Database, providers: money.Providers, _: money.Confirmer
    ) -> Reconciliation:
        reconciler = money.Reconciler(database, providers, utc_now)
        with progress("read from the provider") as step:
            return await reconciler.run(
                name, since, until, actor=operator or getpass.getuser(), report=report,
                on_progress=step,
            )  # fmt: skip

    run = _with_providers(settings, work)
    if as_json:
        typer.echo(json.dumps(money.run_json(run)))
        return
    console.print(f"{run.provider}, {to_z(run.since)} to {to_z(run.until)}, by its {run.source}")
    console.print(
        f"ours    {counted(run.ours_count, 'transaction')}, {to_text(run.ours_minor)} som,"
        f" returned {to_text(run.ours_returned_minor)}"
    )
    console.print(
        f"theirs  {counted(run.theirs_count, 'transaction')}, {to_text(run.theirs_minor)} som,"
        f" returned {to_text(run.theirs_returned_minor)}"
    )
    console.print(
        "both sides agree"
        if not run.difference_count
        else f"{counted(run.difference_count, 'difference')}: evpower payments differences"
    )


def differences(
    provider: str = typer.Option("", "--provider", help="Only of this provider."),
    state: str = typer.Option("open", "--state", help="open, decided, closed or all."),
    limit: int = typer.Option(1000, min=1, max=100_000, help="The newest so many."),
    as_csv: bool = typer.Option(False, "--csv", help="Print CSV."),
    as_json: bool = _JSON,
) -> None:
    """List what differs between EvPower and payment providers, the newest first."""
    if state not in _STATES:
        fail(f"there is no state {state!a:.40}", ", ".join(_STATES))

    async def work(database: Database) -> list[Difference]:
        async with database.connection() as connection:
            return await money.list_differences(
                connection, provider=provider or None, state=state, before_id=None, limit=limit
            )

    listed = with_database(work)
    if as_json:
        typer.echo(json.dumps([money.difference_json(row) for row in listed]))
    elif as_csv:
        typer.echo(money.differences_csv(listed), nl=False)
    else:
        for row in listed:
            console.print(_line(row))
        console.print(counted(len(listed), "difference"))


def decide(
    number: int = typer.Argument(min=1, max=MAX_NUMBER, help="The difference's number."),
    decision: str = typer.Argument(
        help="ask (apply what the provider says now), review (to the payments in review) or"
        " explained (nothing is to be done)."
    ),
    reason: str = typer.Option(..., "--reason", help="Why, for the audit."),
    operator: str = _OPERATOR,
    as_json: bool = _JSON,
) -> None:
    """Decide about a difference. Money moves only as the provider says, or by a review."""
    if decision not in _DECISIONS:
        fail(f"there is no decision {decision!a:.40}", ", ".join(_DECISIONS))

    async def work(
        database: Database, providers: money.Providers, confirmer: money.Confirmer
    ) -> money.Decided:
        return await money.decide(
            database,
            providers,
            confirmer,
            difference_id=number,
            decision=decision,
            operator=operator or getpass.getuser(),
            reason=reason,
            clock=utc_now,
        )

    with notifying(on=decision == "ask"):
        decided = _with_providers(load_checked(), work)
    if as_json:
        row = money.difference_json(decided.difference)
        typer.echo(json.dumps({"difference": row, "outcomes": list(decided.outcomes)}))
        return
    if decision != "explained":
        console.print(f"events: {', '.join(decided.outcomes) or 'none'}")
    console.print(_line(decided.difference))


def register(group: typer.Typer) -> None:
    """Adds the commands."""
    for command in (reconcile, differences, decide):
        group.command()(command)


def _line(row: Difference) -> str:
    returned = row.theirs_returned_minor
    state = "closed" if row.closed_at else row.decision or "open"
    return (
        f"{row.id}  {row.provider}  {row.kind}: ours {to_text(row.ours_minor)}, theirs"
        f" {to_text(row.theirs_minor)}, returned {to_text(row.ours_returned_minor)} and"
        f" {'unknown' if returned is None else to_text(returned)} {row.theirs_currency}, reference"
        f" {row.reference or 'none'}, order {row.order_id or 'none'}, {to_z(row.at)}  -> {state}"
    )


def _report(file: Path | None, columns: str) -> money.Report | None:
    if file is None:
        return None
    try:
        items = money.read_report(file.read_bytes(), money.parse_columns(columns))
    except money.ReportError as error:
        fail(str(error))
    except ValueError as error:
        fail(f"the columns make no sense: {error}", "docs/reconciliation.md")
    except OSError as error:
        fail(f"{file} can't be read: {error.strerror}")
    return money.Report(file.name, items)


def _period(first: str, last: str, report: money.Report | None) -> tuple[datetime, datetime]:
    """Returns the period; of a report without --from its own days."""
    times = [item.at for item in report.items if item.at is not None] if report else []
    try:
        begin = date.fromisoformat(first) if first else None
        end = date.fromisoformat(last) if last else None
    except ValueError:
        fail(f"{first!a:.40} to {last!a:.40} are no dates", "--from 2026-12-01 --to 2026-12-31")
    if begin is None and times:
        begin, end = money.day_of(min(times)), end or money.day_of(max(times))
    begin = begin or money.last_reconciled_day(utc_now())
    try:
        return money.reconciled_days(begin, end or begin)
    except EvPowerError as error:
        fail(error.for_operators)


def _with_providers(
    settings: Settings,
    work: Callable[[Database, money.Providers, money.Confirmer], Awaitable[T]],
) -> T:
    """Runs `work` on the database and the providers; an expected error becomes one line."""

    async def run() -> T:
        database = await Database.open(settings.database_url.get_secret_value(), size=4)
        confirmer = money.Confirmer(database, LocalBus())
        try:
            async with outgoing_http(settings) as http:
                providers = money.configured_providers(settings, http)
                return await work(database, providers, confirmer)
        finally:
            await confirmer.close()
            await database.close()

    try:
        with logs_to_stderr():
            return asyncio.run(run())
    except EvPowerError as error:
        fail(error.for_operators)
    except money.ProviderError as error:
        fail(f"the provider: {error}", "with a report of its cabinet: --file report.csv")

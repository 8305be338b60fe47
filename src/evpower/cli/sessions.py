"""`evpower session` and `evpower quarantine`: what runs, what it cost, better figures."""

import getpass
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, TypeVar
from uuid import UUID

import typer

from evpower import charging
from evpower.cli.notify import notify_station
from evpower.cli.out import console, fail
from evpower.cli.sessions_report import (
    bill_lines,
    bill_row,
    moved_line,
    session_line,
    session_lines,
    session_row,
    step_line,
    step_row,
    unattributed_line,
    unattributed_row,
    unmatched_line,
    unmatched_row,
)
from evpower.cli.settings import load, with_database
from evpower.foundation.clock import read_time, utc_now
from evpower.foundation.db import Connection, Database
from evpower.foundation.errors import Invalid
from evpower.foundation.money import read_som

if TYPE_CHECKING:
    from evpower.charging import OperatorBill, SessionRow, StopRequested

session = typer.Typer(help="Charging sessions.", no_args_is_help=True)
quarantine = typer.Typer(help="Sessions whose figures can't be right.", no_args_is_help=True)
_JSON = typer.Option(False, "--json", help="Print JSON.")
_OPERATOR = typer.Option("", "--operator", help="Who does this; the login name by default.")
_ID = typer.Argument(help="The session's id.")
_ENERGY = typer.Option("", "--energy", help="kWh that it took; as it was billed by default.")
_ENDED = typer.Option("", "--ended-at", help="When it ended, ISO 8601; as billed by default.")
_REASON = typer.Option(..., "--reason", help="Why; it stands on the bill.")
_FORCE = typer.Option(False, "--force", help="Even more than the connector can deliver.")
_LIMIT = typer.Option(100, "--limit", min=1, max=10_000, help="How many at most.")
T = TypeVar("T")


@session.command("list")
def list_sessions(
    is_open: bool = typer.Option(False, "--open", help="Only those that are not over."),
    station: str = typer.Option("", "--station", help="Only those of a station's id."),
    client: str = typer.Option("", "--client", help="Only those of a client's id."),
    limit: int = _LIMIT,
    as_json: bool = _JSON,
) -> None:
    """List sessions that EvPower ran or runs, the newest first."""
    client_id = _uuid(client, "client") if client else None
    rows = _read(
        lambda connection: charging.list_sessions(
            connection, is_open=is_open, station_id=station or None, client_id=client_id,
            limit=limit,
        )
    )  # fmt: skip
    _print_list(rows, "no session", as_json=as_json)


@session.command()
def show(session_id: str = _ID, as_json: bool = _JSON) -> None:
    """Show a session: how far it is, what is due of it, its bills."""
    _show(_uuid(session_id, "session"), as_json=as_json)


@session.command()
def stop(
    session_id: str = _ID,
    reason: str = typer.Option("", "--reason", help="Why, for the audit; --force needs one."),
    force: bool = typer.Option(
        False,
        "--force",
        help="End it now by its last register: the station is gone, or charges on.",
    ),
    operator: str = _OPERATOR,
    as_json: bool = _JSON,
) -> None:
    """Ask the station to stop a session; one that waits for its start is cancelled.

    With --force it ends now, estimated; the station's own stop is the next bill.
    """
    wanted = charging.OperatorStop(
        _uuid(session_id, "session"), operator or getpass.getuser(), reason, force
    )

    rules = charging.configured_rules(load())

    async def work(connection: Connection) -> "StopRequested":
        return await charging.stop_by_operator(connection, wanted, now=utc_now(), rules=rules)

    requested = _write(work)
    notify_station(requested.station_id)
    if as_json:
        typer.echo(json.dumps({"id": str(wanted.session_id), "state": requested.state}))
    else:
        was = " already: nothing was sent" if requested.is_repeated else ""
        console.print(f"session {wanted.session_id} is {requested.state}{was}")


@session.command()
def correct(
    session_id: str = _ID,
    energy: str = _ENERGY,
    ended_at: str = _ENDED,
    reason: str = _REASON,
    force: bool = _FORCE,
    operator: str = _OPERATOR,
    as_json: bool = _JSON,
) -> None:
    """Bill a session by a better figure: more is charged, less is forgiven or refunded."""
    if not energy and not ended_at:
        fail("nothing to correct", "--energy KWH, --ended-at TIME, or both")
    bill = _bill(session_id, energy, ended_at, reason, operator, is_forced=force)
    _correct(bill, as_json=as_json)


@session.command()
def unattributed(limit: int = _LIMIT, as_json: bool = _JSON) -> None:
    """List what was delivered to no client and billed to none, the newest first."""
    rows = _read(lambda connection: charging.list_unattributed(connection, limit=limit))
    if as_json:
        typer.echo(json.dumps([unattributed_row(row) for row in rows]))
        return
    for row in rows:
        console.print(unattributed_line(row))
    if not rows:
        console.print("nothing was delivered to no client")


@session.command()
def unmatched_stops(limit: int = _LIMIT, as_json: bool = _JSON) -> None:
    """List the stops that fitted no transaction, the newest first."""
    rows = _read(lambda connection: charging.list_unmatched_stops(connection, limit=limit))
    if as_json:
        typer.echo(json.dumps([unmatched_row(row) for row in rows]))
        return
    for row in rows:
        console.print(unmatched_line(row))
    if not rows:
        console.print("every stop fitted a transaction")


@quarantine.command("list")
def list_quarantine(limit: int = _LIMIT, as_json: bool = _JSON) -> None:
    """List sessions that wait for a decision; what is plausible of them is billed."""
    rows = _read(
        lambda connection: charging.list_sessions(connection, in_quarantine=True, limit=limit)
    )
    _print_list(rows, "no session is in quarantine", as_json=as_json)


@quarantine.command()
def decide(
    session_id: str = _ID,
    energy: str = _ENERGY,
    ended_at: str = _ENDED,
    reason: str = _REASON,
    force: bool = _FORCE,
    operator: str = _OPERATOR,
    as_json: bool = _JSON,
) -> None:
    """End a quarantine: by a better figure, or without one by what was billed."""
    bill = _bill(session_id, energy, ended_at, reason, operator, is_forced=force)
    _correct(replace(bill, is_decision=True), as_json=as_json)


def _bill(
    session_id: str, energy: str, ended_at: str, reason: str, operator: str, *, is_forced: bool
) -> "OperatorBill":
    return charging.OperatorBill(
        session_id=_uuid(session_id, "session"),
        energy_wh=_energy_wh(energy) if energy else None,
        ended_at=_time(ended_at) if ended_at else None,
        actor=operator or getpass.getuser(),
        reason=reason,
        is_forced=is_forced,
    )


def _correct(bill: "OperatorBill", *, as_json: bool) -> None:
    _write(lambda connection: charging.correct_session(connection, bill, now=utc_now()))
    _show(bill.session_id, as_json=as_json)
    if not as_json:
        _, bills = _read(lambda connection: charging.get_session(connection, bill.session_id))
        console.print(moved_line(bills))


def _show(session_id: UUID, *, as_json: bool) -> None:
    row, bills = _read(lambda connection: charging.get_session(connection, session_id))
    steps = _read(lambda connection: charging.list_stop_steps(connection, session_id))
    if as_json:
        more = {
            "bills": [bill_row(bill) for bill in bills],
            "stop_steps": [step_row(step) for step in steps],
        }
        typer.echo(json.dumps(session_row(row) | more))
        return
    for line in (*session_lines(row), *(step_line(step) for step in steps), *bill_lines(bills)):
        console.print(line)


def _print_list(rows: "Sequence[SessionRow]", empty: str, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps([session_row(row) for row in rows]))
        return
    for row in rows:
        console.print(session_line(row))
    if not rows:
        console.print(empty)


def _read(work: Callable[[Connection], Awaitable[T]]) -> T:
    async def run(database: Database) -> T:
        async with database.connection() as connection:
            return await work(connection)

    return with_database(run)


def _write(work: Callable[[Connection], Awaitable[T]]) -> T:
    async def run(database: Database) -> T:
        async with database.transaction() as connection:
            return await work(connection)

    return with_database(run)


def _uuid(text: str, noun: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        fail(f"{text!a:.80} is no id of a {noun}", "evpower session list")


def _energy_wh(text: str) -> int:
    try:
        scaled = read_som(text) * 1000
    except Invalid:
        fail(f"{text!a:.40} is no energy", "kWh with at most 3 decimals, as in 12.5")
    if scaled != int(scaled) or scaled < Decimal(0):
        fail(f"{text} is no energy", "kWh with at most 3 decimals, as in 12.5")
    return int(scaled)


def _time(text: str) -> datetime:
    try:
        return read_time(text)
    except ValueError as error:
        fail(f"the end {error}", "2026-03-08T12:00:00+06:00")

"""`evpower tariff preview`: what sessions that are over would have cost by another version."""

import json
from itertools import zip_longest
from typing import Any
from uuid import UUID

import typer

from evpower import charging, tariffs
from evpower.charging import PreviewedBill
from evpower.cli.out import console, fail
from evpower.cli.settings import MAX_NUMBER, with_database
from evpower.cli.tariffs_report import used_text
from evpower.foundation.clock import to_z, utc_now
from evpower.foundation.db import Database
from evpower.foundation.money import to_text
from evpower.tariffs import Snapshot

_WIDTH = 46  # of a bill that stands beside another


def preview(
    plan: str = typer.Argument(help="CODE, or CODE:VERSION; the newest version by default."),
    session: str = typer.Option("", "--session", help="A session that is over."),
    station: str = typer.Option("", "--station", help="Any name of a station: its last sessions."),
    last: int = typer.Option(
        20, "--last", min=1, max=charging.MAX_PREVIEWED, help="How many of the station."
    ),
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
) -> None:
    """Show past sessions' bills beside what they cost by a version; a draft, too."""
    if bool(session) == bool(station):
        fail("either a session or a station", "--session ID, or --station NAME --last 20")
    session_id = _session_id(session) if session else None

    async def work(database: Database) -> tuple[Snapshot, list[PreviewedBill]]:
        async with database.connection() as connection:
            code, _, number = plan.partition(":")
            versions = await tariffs.list_versions(connection, code)
            chosen = _number(number, plan) if number else versions[0].number
            other = await tariffs.get_plan(connection, code, at=utc_now(), number=chosen)
            if session_id is not None:
                return other, [await charging.preview_session(connection, session_id, other)]
            return other, await charging.preview_station(connection, station, other, count=last)

    other, previews = with_database(work)
    if as_json:
        rows = [_row(bill, other) for bill in previews]
        typer.echo(json.dumps(rows[0] if session else rows))
    elif session:
        _print_beside(previews[0], other)
    else:
        _print_list(previews, other)


def _session_id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        fail(f"{text!r} is no id of a session", "evpower session list")


def _number(text: str, plan: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= MAX_NUMBER:
        fail(f"{plan!r} names no version", "CODE:VERSION, for example day-night:2")
    return int(text)


def _row(bill: PreviewedBill, other: Snapshot) -> dict[str, object]:
    session, billed_by = bill.session, bill.billed_by
    return {
        "session_id": str(session.id),
        "station_id": session.station_id,
        "connector": session.connector,
        "started_at": to_z(session.started_at),
        "ended_at": to_z(session.ended_at),
        "energy_kwh": session.energy_wh / 1000,
        "billed": {
            "plan": None if billed_by is None else billed_by.plan,
            "version": None if billed_by is None else billed_by.version,
            "total": to_text(session.cost_minor),
            "parts": list(session.parts),
        },
        "preview": {
            "plan": other.plan,
            "version": other.version,
            "total": to_text(bill.cost_minor),
            "parts": list(bill.parts),
        },
        "difference": to_text(bill.cost_minor - session.cost_minor),
        "is_even": bill.is_even,
    }


def _print_beside(bill: PreviewedBill, other: Snapshot) -> None:
    session, billed_by = bill.session, bill.billed_by
    console.print(
        f"{session.id}  {session.station_id}/{session.connector}"
        f"  {to_z(session.started_at)} to {to_z(session.ended_at)}  {session.energy_wh / 1000} kWh"
    )
    left = "billed" if billed_by is None else f"billed: {billed_by.plan}:{billed_by.version}"
    console.print(f"{left:{_WIDTH}}  {f'preview: {other.plan}:{other.version}'}")
    for billed, shown in zip_longest(map(_line, session.parts), map(_line, bill.parts)):
        console.print(f"{billed or '':{_WIDTH}}  {shown or ''}".rstrip())
    totals = (_amount("total", session.cost_minor), _amount("total", bill.cost_minor))
    console.print(f"{totals[0]:{_WIDTH}}  {totals[1]}")
    console.print(f"difference {to_text(bill.cost_minor - session.cost_minor)}")
    if bill.is_even:
        console.print("its meter values are not stored: the energy is taken to have flowed evenly")


def _line(part: dict[str, Any]) -> str:
    kind = str(part["kind"]).replace("_", " ")
    return f"{kind:10} {used_text(part):24} {part['amount']:>9.2f}"


def _amount(label: str, minor: int) -> str:
    return f"{label:35} {to_text(minor):>9}"


def _print_list(previews: list[PreviewedBill], other: Snapshot) -> None:
    label = f"{other.plan}:{other.version}"
    console.print(_columns("session", "ended", "kWh", "billed", label, "difference"))
    for bill in previews:
        session = bill.session
        amounts = _amounts(session.energy_wh, session.cost_minor, bill.cost_minor)
        line = _columns(str(session.id), to_z(session.ended_at), *amounts)
        console.print(f"{line}{'  even' if bill.is_even else ''}")
    amounts = _amounts(
        sum(bill.session.energy_wh for bill in previews),
        sum(bill.session.cost_minor for bill in previews),
        sum(bill.cost_minor for bill in previews),
    )
    console.print(_columns(f"{len(previews)} sessions", "", *amounts))


def _amounts(energy_wh: int, billed_minor: int, cost_minor: int) -> tuple[str, str, str, str]:
    difference = to_text(cost_minor - billed_minor)
    return f"{energy_wh / 1000:.3f}", to_text(billed_minor), to_text(cost_minor), difference


def _columns(session: str, ended: str, kwh: str, billed: str, cost: str, difference: str) -> str:
    return f"{session:36}  {ended:20} {kwh:>9} {billed:>10} {cost:>14} {difference:>10}"

"""`evpower technician`: cards that charge without a session."""

import getpass
import json
from decimal import Decimal
from typing import TYPE_CHECKING, Final

import typer

from evpower import charging
from evpower.cli.out import console
from evpower.cli.settings import with_database
from evpower.foundation.clock import to_z
from evpower.foundation.db import Database

if TYPE_CHECKING:
    from evpower.charging import Technician, TechnicianCharge

technician = typer.Typer(help="Cards of technicians, who charge unbilled.", no_args_is_help=True)
_TAG = typer.Argument(help="What a station reads from the card.")
_OPERATOR = typer.Option("", "--operator", help="Who does this; the login name by default.")
_REASON = typer.Option("", "--reason", help="Why, for the audit.")
_WH_PER_KWH: Final = 1000
_LIMIT = typer.Option(20, "--limit-kwh", min=1, max=1000, help="At most this in any 24 hours.")
_JSON = typer.Option(False, "--json", help="Print JSON.")


@technician.command()
def add(
    tag: str = _TAG,
    name: str = typer.Option(..., "--name", help="Whose card it is."),
    limit_kwh: int = _LIMIT,
    reason: str = _REASON,
    operator: str = _OPERATOR,
    as_json: bool = _JSON,
) -> None:
    """Let a card charge anywhere, up to a cap; its charges are recorded and billed to no client."""

    async def work(database: Database) -> "Technician":
        async with database.transaction() as connection:
            return await charging.add_technician(
                connection,
                tag=tag,
                name=name,
                daily_limit_wh=limit_kwh * _WH_PER_KWH,
                actor=operator or getpass.getuser(),
                reason=reason or None,
            )

    _print([with_database(work)], as_json=as_json)


@technician.command()
def limit(
    tag: str = _TAG,
    limit_kwh: int = _LIMIT,
    reason: str = _REASON,
    operator: str = _OPERATOR,
    as_json: bool = _JSON,
) -> None:
    """Change what a card may take in any 24 hours."""

    async def work(database: Database) -> "Technician":
        async with database.transaction() as connection:
            return await charging.limit_technician(
                connection,
                tag=tag,
                daily_limit_wh=limit_kwh * _WH_PER_KWH,
                actor=operator or getpass.getuser(),
                reason=reason or None,
            )

    _print([with_database(work)], as_json=as_json)


@technician.command()
def charges(
    shown: int = typer.Option(100, "--limit", min=1, max=10_000, help="How many at most."),
    as_json: bool = _JSON,
) -> None:
    """List what technicians took, the newest first."""

    async def work(database: Database) -> "list[TechnicianCharge]":
        async with database.connection() as connection:
            return await charging.list_technician_charges(connection, limit=shown)

    rows = with_database(work)
    if as_json:
        typer.echo(json.dumps([_charge_row(row) for row in rows]))
        return
    for row in rows:
        ended = "now" if row.ended_at is None else to_z(row.ended_at)
        console.print(
            f"transaction {row.transaction_id}  {row.station_id}/{row.connector}  {row.tag}"
            f"  {row.name or 'removed'}  {_kwh(row.energy_wh)} of {_kwh(row.limit_energy_wh)} kWh"
            f"  {to_z(row.started_at)} to {ended}"
        )
    if not rows:
        console.print("no technician charged")


@technician.command()
def remove(tag: str = _TAG, reason: str = _REASON, operator: str = _OPERATOR) -> None:
    """End what a card may."""

    async def work(database: Database) -> None:
        async with database.transaction() as connection:
            await charging.remove_technician(
                connection,
                tag=tag,
                actor=operator or getpass.getuser(),
                reason=reason or None,
            )

    with_database(work)
    console.print(f"{tag}: removed")


@technician.command("list")
def list_(as_json: bool = _JSON) -> None:
    """List the cards."""

    async def work(database: Database) -> "list[Technician]":
        async with database.connection() as connection:
            return await charging.list_technicians(connection)

    _print(with_database(work), as_json=as_json)


def _print(cards: "list[Technician]", *, as_json: bool) -> None:
    if as_json:
        rows = [
            {
                "tag": card.tag,
                "name": card.name,
                "daily_limit_kwh": _kwh(card.daily_limit_wh),
                "created_at": to_z(card.created_at),
            }
            for card in cards
        ]
        typer.echo(json.dumps(rows))
        return
    for card in cards:
        cap = f"{_kwh(card.daily_limit_wh)} kWh in 24 hours"
        console.print(f"{card.tag}  {card.name}  {cap}  since {to_z(card.created_at)}")


def _charge_row(row: "TechnicianCharge") -> dict[str, object]:
    return {
        "transaction_id": row.transaction_id,
        "station": row.station_id,
        "connector": row.connector,
        "tag": row.tag,
        "name": row.name,
        "started_at": to_z(row.started_at),
        "ended_at": None if row.ended_at is None else to_z(row.ended_at),
        "energy_kwh": _kwh(row.energy_wh),
        "limit_kwh": _kwh(row.limit_energy_wh),
    }


def _kwh(energy_wh: int) -> str:
    return f"{Decimal(energy_wh) / 1000:.3f}"

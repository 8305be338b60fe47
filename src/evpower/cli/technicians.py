"""`evpower technician`: cards that charge without a session."""

import getpass
import json
from typing import TYPE_CHECKING

import typer

from evpower import charging
from evpower.cli.out import console
from evpower.cli.settings import with_database
from evpower.foundation.clock import to_z
from evpower.foundation.db import Database

if TYPE_CHECKING:
    from evpower.charging import Technician

technician = typer.Typer(help="Cards of technicians, who charge unbilled.", no_args_is_help=True)
_TAG = typer.Argument(help="What a station reads from the card.")
_OPERATOR = typer.Option("", "--operator", help="Who does this; the login name by default.")
_REASON = typer.Option("", "--reason", help="Why, for the audit.")
_JSON = typer.Option(False, "--json", help="Print JSON.")


@technician.command()
def add(
    tag: str = _TAG,
    name: str = typer.Option(..., "--name", help="Whose card it is."),
    reason: str = _REASON,
    operator: str = _OPERATOR,
    as_json: bool = _JSON,
) -> None:
    """Let a card charge anywhere; its charges are recorded and billed to no client."""

    async def work(database: Database) -> "Technician":
        async with database.transaction() as connection:
            return await charging.add_technician(
                connection,
                tag=tag,
                name=name,
                actor=operator or getpass.getuser(),
                reason=reason or None,
            )

    _print([with_database(work)], as_json=as_json)


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
            {"tag": card.tag, "name": card.name, "created_at": to_z(card.created_at)}
            for card in cards
        ]
        typer.echo(json.dumps(rows))
        return
    for card in cards:
        console.print(f"{card.tag}  {card.name}  since {to_z(card.created_at)}")

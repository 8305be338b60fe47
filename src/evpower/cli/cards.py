"""`evpower card`: cards of clients, which start charges without the app."""

import getpass
import json
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from evpower import charging, identity
from evpower.cli.out import console, fail
from evpower.cli.settings import with_database
from evpower.foundation.clock import to_z, utc_now
from evpower.foundation.db import Database

if TYPE_CHECKING:
    from evpower.charging import ImportedCards
    from evpower.identity import IdTag, RemovedIdTag

card = typer.Typer(help="Cards of clients.", no_args_is_help=True)
_TAG = typer.Argument(help="What a station reads from the card.")
_OPERATOR = typer.Option("", "--operator", help="Who does this; the login name by default.")
_REASON = typer.Option("", "--reason", help="Why, for the audit.")
_JSON = typer.Option(False, "--json", help="Print JSON.")


@card.command()
def add(
    tag: str = _TAG,
    client: str = typer.Option(..., "--client", help="The client's id, also an old one."),
    reason: str = _REASON,
    operator: str = _OPERATOR,
    as_json: bool = _JSON,
) -> None:
    """Give a card to a client: it starts charges, billed to the client's wallet."""

    async def work(database: Database) -> "IdTag":
        async with database.transaction() as connection:
            return await charging.add_card(
                connection,
                tag=tag,
                client_id=client,
                actor=operator or getpass.getuser(),
                reason=reason or None,
            )

    _print([with_database(work)], as_json=as_json)


@card.command()
def remove(tag: str = _TAG, reason: str = _REASON, operator: str = _OPERATOR) -> None:
    """Take a card from its client; what runs goes on."""

    async def work(database: Database) -> "list[RemovedIdTag]":
        async with database.transaction() as connection:
            return await charging.remove_card(
                connection,
                tag=tag,
                actor=operator or getpass.getuser(),
                reason=reason or None,
            )

    for spelling, client_id in with_database(work):
        console.print(f"{spelling}: taken from client {client_id}")


@card.command("list")
def list_(
    client: str = typer.Option("", "--client", help="Only those of a client's id."),
    tag: str = typer.Option("", "--tag", help="Only this card."),
    limit: int = typer.Option(100, "--limit", min=1, max=100_000, help="How many at most."),
    as_json: bool = _JSON,
) -> None:
    """List the cards, the newest first."""

    async def work(database: Database) -> "list[IdTag]":
        async with database.connection() as connection:
            client_id = await identity.resolve(connection, client) if client else None
            if client and client_id is None:
                fail(f"{client!a:.80} is no client", "evpower client find")
            return await identity.list_id_tags(
                connection, client_id=client_id, tag=tag or None, limit=limit
            )

    _print(with_database(work), as_json=as_json)


@card.command("import")
def import_(
    file: Path = typer.Argument(help="CSV with id_tag and client_id, as ocpp_authorization has."),
    reason: str = _REASON,
    operator: str = _OPERATOR,
    as_json: bool = _JSON,
) -> None:
    """Give the cards of an older backend to their clients; phone numbers are no cards.

    The same file again changes nothing. Lines that are left out are named.
    """
    try:
        raw = file.read_bytes()
    except OSError as error:
        fail(f"{file} can't be read: {error.strerror}")

    async def work(database: Database) -> "ImportedCards":
        async with database.transaction() as connection:
            return await charging.import_cards(
                connection,
                raw,
                actor=operator or getpass.getuser(),
                now=utc_now(),
                reason=reason or None,
            )

    imported = with_database(work)
    if as_json:
        left_out = [row._asdict() for row in imported.left_out]
        typer.echo(json.dumps({"counts": dict(imported.counts), "left_out": left_out}))
        return
    for row in imported.left_out:
        console.print(f"line {row.line}: {row.tag!a:.80} left out: {row.outcome}")
    for outcome, count in sorted(imported.counts.items()):
        console.print(f"{outcome:15} {count}")


def _print(cards: "list[IdTag]", *, as_json: bool) -> None:
    if as_json:
        rows = [
            {
                "tag": row.tag,
                "client_id": str(row.client_id),
                "migration_run": row.run,
                "created_at": to_z(row.created_at),
            }
            for row in cards
        ]
        typer.echo(json.dumps(rows))
        return
    for row in cards:
        source = "added by hand" if row.run is None else f"of migration {row.run}"
        console.print(f"{row.tag}  client {row.client_id}  {source}  since {to_z(row.created_at)}")
    if not cards:
        console.print("no card")

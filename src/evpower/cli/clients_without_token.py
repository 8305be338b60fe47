"""`evpower clients without-token`: whose oldest app may still call without a token."""

import getpass
import json
from pathlib import Path
from typing import Final

import typer

from evpower import identity
from evpower.cli.out import console, fail
from evpower.cli.settings import with_database
from evpower.foundation.db import Database
from evpower.foundation.errors import NotFound

listed = typer.Typer(
    help="Clients whose app sent no token before EvPower took over: add, remove, list.",
    no_args_is_help=True,
)
_MOST: Final = 100_000
_MOST_BYTES: Final = 16 * 1024 * 1024
_SHOWN: Final = 20
_REASON = typer.Option(..., "--reason", help="Why, for the audit.")
_OPERATOR = typer.Option("", "--operator", help="Who does this; the login name by default.")
_JSON = typer.Option(False, "--json", help="Print JSON.")


def register(group: typer.Typer) -> None:
    """Adds them to `evpower clients`."""
    group.add_typer(listed, name="without-token")


@listed.command("add")
def add(
    file: Path = typer.Argument(
        help="One id or old id a line, as the older proxy's log has them; # begins a comment."
    ),
    reason: str = _REASON,
    operator: str = _OPERATOR,
    as_json: bool = _JSON,
) -> None:
    """Add clients; ids that no client has are listed, and the exit code is 1 then."""
    ids = _read(file)
    actor = operator or getpass.getuser()

    async def work(database: Database) -> identity.AddedWithoutToken:
        async with database.transaction() as connection:
            return await identity.add_without_token(
                connection, ids, actor=actor, reason=_demand(reason)
            )

    added = with_database(work)
    if as_json:
        typer.echo(json.dumps(added._asdict()))
    else:
        console.print(
            f"{added.new} added, {added.known} were listed, {len(added.unknown)} unknown",
        )
        for raw in added.unknown[:_SHOWN]:
            console.print(f"  no client has {raw!r}", markup=False)
    if added.unknown:
        raise typer.Exit(1)


@listed.command("remove")
def remove(
    client: str = typer.Argument(help="The client's id, or the id it had before."),
    reason: str = _REASON,
    operator: str = _OPERATOR,
) -> None:
    """Take a client off the list: from then on its app has to sign in."""
    actor = operator or getpass.getuser()

    async def work(database: Database) -> str:
        async with database.transaction() as connection:
            try:
                removed = await identity.remove_without_token(
                    connection, client.strip(), actor=actor, reason=_demand(reason)
                )
            except NotFound:
                fail(f"the list has no {client!r}", "evpower clients without-token list")
            return str(removed)

    console.print(f"removed {with_database(work)}")


@listed.command("list")
def show(
    limit: int = typer.Option(100, min=1, max=_MOST, help="The newest."), as_json: bool = _JSON
) -> None:
    """Show the clients, the newest first."""

    async def work(database: Database) -> list[identity.WithoutToken]:
        async with database.connection() as connection:
            return await identity.list_without_token(connection, limit)

    rows = with_database(work)
    if as_json:
        listing = [
            {
                "client_id": str(row.client_id),
                "actor": row.actor,
                "added_at": row.added_at.isoformat(),
            }
            for row in rows
        ]
        typer.echo(json.dumps(listing))
        return
    for row in rows:
        console.print(f"{row.client_id}  {row.added_at:%Y-%m-%d %H:%M}  {row.actor}", markup=False)
    if not rows:
        console.print("none")


def _demand(reason: str) -> str:
    if not reason.strip():
        fail("a reason is needed", 'for example --reason "proxy log of 14 to 28 November"')
    return reason.strip()


def _read(file: Path) -> list[str]:
    try:
        if file.stat().st_size > _MOST_BYTES:
            fail(f"{file} is larger than {_MOST_BYTES} bytes")
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        fail(f"{file} can't be read: {error}")
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    ids = list(dict.fromkeys(line for line in lines if line))
    if not ids:
        fail(f"{file} holds no id")
    if len(ids) > _MOST:
        fail(f"{file} holds more than {_MOST} ids")
    return ids

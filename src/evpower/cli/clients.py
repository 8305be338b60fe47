"""`evpower clients`: find, block, unblock and close clients, each act with a reason."""

import getpass
import json
import sys
from collections.abc import Awaitable, Callable
from uuid import UUID

import typer

from evpower import identity, wallet
from evpower.cli.notify import notify
from evpower.cli.out import console, fail
from evpower.cli.settings import with_database
from evpower.foundation.db import Connection, Database
from evpower.foundation.money import to_text

clients = typer.Typer(help="Clients: find, block, unblock, close.", no_args_is_help=True)
_CLIENT = typer.Argument(help="The client's id, or the id it had before.")
_REASON = typer.Option(..., "--reason", help="Why, for the audit.")
_OPERATOR = typer.Option("", "--operator", help="Who does this; the login name by default.")
_JSON = typer.Option(False, "--json", help="Print JSON.")
_Act = Callable[..., Awaitable[identity.Client]]


@clients.command()
def find(
    query: str = typer.Argument(help="An id, an old id, an email or a phone."),
    as_json: bool = _JSON,
) -> None:
    """Show the clients of an id, email or phone; a contact may be claimed by several."""

    async def work(database: Database) -> list[dict[str, object]]:
        async with database.connection() as connection:
            clients = await identity.find_clients(connection, query)
            return [await _row(connection, client) for client in clients]

    rows = with_database(work)
    if as_json:
        typer.echo(json.dumps(rows))
        return
    for row in rows:
        _show(row)
    if not rows:
        console.print("no client has it")


@clients.command()
def block(
    client: str = _CLIENT, reason: str = _REASON, operator: str = _OPERATOR, as_json: bool = _JSON
) -> None:
    """Keep a client from moving money; reading stays, and a running charge is billed."""
    _act(identity.block_client, client, reason, operator, as_json=as_json)


@clients.command()
def unblock(
    client: str = _CLIENT, reason: str = _REASON, operator: str = _OPERATOR, as_json: bool = _JSON
) -> None:
    """Lift the operator's block; a ban in Supabase Auth stays."""
    _act(identity.unblock_client, client, reason, operator, as_json=as_json)


@clients.command()
def close(
    client: str = _CLIENT,
    reason: str = _REASON,
    operator: str = _OPERATOR,
    yes: bool = typer.Option(False, "--yes", help="Needed: closing is not undone."),
    as_json: bool = _JSON,
) -> None:
    """Close a client for good: money and history stay, email and phone become free."""
    if not yes:
        if not sys.stdin.isatty():
            fail("closing a client is not undone", "say so with --yes")
        typer.confirm(f"Close {client} for good?", abort=True)
    _act(identity.close_client, client, reason, operator, as_json=as_json)


def _act(act: _Act, query: str, reason: str, operator: str, *, as_json: bool) -> None:
    if not reason.strip():
        fail("a reason is needed", 'for example --reason "chargeback, call 4711"')

    async def work(database: Database) -> dict[str, object]:
        async with database.transaction() as connection:
            client_id = await identity.resolve(connection, query.strip())
            if client_id is None:
                fail(f"there is no client {query!r}", "evpower clients find EMAIL-OR-PHONE")
            client = await act(
                connection,
                client_id,
                actor=operator or getpass.getuser(),
                reason=reason.strip(),
            )
            return await _row(connection, client)

    row = with_database(work)
    notify(UUID(str(row["client_id"])))
    if as_json:
        typer.echo(json.dumps(row))
    else:
        _show(row)


async def _row(connection: Connection, client: identity.Client) -> dict[str, object]:
    money = await wallet.get_wallet(connection, client.id)
    assert money is not None  # noqa: S101 - a client has a wallet from the first moment
    asked_at = client.deletion_requested_at
    return {
        "client_id": str(client.id),
        "status": client.status,
        "email": client.email,
        "email_verified": client.email_verified,
        "phone": client.phone,
        "phone_verified": client.phone_verified,
        "name": client.name,
        "balance": to_text(money.balance_minor),
        "held": to_text(money.held_minor),
        "debt": to_text(money.debt_minor),
        "banned_until": client.banned_until.isoformat() if client.banned_until else None,
        "unmapped_status": client.unmapped_status,
        "deletion_requested_at": asked_at.isoformat() if asked_at else None,
        "created_at": client.created_at.isoformat(),
    }


def _show(row: dict[str, object]) -> None:
    contacts = "  ".join(
        f"{row[name]} (verified {'yes' if row[f'{name}_verified'] else 'no'})"
        for name in ("email", "phone")
        if row[name]
    )
    if row["name"]:
        contacts = f"{contacts}  {row['name']}"
    money = f"{row['balance']} som, {row['held']} held, {row['debt']} owed"
    deletion = "  asked to be deleted" if row["deletion_requested_at"] else ""
    banned = f"  banned until {row['banned_until']}" if row["banned_until"] else ""
    if row["unmapped_status"]:
        banned += f"  was {row['unmapped_status']!r}, not mapped (evpower sync words)"
    console.print(
        f"{row['client_id']}  {row['status']}{banned}{deletion}  {money}  {contacts}",
    )

"""`evpower supabase guard`: the switch between an older backend and EvPower."""

import getpass
import json

import typer

from evpower import sync as synced
from evpower.cli.out import console, styled
from evpower.cli.remote import with_supabase
from evpower.foundation.clock import to_z
from evpower.foundation.db import Database

guard = typer.Typer(
    help="Whether EvPower or an older backend writes money, stations and tariffs.",
    no_args_is_help=True,
)
_JSON = typer.Option(False, "--json", help="One JSON line.")
_OPERATOR = typer.Option("", "--operator", help="Who does this; the login name by default.")
_REASON = typer.Option(..., "--reason", help="Why, for the audit.")


@guard.command()
def enable(reason: str = _REASON, operator: str = _OPERATOR, as_json: bool = _JSON) -> None:
    """Let only EvPower write. Stop the older backend before."""
    _set(reason, operator, enable=True, as_json=as_json)


@guard.command()
def disable(reason: str = _REASON, operator: str = _OPERATOR, as_json: bool = _JSON) -> None:
    """Give the tables back to the older backend: EvPower writes nothing in Supabase then."""
    _set(reason, operator, enable=False, as_json=as_json)


@guard.command()
def status(as_json: bool = _JSON) -> None:
    """Show who may write."""

    async def work(_: Database, rpc: synced.SupabaseRpc) -> synced.GuardStatus:
        return await synced.guard_status(rpc)

    _print(with_supabase(work), as_json=as_json)


def describe(now: synced.GuardStatus) -> str:
    """Returns the switch in one line."""
    since = to_z(now.changed_at)
    if now.is_enabled:
        return f"enabled since {since}: only EvPower writes money, stations and tariffs"
    return f"disabled since {since}: an older backend writes, EvPower writes nothing"


def _set(reason: str, operator: str, *, enable: bool, as_json: bool) -> None:
    async def work(database: Database, rpc: synced.SupabaseRpc) -> synced.GuardStatus:
        return await synced.set_guard(
            database, rpc, enable=enable, actor=operator or getpass.getuser(), reason=reason
        )

    _print(with_supabase(work), as_json=as_json)


def _print(now: synced.GuardStatus, *, as_json: bool) -> None:
    if as_json:
        row = {
            "is_enabled": now.is_enabled,
            "changed_at": to_z(now.changed_at),
            "has_changed": now.has_changed,
            "tables": list(now.tables),
            "invoice_id": now.invoice_id,
        }
        typer.echo(json.dumps(row))
        return
    console.print(f"guard   {describe(now)}")
    console.print(f"tables  {', '.join(now.tables) or 'none of an older backend'}")
    if now.is_enabled and now.is_invoice_id_short:
        text = (
            f"balance_topups.invoice_id is {now.invoice_id}: a bill's second payment is not there"
        )
        console.print(styled((text, "yellow")))

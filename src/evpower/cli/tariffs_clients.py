"""`evpower tariff client`: what single clients pay in place of what all pay."""

import getpass
import json
from datetime import datetime
from typing import Annotated
from uuid import UUID

import typer

from evpower import identity, tariffs
from evpower.cli.out import console, fail
from evpower.cli.settings import MAX_NUMBER, with_database
from evpower.foundation.clock import to_z, utc_now
from evpower.foundation.db import Connection, Database
from evpower.tariffs import ClientTariff, Dimension, NewClientTariff, Tariff

client = typer.Typer(help="Discounts and plans of single clients.", no_args_is_help=True)
_OPERATOR = typer.Option("", "--operator", help="Who does this; the login name by default.")
_REASON = typer.Option("", "--reason", help="Why, for the audit.")
_JSON = typer.Option(False, "--json", help="Print JSON.")
_KINDS: dict[str, Dimension] = {
    "energy": "energy", "time": "time", "parking": "parking", "flat": "flat",
}  # fmt: skip


@client.command()
def add(  # noqa: PLR0913, PLR0917 - a command's options
    client_id: str = typer.Argument(help="The client's id, or the id it had before."),
    discount: str = typer.Option("", "--discount", help="Percent, for example 15 or 12.5."),
    on: Annotated[
        list[str] | None,
        typer.Option("--on", help="Of energy, time, parking and flat; energy,time by default."),
    ] = None,
    plan: str = typer.Option("", "--plan", help="A plan of its own, at every place."),
    valid_from: str = typer.Option("", "--from", help="When it begins. Now by default."),
    valid_until: str = typer.Option("", "--until", help="When it ends; open by default."),
    reason: str = _REASON,
    operator: str = _OPERATOR,
    as_json: bool = _JSON,
) -> None:
    """Give a client a discount, a plan of its own, or both; the newest one counts."""
    if not discount and not plan:
        fail("a discount or a plan is needed", "--discount 10, or --plan CODE")
    kinds = [kind.strip() for kind in ",".join(on or ["energy,time"]).split(",")]
    if unknown := [kind for kind in kinds if kind not in _KINDS]:
        fail(f"there is no kind of price {unknown[0]!r}", "--on energy,time,parking,flat")

    async def work(database: Database) -> ClientTariff:
        now = utc_now()
        async with database.transaction() as connection:
            return await tariffs.add_client_tariff(
                connection,
                NewClientTariff(
                    await _resolved(connection, client_id),
                    _time(valid_from, now),
                    _time(valid_until, now) if valid_until else None,
                    plan=plan or None,
                    discount_ppm=tariffs.read_discount(discount) if discount else None,
                    discount_on=[_KINDS[kind] for kind in kinds],
                ),
                now=now,
                actor=operator or getpass.getuser(),
                reason=reason or None,
            )

    _print(with_database(work), as_json=as_json)


@client.command()
def end(
    number: int = typer.Argument(min=1, max=MAX_NUMBER, help="As `list` shows it."),
    at: str = typer.Option("", "--at", help="When it ends. Now by default."),
    reason: str = _REASON,
    operator: str = _OPERATOR,
    as_json: bool = _JSON,
) -> None:
    """End a client's tariff, now or at a time to come; sessions that run keep theirs."""

    async def work(database: Database) -> ClientTariff:
        now = utc_now()
        async with database.transaction() as connection:
            return await tariffs.end_client_tariff(
                connection,
                number=number,
                valid_until=_time(at, now),
                now=now,
                actor=operator or getpass.getuser(),
                reason=reason or None,
            )

    _print(with_database(work), as_json=as_json)


@client.command("list")
def list_tariffs(
    client_id: str = typer.Argument("", help="A client; all of them by default."),
    with_ended: bool = typer.Option(False, "--all", help="Also those that have ended."),
    as_json: bool = _JSON,
) -> None:
    """List the tariffs of clients, the newest first."""
    now = utc_now()

    async def work(database: Database) -> list[ClientTariff]:
        async with database.connection() as connection:
            return await tariffs.list_client_tariffs(
                connection,
                client_id=await _resolved(connection, client_id) if client_id else None,
                after=None if with_ended else now,
            )

    listed = with_database(work)
    if as_json:
        typer.echo(json.dumps([_row(own) for own in listed]))
        return
    for own in listed:
        console.print(_line(own))
    if not listed:
        console.print("no client has a tariff of its own: evpower tariff client add")


async def _resolved(connection: Connection, client_id: str) -> UUID:
    resolved = await identity.resolve(connection, client_id.strip())
    if resolved is None:
        fail(f"there is no client {client_id!r}", "evpower clients find EMAIL-OR-PHONE")
    return resolved


def _time(text: str, now: datetime) -> datetime:
    return tariffs.local_time(Tariff(elements=()), text) if text else now


def _print(own: ClientTariff, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(_row(own)))
    else:
        console.print(_line(own))


def _row(own: ClientTariff) -> dict[str, object]:
    return {
        "id": own.id,
        "client_id": str(own.client_id),
        "plan": own.plan,
        "discount_percent": tariffs.discount_text(own.discount_ppm),
        "discount_on": sorted(own.discount_on),
        "valid_from": to_z(own.valid_from),
        "valid_until": None if own.valid_until is None else to_z(own.valid_until),
        "created_at": to_z(own.created_at),
        "actor": own.actor,
    }


def _line(own: ClientTariff) -> str:
    facts: list[str] = []
    if own.plan is not None:
        facts.append(f"plan {own.plan}")
    if own.discount_ppm is not None:
        on = ", ".join(sorted(own.discount_on))
        facts.append(f"{tariffs.discount_text(own.discount_ppm)}% off {on}")
    until = "" if own.valid_until is None else f" until {to_z(own.valid_until)}"
    terms = ", ".join(facts)
    return f"{own.id}  {own.client_id}  {terms}  from {to_z(own.valid_from)}{until}"

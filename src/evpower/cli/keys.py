"""`evpower keys` and `evpower operators`: who else may call the API."""

import asyncio
import json
from typing import Final
from uuid import UUID

import typer

from evpower import identity
from evpower.cli.out import console, errors, fail
from evpower.cli.settings import load, outgoing_http, with_database
from evpower.foundation.db import Connection, Database
from evpower.foundation.errors import EvPowerError, NotFound

keys = typer.Typer(help="Service keys: machines that may call.", no_args_is_help=True)
operators = typer.Typer(help="People of the operator.", no_args_is_help=True)
_JSON = typer.Option(False, "--json", help="One JSON line.")
_ACTOR = typer.Option("cli", "--actor", help="Who does this, for the audit.")
_SUPABASE_S: Final = 5.0  # for its answer whether a user exists


@keys.command("create")
def create(name: str, actor: str = _ACTOR) -> None:
    """Make a key and print it, this once; only its hash is kept."""

    async def work(database: Database) -> identity.CreatedKey:
        async with database.transaction() as connection:
            return await identity.create_service_key(connection, name=name, actor=actor)

    typer.echo(with_database(work).key)
    errors.print("Keep it now: it is not shown again.")


@keys.command("list")
def list_keys(as_json: bool = _JSON) -> None:
    """Show every key by its name and first characters."""

    async def work(database: Database) -> list[identity.ServiceKey]:
        async with database.connection() as connection:
            return await identity.list_service_keys(connection)

    keys = with_database(work)
    if as_json:
        rows = [
            {
                "name": key.name,
                "hint": key.hint,
                "revoked": bool(key.revoked_at),
                "revoked_at": key.revoked_at.isoformat() if key.revoked_at else None,
                "last_used_at": key.last_used_at.isoformat() if key.last_used_at else None,
            }
            for key in keys
        ]
        typer.echo(json.dumps(rows))
        return
    for key in keys:
        state = f"revoked {key.revoked_at:%Y-%m-%d}" if key.revoked_at else "active"
        used = f"last used {key.last_used_at:%Y-%m-%d %H:%M}Z" if key.last_used_at else "never used"
        console.print(f"{key.name:24} {key.hint}…  {state:20} {used}")


@keys.command("revoke")
def revoke(name: str, actor: str = _ACTOR, reason: str = typer.Option("", "--reason")) -> None:
    """End a key at once."""

    async def work(database: Database) -> None:
        async with database.transaction() as connection:
            await identity.revoke_service_key(connection, name=name, actor=actor, reason=reason)

    with_database(work)
    console.print(f"{name} is revoked")


@operators.command("add")
def add(
    user_id: UUID,
    name: str,
    role: str = typer.Option(
        "viewer", "--role", help=f"{', '.join(identity.ROLES)}: docs/roles.md"
    ),
    actor: str = _ACTOR,
) -> None:
    """Let a Supabase user read every client, and act as the role allows."""
    if role not in identity.ROLES:
        fail(f"there is no role {role!r}", f"one of {', '.join(identity.ROLES)}")

    async def work(database: Database) -> bool:
        async with database.transaction() as connection:
            await identity.add_operator(
                connection,
                user_id=user_id,
                name=name,
                role=role,
                actor=actor,
            )
            return await _is_client(connection, user_id)

    is_client = with_database(work)
    console.print(f"{name} is an operator with the role {role}")
    if is_client:
        errors.print(
            "warning: this user is a client too, as whoever signed up is, and as an operator can no"
            " longer top up or charge: where it does, give the operator a user of its own, then"
            f" evpower operators remove {user_id}"
        )
    if asyncio.run(_is_unknown(user_id)):
        errors.print(
            "warning: Supabase has no user with this id, so this operator signs in only by a phone"
            f" (evpower operators phone); is the id wrong: evpower operators remove {user_id}"
        )


async def _is_unknown(user_id: UUID) -> bool:
    """Returns whether Supabase says that it has no such user; unreachable, it says nothing."""
    settings = load()
    if not settings.supabase_url or not settings.supabase_secret_key.get_secret_value():
        return False
    async with outgoing_http(settings) as http:
        admin = identity.SupabaseAdmin(
            http=http,
            url=settings.supabase_url,
            secret_key=settings.supabase_secret_key,
            publishable_key=settings.supabase_publishable_key,
        )
        try:
            async with asyncio.timeout(_SUPABASE_S):
                return await admin.get_user(user_id) is None
        except (EvPowerError, TimeoutError):
            return False


async def _is_client(connection: Connection, user_id: UUID) -> bool:
    try:
        client = await identity.get_client(connection, user_id)
    except NotFound:
        return False
    return client.status != "closed"


@operators.command("phone")
def phone(
    user_id: UUID,
    number: str = typer.Argument("", help="As in +996555123456; without it the phone is removed."),
    actor: str = _ACTOR,
) -> None:
    """Let an operator sign in by a code to this phone."""

    async def work(database: Database) -> None:
        async with database.transaction() as connection:
            await identity.set_operator_phone(connection, user_id, number or None, actor=actor)

    with_database(work)
    console.print(f"signs in with {number}" if number else "signs in with no phone")


@operators.command("remove")
def remove(user_id: UUID, actor: str = _ACTOR, reason: str = typer.Option("", "--reason")) -> None:
    """Take the role away."""

    async def work(database: Database) -> None:
        async with database.transaction() as connection:
            await identity.remove_operator(connection, user_id=user_id, actor=actor, reason=reason)

    with_database(work)
    console.print("removed")


@operators.command("list")
def list_operators(as_json: bool = _JSON) -> None:
    """Show who has the role."""

    async def work(database: Database) -> list[identity.Operator]:
        async with database.connection() as connection:
            return await identity.list_operators(connection)

    operators = with_database(work)
    if as_json:
        rows = [
            {"user_id": str(operator.user_id), "role": operator.role, "name": operator.name}
            for operator in operators
        ]
        typer.echo(json.dumps(rows))
        return
    for operator in operators:
        console.print(f"{operator.user_id}  {operator.role:8}  {operator.name}")

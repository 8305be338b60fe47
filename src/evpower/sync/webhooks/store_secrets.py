"""All SQL of the secret Supabase signs with, as far as this side keeps it."""

from datetime import timedelta

from evpower.foundation.db import Connection, Record


async def add(connection: Connection, secret: str) -> int:
    """Accept what is signed with it from now on; answers its number."""
    number: int = await connection.fetchval(
        "insert into sync.webhook_secrets (secret) values ($1) returning id", secret
    )
    return number


async def remove(connection: Connection, number: int) -> None:
    """Forget one that Supabase never got."""
    await connection.execute("delete from sync.webhook_secrets where id = $1", number)


async def retire_before(connection: Connection, number: int, grace: timedelta) -> int:
    """Let every older one end after `grace`, or sooner where it was to; forgets the ended."""
    await connection.execute("delete from sync.webhook_secrets where not_after < now()")
    rows: list[Record] = await connection.fetch(
        "update sync.webhook_secrets set not_after = least(not_after, now() + $2)"
        " where id < $1 returning id",
        number,
        grace,
    )
    return len(rows)

"""The SQL of signing keys."""

from datetime import datetime

from evpower.foundation.db import Connection, Record
from evpower.foundation.rows import columns, read_row
from evpower.identity.sign_in.signing_keys import OwnKey

_MOST = 20


async def usable_keys(connection: Connection) -> list[OwnKey]:
    """Returns keys that are not revoked, the newest first."""
    rows: list[Record] = await connection.fetch(
        f"""
        select {columns(OwnKey)} from identity.signing_keys
         where revoked_at is null order by created_at desc, kid desc limit $1
        """,
        _MOST,
    )
    return [read_row(OwnKey, row) for row in rows]


async def all_keys(connection: Connection) -> list[OwnKey]:
    """Returns every key, the newest first."""
    rows: list[Record] = await connection.fetch(
        f"select {columns(OwnKey)} from identity.signing_keys order by created_at desc, kid desc"
    )
    return [read_row(OwnKey, row) for row in rows]


async def lock_keys(connection: Connection) -> None:
    """Lets one transaction at a time make keys."""
    await connection.execute("select pg_advisory_xact_lock(hashtextextended('signing keys', 17))")


async def insert_key(connection: Connection, key: OwnKey) -> None:
    """Inserts a new key."""
    await connection.execute(
        """
        insert into identity.signing_keys (kid, public_key, private_key, created_at)
        values ($1, $2, $3, $4)
        """,
        key.kid,
        key.public_key,
        key.private_key,
        key.created_at,
    )


async def revoke_keys_but(connection: Connection, kid: str, now: datetime) -> int:
    """Revokes every other key; returns how many were not revoked before."""
    rows: list[Record] = await connection.fetch(
        """
        update identity.signing_keys set revoked_at = $2
         where kid <> $1 and revoked_at is null returning kid
        """,
        kid,
        now,
    )
    return len(rows)

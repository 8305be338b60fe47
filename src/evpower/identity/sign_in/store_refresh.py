"""The SQL of refresh tokens."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from evpower.foundation.db import Connection, Record
from evpower.foundation.purge import count
from evpower.foundation.rows import columns, read_row
from evpower.identity.sign_in.signing_keys import UserType

RevokedBy = Literal["logout", "reuse", "deletion", "replaced", "operator"]


@dataclass(frozen=True, slots=True)
class StoredRefresh:
    """A refresh token as the database has it."""

    id: int
    family: UUID
    user_id: UUID
    kind: UserType
    phone: str
    used_at: datetime | None
    expires_at: datetime
    rotated_at: datetime | None
    revoked_at: datetime | None


async def insert_token(
    connection: Connection,
    token_sha256: bytes,
    *,
    family: UUID,
    user_id: UUID,
    kind: UserType,
    phone: str,
    now: datetime,
    expires_at: datetime,
) -> None:
    """Inserts a token."""
    await connection.execute(
        """
        insert into identity.refresh_tokens
          (family, token_sha256, user_id, kind, phone, created_at, expires_at)
        values ($1, $2, $3, $4, $5, $6, $7)
        """,
        family,
        token_sha256,
        user_id,
        kind,
        phone,
        now,
        expires_at,
    )


async def insert_revoked(
    connection: Connection, token_sha256: bytes, family: UUID, now: datetime, expires_at: datetime
) -> None:
    """Stores that a token of the old backend is revoked."""
    await connection.execute(
        """
        insert into identity.refresh_tokens
          (family, token_sha256, user_id, kind, phone, created_at, expires_at, revoked_at,
           revoked_by)
        values ($1, $2, $1, 'client', '', $3, $4, $3, 'logout')
        on conflict (token_sha256) do nothing
        """,
        family,
        token_sha256,
        now,
        expires_at,
    )


async def lock_token(connection: Connection, token_sha256: bytes) -> StoredRefresh | None:
    """Returns a token, locked until the transaction ends; None: there is none."""
    row = await connection.fetchrow(
        f"""
        select {columns(StoredRefresh)} from identity.refresh_tokens
         where token_sha256 = $1 for update
        """,
        token_sha256,
    )
    return None if row is None else read_row(StoredRefresh, row)


async def slide(connection: Connection, token_id: int, now: datetime, expires_at: datetime) -> None:
    """Stores the use of a token, and its new end."""
    await connection.execute(
        "update identity.refresh_tokens set used_at = $2, expires_at = $3 where id = $1",
        token_id,
        now,
        expires_at,
    )


async def mark_rotated(connection: Connection, token_id: int, now: datetime) -> None:
    """Stores that a token was replaced; a repetition keeps the first time."""
    await connection.execute(
        """
        update identity.refresh_tokens set used_at = $2, rotated_at = coalesce(rotated_at, $2)
         where id = $1
        """,
        token_id,
        now,
    )


async def replace_unused_successor(
    connection: Connection, family: UUID, token_id: int, now: datetime
) -> bool:
    """Revokes what replaced a token, if none of it was ever used; False: it was."""
    rows: list[Record] = await connection.fetch(
        """
        update identity.refresh_tokens set revoked_at = $3, revoked_by = 'replaced'
         where family = $1 and id > $2 and revoked_at is null
           and not exists (select from identity.refresh_tokens u
                            where u.family = $1 and u.id > $2 and u.used_at is not null)
        returning id
        """,
        family,
        token_id,
        now,
    )
    return bool(rows)


async def revoke_family(
    connection: Connection, family: UUID, now: datetime, revoked_by: RevokedBy
) -> int:
    """Revokes every token of a family; returns how many were not revoked before."""
    rows: list[Record] = await connection.fetch(
        """
        update identity.refresh_tokens set revoked_at = $2, revoked_by = $3
         where family = $1 and revoked_at is null returning id
        """,
        family,
        now,
        revoked_by,
    )
    return len(rows)


async def revoke_users(
    connection: Connection,
    user_ids: Sequence[UUID],
    now: datetime,
    revoked_by: RevokedBy,
    kind: UserType | None = None,
) -> int:
    """Revokes every token of these users, or those of a kind; returns how many were not revoked."""
    rows: list[Record] = await connection.fetch(
        """
        update identity.refresh_tokens set revoked_at = $2, revoked_by = $3
         where user_id = any($1) and revoked_at is null and ($4::text is null or kind = $4)
        returning id
        """,
        list(user_ids),
        now,
        revoked_by,
        kind,
    )
    return len(rows)


async def purge_tokens(connection: Connection, expired_before: datetime, at_most: int) -> int:
    """Deletes tokens that expired before then; returns how many."""
    return count(
        await connection.execute(
            """
            delete from identity.refresh_tokens where ctid = any (array(
            select ctid from identity.refresh_tokens where expires_at < $1
             order by expires_at limit $2 for update skip locked))
            """,
            expired_before,
            at_most,
        )
    )

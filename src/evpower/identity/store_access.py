"""The SQL of service keys, operators and the audit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from evpower.foundation.db import Connection, Record
from evpower.foundation.rows import columns, read_row
from evpower.identity.model import Act, Operator, OperatorRole, ServiceKey

_KEY: Final = "id, name, hint, created_at, last_used_at, revoked_at"


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A stored service key, as a request's key is checked against it."""

    id: int
    name: str
    key_sha256: bytes
    revoked: bool
    used_recently: bool


async def insert_key(connection: Connection, name: str, key_sha256: bytes, hint: str) -> int | None:
    """Inserts a key's hash; None: the name exists already."""
    return await connection.fetchval(
        """
        insert into identity.service_keys (name, key_sha256, hint) values ($1, $2, $3)
        on conflict (name) do nothing returning id
        """,
        name,
        key_sha256,
        hint,
    )


async def key_by_hash(connection: Connection, key_sha256: bytes) -> StoredKey | None:
    """Returns a key by its hash, a revoked one too; None: there is none."""
    row = await connection.fetchrow(
        """
        select id, name, key_sha256, revoked_at is not null as revoked,
          coalesce(last_used_at > now() - interval '1 minute', false) as used_recently
        from identity.service_keys where key_sha256 = $1
        """,
        key_sha256,
    )
    return StoredKey(**dict(row)) if row is not None else None


async def touch_key(connection: Connection, key_id: int) -> None:
    """Stores the time of use, at most once a minute."""
    await connection.execute(
        """
        update identity.service_keys set last_used_at = now() where id = $1
          and (last_used_at is null or last_used_at <= now() - interval '1 minute')
        """,
        key_id,
    )


async def all_keys(connection: Connection) -> list[ServiceKey]:
    """Returns every key, oldest first."""
    rows: list[Record] = await connection.fetch(
        f"select {_KEY} from identity.service_keys order by id"
    )
    return [ServiceKey(**dict(row)) for row in rows]


async def revoke_key(connection: Connection, name: str) -> ServiceKey | None:
    """Revokes a key; an earlier revocation keeps its time. None: there is no key of this name."""
    row = await connection.fetchrow(
        f"""
        update identity.service_keys set revoked_at = coalesce(revoked_at, now())
        where name = $1 returning {_KEY}
        """,
        name,
    )
    return ServiceKey(**dict(row)) if row is not None else None


async def put_operator(
    connection: Connection, user_id: UUID, name: str, role: OperatorRole
) -> None:
    """Inserts an operator, or updates the name and role of an existing one."""
    await connection.execute(
        """
        insert into identity.operators (user_id, name, role) values ($1, $2, $3)
        on conflict (user_id) do update
        set name = excluded.name, role = excluded.role, revoked_at = null
        """,
        user_id,
        name,
        role,
    )


async def revoke_operator(connection: Connection, user_id: UUID) -> bool:
    """Revokes the role, and the phone it signs in with; False: the user has none."""
    revoked = await connection.fetchval(
        """
        update identity.operators set revoked_at = now(), phone = null
        where user_id = $1 and revoked_at is null returning true
        """,
        user_id,
    )
    return revoked is not None


async def existing_clients(connection: Connection, client_ids: Sequence[UUID]) -> set[UUID]:
    """Returns those of the ids that are a client's."""
    rows: list[Record] = await connection.fetch(
        "select id from identity.clients where id = any ($1::uuid[])", list(client_ids)
    )
    return {row["id"] for row in rows}


async def active_operator(connection: Connection, user_id: UUID) -> Operator | None:
    """Returns the operator of this user id; None: the user is no operator."""
    row = await connection.fetchrow(
        """
        select user_id, name, role, created_at from identity.operators
        where user_id = $1 and revoked_at is null
        """,
        user_id,
    )
    return Operator(**dict(row)) if row is not None else None


async def active_operators(connection: Connection) -> list[Operator]:
    """Returns the operators, oldest first."""
    rows: list[Record] = await connection.fetch(
        """
        select user_id, name, role, created_at from identity.operators
        where revoked_at is null order by created_at, user_id
        """
    )
    return [Operator(**dict(row)) for row in rows]


async def insert_audit(
    connection: Connection,
    *,
    actor: str,
    action: str,
    subject: str,
    reason: str | None,
    details: Mapping[str, object],
) -> None:
    """Inserts an audit row."""
    await connection.execute(
        """
        insert into identity.audit (actor, action, subject, reason, details)
        values ($1, $2, $3, $4, $5)
        """,
        actor,
        action,
        subject,
        reason,
        dict(details),
    )


async def acts_before(
    connection: Connection,
    subject: str | None,
    actor: str | None,
    action: str | None,
    before: int | None,
    limit: int,
) -> list[Act]:
    """Returns acts, the newest first."""
    rows: list[Record] = await connection.fetch(
        f"""
        select {columns(Act)} from identity.audit
         where ($1::text is null or subject = $1) and ($2::text is null or actor = $2)
           and ($3::text is null or action = $3) and ($4::bigint is null or id < $4)
         order by id desc limit $5
        """,
        subject,
        actor,
        action,
        before,
        limit,
    )
    return [read_row(Act, row) for row in rows]


async def closed_since(connection: Connection, client_ids: Sequence[UUID]) -> dict[UUID, datetime]:
    """Returns when closed clients asked for deletion, or were closed: what was first."""
    rows: list[Record] = await connection.fetch(
        """
        select c.id, least(c.deletion_requested_at, coalesce((select min(a.at) from identity.audit a
          where a.subject = c.id::text and a.action = 'client.close'), c.updated_at)) as since
         from identity.clients c where c.id = any ($1) and c.status = 'closed'
        """,
        list(client_ids),
    )
    return {row["id"]: row["since"] for row in rows}

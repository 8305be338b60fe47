"""The SQL of accounts that are being made for phones, and of phones an operator must look at."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from evpower.foundation.db import Connection, Record
from evpower.foundation.rows import columns, read_row

ReviewReason = Literal["claim_with_money", "phone_of_another_login"]


@dataclass(frozen=True, slots=True)
class PhoneClaim:
    """An unverified claim of a client to a phone; `since` None: from before this was stored."""

    client_id: UUID
    since: datetime | None


@dataclass(frozen=True, slots=True)
class PhoneReview:
    """A phone whose owner signed in with a code, and whose account an operator must decide."""

    id: int
    phone: str
    reason: ReviewReason
    claimants: list[UUID]
    opened_at: datetime
    last_at: datetime
    tries: int
    decided_at: datetime | None
    decided_by: str | None
    owner_id: UUID | None  # of a decided one; None: a new account


async def verified_owner(connection: Connection, phone: str) -> UUID | None:
    """Returns the open client that has verified this phone."""
    return await connection.fetchval(
        """
        select id from identity.clients
         where phone = $1 and phone_verified and status <> 'closed'
        """,
        phone,
    )


async def claims(connection: Connection, phone: str, most: int) -> list[PhoneClaim]:
    """Returns the claims of open clients to this phone, the oldest first."""
    rows: list[Record] = await connection.fetch(
        """
        select id as client_id, phone_since as since from identity.clients
         where phone = $1 and not phone_verified and status <> 'closed'
         order by phone_since nulls first, created_at, id limit $2
        """,
        phone,
        most,
    )
    return [read_row(PhoneClaim, row) for row in rows]


async def claims_phone(connection: Connection, phone: str, client_id: UUID | None) -> bool:
    """Returns whether an open client has this phone, or is a claimant of its open review."""
    return await connection.fetchval(
        """
        select exists (select from identity.clients
                        where id = $2 and phone = $1 and status <> 'closed')
            or exists (select from identity.phone_reviews
                        where phone = $1 and decided_at is null and $2 = any (claimants))
        """,
        phone,
        client_id,
    )


async def operator_of_phone(connection: Connection, phone: str) -> UUID | None:
    """Returns the operator who signs in with this phone."""
    return await connection.fetchval(
        "select user_id from identity.operators where phone = $1 and revoked_at is null", phone
    )


async def open_account(connection: Connection, phone: str, client_id: UUID, now: datetime) -> UUID:
    """Stores that an account is made under this id; returns the id of an earlier beginning."""
    await connection.execute(
        """
        insert into identity.phone_accounts (phone, client_id, created_at) values ($1, $2, $3)
        on conflict (phone) do nothing
        """,
        phone,
        client_id,
        now,
    )
    return await connection.fetchval(
        "select client_id from identity.phone_accounts where phone = $1", phone
    )


async def close_account(connection: Connection, phone: str, client_id: UUID | None = None) -> None:
    """Deletes what `open_account` stored; with `client_id` only a beginning under this id."""
    await connection.execute(
        """
        delete from identity.phone_accounts
         where phone = $1 and ($2::uuid is null or client_id = $2)
        """,
        phone,
        client_id,
    )


async def put_review(
    connection: Connection,
    phone: str,
    reason: ReviewReason,
    claimant_ids: Sequence[UUID],
    now: datetime,
) -> None:
    """Opens a review of the phone, or counts another try on the open one."""
    await connection.execute(
        """
        insert into identity.phone_reviews as r (phone, reason, claimants, opened_at, last_at)
        values ($1, $2, $3, $4, $4)
        on conflict (phone) where decided_at is null do update
           set reason = excluded.reason, claimants = excluded.claimants,
               last_at = excluded.last_at, tries = r.tries + 1
        """,
        phone,
        reason,
        list(claimant_ids),
        now,
    )


async def is_cleared(connection: Connection, phone: str) -> bool:
    """Returns whether an operator's last decision on this phone was a new account."""
    cleared = await connection.fetchval(
        """
        select true from identity.phone_reviews where id = (
          select id from identity.phone_reviews where phone = $1 order by id desc limit 1)
           and decided_at is not null and owner_id is null
        """,
        phone,
    )
    return cleared is not None


async def open_reviews(connection: Connection, limit: int) -> list[PhoneReview]:
    """Returns the reviews that wait for an operator, the oldest first.

    A phone that a client has verified meanwhile needs none any more.
    """
    rows: list[Record] = await connection.fetch(
        f"""
        select {columns(PhoneReview)} from identity.phone_reviews r
         where decided_at is null
           and not exists (select from identity.clients c
                            where c.phone = r.phone and c.phone_verified and c.status <> 'closed')
         order by id limit $1
        """,
        limit,
    )
    return [read_row(PhoneReview, row) for row in rows]


async def lock_open_review(connection: Connection, phone: str) -> PhoneReview | None:
    """Returns the phone's open review, locked until the transaction ends."""
    row = await connection.fetchrow(
        f"""
        select {columns(PhoneReview)} from identity.phone_reviews
         where phone = $1 and decided_at is null for update
        """,
        phone,
    )
    return None if row is None else read_row(PhoneReview, row)


async def decide_review(
    connection: Connection, review_id: int, actor: str, owner_id: UUID | None, now: datetime
) -> None:
    """Stores the decision."""
    await connection.execute(
        """
        update identity.phone_reviews set decided_at = $2, decided_by = $3, owner_id = $4
         where id = $1
        """,
        review_id,
        now,
        actor,
        owner_id,
    )


async def set_operator_phone(connection: Connection, user_id: UUID, phone: str | None) -> bool:
    """Stores the phone that an operator signs in with; False: the user is no operator.

    Raises asyncpg.UniqueViolationError if another operator has it.
    """
    changed = await connection.fetchval(
        """
        update identity.operators set phone = $2
         where user_id = $1 and revoked_at is null returning true
        """,
        user_id,
        phone,
    )
    return changed is not None


async def operators_phone(connection: Connection, user_id: UUID) -> str | None:
    """Returns the phone that an operator signs in with."""
    return await connection.fetchval(
        "select phone from identity.operators where user_id = $1 and revoked_at is null", user_id
    )

"""The SQL of codes, their budgets, and the addresses that phones signed in from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from evpower.foundation.db import Connection, Record
from evpower.foundation.purge import count
from evpower.foundation.rows import columns, read_row
from evpower.identity.sign_in.codes import ATTEMPTS, HashedCode
from evpower.identity.sign_in.limits import Budget


@dataclass(frozen=True, slots=True)
class OpenCode:
    """A code that may still be used."""

    id: int
    salt: bytes
    code_hash: bytes

    @property
    def hashed(self) -> HashedCode:
        """What a typed code is compared with."""
        return HashedCode(self.salt, self.code_hash)


async def lock_phone(connection: Connection, phone: str) -> None:
    """Lets one transaction at a time work on a phone's codes."""
    await connection.execute("select pg_advisory_xact_lock(hashtextextended($1, 170))", phone)


async def is_known_address(connection: Connection, phone: str, address_hash: bytes) -> bool:
    """Returns whether this phone has signed in from this address."""
    known = await connection.fetchval(
        "select true from identity.sign_in_addresses where phone = $1 and address_hash = $2",
        phone,
        address_hash,
    )
    return known is not None


async def last_code_at(connection: Connection, phone: str, *, known: bool) -> datetime | None:
    """Returns when the phone's newest code was made; one that was not sent does not count."""
    return await connection.fetchval(
        """
        select max(created_at) from identity.sign_in_codes
         where phone = $1 and by_known_address = $2 and ended_by is distinct from 'not_sent'
        """,
        phone,
        known,
    )


async def take_budgets(connection: Connection, wanted: Sequence[Budget]) -> Mapping[str, int]:
    """Counts one code in each budget; returns how much of each is used with it."""
    rows: list[Record] = await connection.fetch(
        """
        insert into identity.sign_in_budgets as b (name, starts_at, used)
        select w.name, w.starts_at, 1 from unnest($1::text[], $2::timestamptz[])
          as w (name, starts_at) order by w.name, w.starts_at
        on conflict (name, starts_at) do update set used = b.used + 1 returning b.name, b.used
        """,
        [budget.name for budget in wanted],
        [budget.starts_at for budget in wanted],
    )
    return {row["name"]: row["used"] for row in rows}


async def insert_code(
    connection: Connection,
    phone: str,
    hashed: HashedCode,
    *,
    address_hash: bytes,
    known: bool,
    created_at: datetime,
    expires_at: datetime,
) -> int:
    """Inserts a code in place of the open one of the same address; returns its id."""
    await connection.execute(
        """
        update identity.sign_in_codes set ended_at = $3, ended_by = 'replaced'
         where phone = $1 and asked_from = $2 and ended_at is null
        """,
        phone,
        address_hash,
        created_at,
    )
    return await connection.fetchval(
        """
        insert into identity.sign_in_codes
          (phone, by_known_address, asked_from, salt, code_hash, created_at, expires_at)
        values ($1, $2, $3, $4, $5, $6, $7) returning id
        """,
        phone,
        known,
        address_hash,
        hashed.salt,
        hashed.code_hash,
        created_at,
        expires_at,
    )


async def take_attempts(
    connection: Connection, phone: str, address_hash: bytes, *, known: bool, now: datetime
) -> list[OpenCode]:
    """Counts an attempt on each open code that has one left; returns these codes.

    It is an attempt of the known addresses, else of the address that asked for the code, else of
    all others.
    """
    rows: list[Record] = await connection.fetch(
        f"""
        update identity.sign_in_codes
           set attempts_known = attempts_known + $3::bool::int,
               attempts_asker = attempts_asker
                 + (not $3 and not by_known_address and asked_from = $4)::int,
               attempts_unknown = attempts_unknown
                 + (not $3 and (by_known_address or asked_from <> $4))::int
         where phone = $1 and ended_at is null and expires_at > $2
           and case when $3 then attempts_known
                    when not by_known_address and asked_from = $4 then attempts_asker
                    else attempts_unknown end < $5
        returning {columns(OpenCode)}
        """,
        phone,
        now,
        known,
        address_hash,
        ATTEMPTS,
    )
    return [read_row(OpenCode, row) for row in rows]


async def use_code(connection: Connection, code_id: int, phone: str, now: datetime) -> bool:
    """Marks a code used and ends the phone's others; False: it is no longer open."""
    used = await connection.fetchval(
        """
        update identity.sign_in_codes set ended_at = $2, ended_by = 'used'
         where id = $1 and ended_at is null and expires_at > $2 returning true
        """,
        code_id,
        now,
    )
    if used is None:
        return False
    await connection.execute(
        """
        update identity.sign_in_codes set ended_at = $2, ended_by = 'replaced'
         where phone = $1 and ended_at is null
        """,
        phone,
        now,
    )
    return True


async def end_unsent(connection: Connection, code_id: int, now: datetime) -> None:
    """Ends a code that certainly did not reach its phone."""
    await connection.execute(
        """
        update identity.sign_in_codes set ended_at = $2, ended_by = 'not_sent'
         where id = $1 and ended_at is null
        """,
        code_id,
        now,
    )


async def remember_address(
    connection: Connection, phone: str, address_hash: bytes, now: datetime
) -> None:
    """Stores that the phone has signed in from this address."""
    await connection.execute(
        """
        insert into identity.sign_in_addresses (phone, address_hash, last_at) values ($1, $2, $3)
        on conflict (phone, address_hash) do update set last_at = excluded.last_at
        """,
        phone,
        address_hash,
        now,
    )


async def purge_codes(connection: Connection, made_before: datetime, at_most: int) -> int:
    """Deletes codes made before then; returns how many."""
    return count(
        await connection.execute(
            """
            delete from identity.sign_in_codes where ctid = any (array(
            select ctid from identity.sign_in_codes where created_at < $1
             order by created_at limit $2 for update skip locked))
            """,
            made_before,
            at_most,
        )
    )


async def purge_budgets(connection: Connection, started_before: datetime, at_most: int) -> int:
    """Deletes budgets of windows that started before then; returns how many."""
    return count(
        await connection.execute(
            """
            delete from identity.sign_in_budgets where ctid = any (array(
            select ctid from identity.sign_in_budgets where starts_at < $1
             order by starts_at limit $2 for update skip locked))
            """,
            started_before,
            at_most,
        )
    )


async def purge_addresses(connection: Connection, used_before: datetime, at_most: int) -> int:
    """Deletes addresses last used before then; returns how many."""
    return count(
        await connection.execute(
            """
            delete from identity.sign_in_addresses where ctid = any (array(
            select ctid from identity.sign_in_addresses where last_at < $1
             order by last_at limit $2 for update skip locked))
            """,
            used_before,
            at_most,
        )
    )

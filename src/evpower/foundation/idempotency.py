"""Responses stored for repeated requests: the first with a key runs, repeats get its response.

Only what was done is stored. A refusal is worked out again, because it may be another one then. A
key whose outcome is unknown is not deleted: it stays with its request.
"""

from collections.abc import Iterable, MutableMapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from evpower.foundation.db import Connection
from evpower.foundation.purge import count

LEASE: Final = timedelta(seconds=60)  # a first request that has not ended by then counts as crashed
KEPT_FOR: Final = timedelta(hours=72)
MAX_BODY_BYTES: Final = 64 * 1024


# done: stored, a repeat gets the same response. refused: nothing happened, the key is free.
# unknown: it may have happened, the same request runs again and resumes it, others are refused.
RequestOutcome = Literal["done", "refused", "unknown"]
_OUTCOME: Final = "idempotency_outcome"
_KEY: Final = "idempotency_key"
_ROLES: Final = "idempotency_roles"
KeyState = MutableMapping[str, Any]  # of a request: scope["state"]


def set_outcome(state: KeyState, outcome: RequestOutcome) -> None:
    """Sets the outcome of a request where its status does not show it."""
    state[_OUTCOME] = outcome


def store_nothing(state: KeyState) -> None:
    """Keeps the response out of the database, because it holds a secret: a repeat runs anew."""
    state[_OUTCOME] = "refused"


def outcome_of(state: KeyState, status: int) -> RequestOutcome:
    """Returns the outcome that the route set, else the one that the response's status means."""
    default: RequestOutcome = "unknown" if status >= 500 else "done" if status < 300 else "refused"  # noqa: PLR2004
    return state.get(_OUTCOME, default)


def require_roles(state: KeyState, roles: Iterable[str]) -> None:
    """Lets only callers of these roles have the stored response; each further call narrows them."""
    required = frozenset(roles)
    earlier: frozenset[str] | None = state.get(_ROLES)
    state[_ROLES] = required if earlier is None else required & earlier


def roles_of(state: KeyState) -> frozenset[str] | None:
    """Returns the roles that may have the response; None: its caller, whatever the role."""
    return state.get(_ROLES)


def set_key(state: KeyState, key: str) -> None:
    """Passes the key to the route."""
    state[_KEY] = key


def key_of(state: KeyState) -> str | None:
    """Returns the valid key of a request; None when it has none."""
    return state.get(_KEY)


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """A caller's key and the digest of the request that it came with."""

    scope: str
    key: str
    request_sha256: bytes


@dataclass(frozen=True, slots=True)
class OwnsKey:
    """The caller runs the request, then `finish`, `free` or `release` under this lease."""

    leased_until: datetime


@dataclass(frozen=True, slots=True)
class Running:
    """The first request with this key still runs, at the latest until `leased_until`."""

    leased_until: datetime


@dataclass(frozen=True, slots=True)
class KeyReused:
    """The key came before with another request."""


@dataclass(frozen=True, slots=True)
class Answered:
    """The response of the first request."""

    status: int
    media_type: str | None
    body: bytes
    roles: frozenset[str] | None = None  # who may have it; None: its caller, whatever the role


async def claim(
    connection: Connection, key: IdempotencyKey, now: datetime
) -> OwnsKey | Running | KeyReused | Answered:
    """Claims the key, or returns the state of its owner. An expired lease is taken over."""
    lease: datetime | None = await connection.fetchval(
        """
        insert into foundation.idempotency_keys as k
          (scope, key, request_sha256, leased_until, created_at)
        values ($1, $2, $3, $4::timestamptz, $5)
        on conflict (scope, key) do update set leased_until = excluded.leased_until
          where k.status is null and k.leased_until <= $5
            and k.request_sha256 = excluded.request_sha256
        returning leased_until
        """,
        key.scope,
        key.key,
        key.request_sha256,
        now + LEASE,
        now,
    )
    if lease is not None:
        return OwnsKey(lease)
    row = await connection.fetchrow(
        """
        select request_sha256, status, media_type, body, roles, leased_until
        from foundation.idempotency_keys where scope = $1 and key = $2
        """,
        key.scope,
        key.key,
    )
    if row is None:  # freed between the two statements: the caller asks again
        return Running(now)
    if row["request_sha256"] != key.request_sha256:
        return KeyReused()
    if row["status"] is None:
        return Running(row["leased_until"])
    roles: list[str] | None = row["roles"]
    required = None if roles is None else frozenset(roles)
    return Answered(row["status"], row["media_type"], row["body"], required)


async def finish(
    connection: Connection, key: IdempotencyKey, lease: OwnsKey, answer: Answered
) -> bool:
    """Stores the response. Returns False when the lease expired and another request took over."""
    done = await connection.fetchval(
        """
        update foundation.idempotency_keys
        set status = $4, media_type = $5, body = $6, roles = $7
        where scope = $1 and key = $2 and leased_until = $3 and status is null returning true
        """,
        key.scope,
        key.key,
        lease.leased_until,
        answer.status,
        answer.media_type,
        answer.body,
        None if answer.roles is None else sorted(answer.roles),
    )
    return done is True


async def free(connection: Connection, key: IdempotencyKey, lease: OwnsKey) -> None:
    """Deletes the key: nothing happened."""
    await connection.execute(
        """
        delete from foundation.idempotency_keys
        where scope = $1 and key = $2 and leased_until = $3 and status is null
        """,
        key.scope,
        key.key,
        lease.leased_until,
    )


async def release(
    connection: Connection, key: IdempotencyKey, lease: OwnsKey, now: datetime
) -> None:
    """Ends the lease but not the key: only the same request may run again, at once."""
    await connection.execute(
        """
        update foundation.idempotency_keys set leased_until = $4
        where scope = $1 and key = $2 and leased_until = $3 and status is null
        """,
        key.scope,
        key.key,
        lease.leased_until,
        now,
    )


async def purge(connection: Connection, now: datetime, at_most: int) -> int:
    """Deletes keys older than 72 hours. Returns how many."""
    return count(
        await connection.execute(
            """
            delete from foundation.idempotency_keys where ctid = any (array(
            select ctid from foundation.idempotency_keys where created_at < $1
            order by created_at limit $2 for update skip locked))
            """,
            now - KEPT_FOR,
            at_most,
        )
    )

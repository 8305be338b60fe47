"""The lease of an idempotency key: only the same request gets it when its time has passed."""

from datetime import timedelta
from uuid import UUID

import pytest

from evpower.foundation import idempotency
from evpower.foundation.clock import utc_now
from evpower.foundation.db import Database


async def test_a_first_that_lost_its_lease_does_not_overwrite(
    db: Database, client_id: UUID
) -> None:
    key = idempotency.IdempotencyKey(f"client:{client_id}", "k", b"x" * 32)
    async with db.connection() as connection:
        slow = await idempotency.claim(connection, key, utc_now())
        quick = await idempotency.claim(connection, key, utc_now() + timedelta(seconds=61))
        assert isinstance(slow, idempotency.OwnsKey)
        assert isinstance(quick, idempotency.OwnsKey)
        slow_answer = idempotency.Answered(200, None, b"slow")
        quick_answer = idempotency.Answered(200, None, b"quick")
        assert await idempotency.finish(connection, key, slow, slow_answer) is False
        await idempotency.free(connection, key, slow)
        assert await idempotency.finish(connection, key, quick, quick_answer) is True
        assert await idempotency.claim(connection, key, utc_now()) == quick_answer


@pytest.mark.parametrize("after_s", [0, 59, 61, 3600])
async def test_a_lease_is_taken_over_by_its_own_request_only(
    db: Database, client_id: UUID, after_s: int
) -> None:
    now = utc_now()
    key = idempotency.IdempotencyKey(f"client:{client_id}", "k", b"x" * 32)
    other = idempotency.IdempotencyKey(f"client:{client_id}", "k", b"y" * 32)
    async with db.connection() as connection:
        lease = await idempotency.claim(connection, key, now)
        assert isinstance(lease, idempotency.OwnsKey)
        later = now + timedelta(seconds=after_s)
        assert await idempotency.claim(connection, other, later) == idempotency.KeyReused()
        stored = await connection.fetchrow("select * from foundation.idempotency_keys")
        assert stored is not None
        assert (stored["request_sha256"], stored["leased_until"]) == (
            b"x" * 32,
            lease.leased_until,
        )
        same = await idempotency.claim(connection, key, later)
        assert isinstance(same, idempotency.OwnsKey) is (after_s > 60)


async def test_a_released_lease_is_taken_over_by_its_own_request_only(
    db: Database, client_id: UUID
) -> None:
    now = utc_now()
    key = idempotency.IdempotencyKey(f"client:{client_id}", "k", b"x" * 32)
    other = idempotency.IdempotencyKey(f"client:{client_id}", "k", b"y" * 32)
    async with db.connection() as connection:
        lease = await idempotency.claim(connection, key, now)
        assert isinstance(lease, idempotency.OwnsKey)
        await idempotency.release(connection, key, lease, now)
        assert await idempotency.claim(connection, other, now) == idempotency.KeyReused()
        soon = now + timedelta(milliseconds=1)
        newer = await idempotency.claim(connection, key, soon)
        assert isinstance(newer, idempotency.OwnsKey)
        await idempotency.release(connection, key, lease, soon)  # no longer its own
        assert isinstance(await idempotency.claim(connection, key, soon), idempotency.Running)

"""What grows is deleted faster than limits let it come; what proves something stays."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from pydantic import SecretStr

from evpower.bootstrap.modules import assemble
from evpower.bootstrap.server import close, loops_of
from evpower.charging import insert_unhandled_start
from evpower.charging.jobs import purge_unhandled_starts
from evpower.config import Settings
from evpower.foundation import idempotency
from evpower.foundation.clock import utc_now
from evpower.foundation.db import Connection, Database
from evpower.foundation.loops import Round
from evpower.foundation.purge import BATCH, Delete, purge
from evpower.identity.jobs import purge_registrations
from evpower.payments.jobs import purge_unknown_events
from evpower.stations import add_station
from tests.stations.scenario import draft

KEYS = """
insert into foundation.idempotency_keys
       (scope, key, request_sha256, status, body, leased_until, created_at)
select 'service:importer', n::text, decode(repeat('00', 32), 'hex'), 201, '', now(),
       now() - $2::interval
  from generate_series(1, $1) n
"""
REGISTRATIONS = """
insert into identity.registrations (client_id, email, phone, state, created_at, updated_at)
select gen_random_uuid(), $1 || n || '@example.com', '+99670' || (1000000 + n), $1,
       now() - $2::interval, now() - $2::interval
  from generate_series(1, 3) n
"""
EVENT = """
insert into payments.events
       (provider, event_id, body_sha256, payment_id, status, outcome, review, received_at,
        resolved_at)
values ('sandbox', $1, decode(repeat('00', 32), 'hex'), $2, 'approved', $3, $4,
        now() - $5::interval, $6)
"""


def days(count: float) -> timedelta:
    return timedelta(days=count)


async def count(owner: Connection, table: str) -> int:
    return await owner.fetchval(f"select count(*) from {table}")


async def unhandled_starts(db: Database, *ages: float) -> None:
    async with db.transaction() as connection:
        await add_station(connection, draft("S1", no_auth=True), now=utc_now(), actor="aida")
        for age in ages:
            await insert_unhandled_start(connection, "S1", utc_now() - days(age))


def keys_of(now: Any = utc_now) -> Delete:
    return lambda connection, at_most: idempotency.purge(connection, now(), at_most)


async def test_one_round_deletes_everything_old_in_bounded_transactions(
    db: Database, owner: Connection
) -> None:
    """A service key may add 60,000 keys between two rounds."""
    await owner.execute(KEYS, 2 * BATCH + 3, days(4))
    sizes = list[int]()

    async def delete(connection: Connection, at_most: int) -> int:
        sizes.append(await keys_of()(connection, at_most))
        return sizes[-1]

    assert await purge(db, delete) == 2 * BATCH + 3
    assert sizes == [BATCH, BATCH, 3]
    assert await count(owner, "foundation.idempotency_keys") == 0
    assert await purge(db, delete) == 0


async def test_what_is_young_stays(db: Database, owner: Connection) -> None:
    await owner.execute(KEYS, 5, timedelta(hours=71))
    assert await purge(db, keys_of(), batch=2) == 0
    assert await purge(db, keys_of(lambda: utc_now() + timedelta(hours=2)), batch=2) == 5


async def test_workers_purge_beside_each_other(db: Database, owner: Connection) -> None:
    await owner.execute(KEYS, 1000, days(4))
    done = await asyncio.gather(*(purge(db, keys_of(), batch=50) for _ in range(4)))
    assert sum(done) == 1000 - await count(owner, "foundation.idempotency_keys")
    await purge(db, keys_of())
    assert await count(owner, "foundation.idempotency_keys") == 0


async def test_a_row_in_use_is_not_waited_for(db: Database, owner: Connection) -> None:
    await owner.execute(KEYS, 3, days(4))
    async with db.transaction() as connection:
        await connection.execute(
            "select from foundation.idempotency_keys where key = '2' for update"
        )
        assert await purge(db, keys_of()) == 2
    assert await purge(db, keys_of()) == 1


async def test_a_purge_moves_on_at_each_batch_and_ends_with_the_process(
    db: Database, owner: Connection
) -> None:
    await owner.execute(KEYS, 10, days(4))
    stop = asyncio.Event()

    class Watched(Round):
        parts = 0

        def progress(self) -> None:
            self.parts += 1
            if self.parts == 2:
                stop.set()

    current = Watched(stop)
    assert await purge(db, keys_of(), current, batch=3) == 6
    assert current.parts == 2


async def test_ended_registrations_go_after_90_days_and_open_ones_stay(
    db: Database, owner: Connection
) -> None:
    for state in ("done", "refused", "expired", "intended"):
        await owner.execute(REGISTRATIONS, state, days(91))
    await owner.execute(REGISTRATIONS.replace("@example", "@young"), "done", days(89))

    async def delete(connection: Connection, at_most: int) -> int:
        return await purge_registrations(connection, utc_now(), at_most)

    assert await purge(db, delete, batch=4) == 9
    left = await owner.fetch(
        "select state, count(*) from identity.registrations group by 1 order by 1"
    )
    assert [tuple(row) for row in left] == [("done", 3), ("intended", 3)]


async def test_numbers_of_starts_that_were_not_handled_go_after_400_days(
    db: Database, owner: Connection
) -> None:
    await unhandled_starts(db, 401, 400.1, 399.9)

    async def delete(connection: Connection, at_most: int) -> int:
        return await purge_unhandled_starts(connection, utc_now(), at_most)

    assert await purge(db, delete, batch=1) == 2
    assert await count(owner, "charging.unhandled_starts") == 1


async def test_events_of_payments_and_of_open_reviews_are_kept_for_ever(
    db: Database, owner: Connection, client_id: UUID
) -> None:
    payment = await owner.fetchval(
        "insert into payments.payments (invoice_id, order_id, client_id, provider, method,"
        " amount_minor, expires_at)"
        " values ('inv-000001', 'order-0001', $1, 'sandbox', 'qr', 100, now()) returning id",
        client_id,
    )
    now = utc_now()
    for name, of, outcome, review, age, resolved_at in (
        ("old", None, "unknown_payment", None, 401, None),
        ("young", None, "unknown_payment", None, 399, None),
        ("known", payment, "ignored", None, 4000, None),
        ("open", None, "event_reused", "event_reused", 4000, None),
        ("closed", None, "event_reused", "event_reused", 4000, now),
    ):
        await owner.execute(EVENT, name, of, outcome, review, days(age), resolved_at)

    async def delete(connection: Connection, at_most: int) -> int:
        return await purge_unknown_events(connection, utc_now(), at_most)

    assert await purge(db, delete, batch=1) == 2
    left = await owner.fetchval("select array_agg(event_id order by event_id) from payments.events")
    assert left == ["known", "open", "young"]


async def test_no_argument_forgets_what_came_in_the_last_90_days(
    db: Database, owner: Connection
) -> None:
    await owner.execute(EVENT, "new", None, "unknown_payment", None, days(89), None)
    async with db.transaction() as connection:
        forget = "select payments.purge_unknown_events(now() + interval '9 years', 100)"
        assert await connection.fetchval(forget) == 0
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("delete from payments.events")


async def test_a_worker_runs_every_purge(db: Database, owner: Connection, dsn: str) -> None:
    """The loops of a worker, each made to run one round."""
    await owner.execute(KEYS, 3, days(4))
    await owner.execute(REGISTRATIONS, "done", days(91))
    await owner.execute(EVENT, "old", None, "unknown_payment", None, days(401), None)
    await owner.execute(
        "insert into sync.inbox (source, event_id, body_sha256, kind, received_at)"
        " values ('plain', 'old', decode(repeat('00', 32), 'hex'), 'update',"
        "  now() - interval '31 days')"
    )
    await unhandled_starts(db, 401)
    settings = Settings(
        _env_file=None,  # pyright: ignore[reportCallIssue]
        env="development",
        database_url=SecretStr(dsn),
        supabase_url="http://x",
    )
    parts = assemble(settings)
    await parts.shared.db.start()
    try:
        for loop in loops_of(parts, "worker"):
            if loop.name.startswith("purge_"):
                await loop._run_once(asyncio.Event())  # pyright: ignore[reportPrivateUsage]
                assert (loop.record.error, loop.record.finished_at is None) == ("", False)
    finally:
        await close(parts)
    for table in (
        "foundation.idempotency_keys",
        "identity.registrations",
        "payments.events",
        "charging.unhandled_starts",
        "sync.inbox",
    ):
        assert await count(owner, table) == 0, table

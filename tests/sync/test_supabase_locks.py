"""A row that another transaction holds in Supabase keeps nothing but itself waiting."""

import asyncio
from collections.abc import AsyncGenerator
from uuid import UUID, uuid4

import asyncpg
import pytest

from evpower.foundation.db import Connection
from tests.sync.changes_log import make_row, make_user, rpc
from tests.sync.scenario import Target
from tests.sync.test_supabase_schema import _apply, _client, _session, _transaction

HELD = (
    "update public.clients set name = 'Held' where id::text = $1",
    "select from public.clients where id::text = $1 for update",
)


@pytest.fixture
async def other(target: Target) -> AsyncGenerator[Connection]:
    """Another session of the project, in a transaction that goes on."""
    async with target.psql() as connection:
        transaction = connection.transaction()
        await transaction.start()
        yield connection
        await transaction.rollback()


async def outcomes(there: Connection, **payload: object) -> dict[str, tuple[object, object]]:
    """What evpower_apply did with each key, within hosted's time-outs."""
    async with there.transaction():
        await there.execute("set local statement_timeout = '8s'")
        await there.execute("set local lock_timeout = '8s'")
        answer = await _apply(there, **payload)  # type: ignore[arg-type]
    return {str(key): (outcome, why) for _, key, outcome, why in answer}


@pytest.mark.parametrize("statement", HELD)
async def test_a_held_client_is_busy_and_all_others_are_written(
    there: Connection, other: Connection, statement: str
) -> None:
    locked, *free = [uuid4() for _ in range(20)]
    await _apply(there, clients=[_client(key) for key in (locked, *free)])
    await other.execute(statement, str(locked))
    clients = [
        _client(key, balance="300.00", balance_version=3, revision=2, from_version=1)
        for key in (locked, *free)
    ]
    lines = [_transaction(key, version) for key in (locked, *free) for version in (2, 3)]
    results = await outcomes(there, clients=clients, transactions=lines)
    assert results.pop(str(locked)) == ("busy", None)
    assert results == {str(key): ("applied", None) for key in free}
    lines_here = "select count(*) from public.transactions where client_id::text = $1"
    assert await there.fetchval(lines_here, str(locked)) == 0
    assert await there.fetchval(lines_here, str(free[0])) == 2


async def test_a_held_session_is_busy_and_all_others_are_written(
    there: Connection, other: Connection
) -> None:
    client, locked, free = uuid4(), uuid4(), uuid4()
    await _apply(
        there, clients=[_client(client)], sessions=[_session(key, client) for key in (locked, free)]
    )
    await other.execute("select from charging_sessions where id::text = $1 for update", str(locked))
    results = await outcomes(
        there, sessions=[_session(key, client, revision=2) for key in (locked, free)]
    )
    assert results == {str(locked): ("busy", None), str(free): ("applied", None)}


async def test_a_session_waits_for_no_client_either(there: Connection, other: Connection) -> None:
    """Where the project has a foreign key, its check would wait."""
    locked, free, theirs, own = uuid4(), uuid4(), uuid4(), uuid4()
    await _apply(there, clients=[_client(locked), _client(free)])
    await other.execute(HELD[1], str(locked))
    results = await outcomes(there, sessions=[_session(theirs, locked), _session(own, free)])
    assert results == {str(theirs): ("busy", None), str(own): ("applied", None)}


async def test_a_foreign_keys_check_elsewhere_makes_no_client_busy(
    there: Connection, other: Connection
) -> None:
    client = uuid4()
    await _apply(there, clients=[_client(client)])
    await other.execute("select from clients where id::text = $1 for key share", str(client))
    results = await outcomes(there, clients=[_client(client, revision=2)])
    assert results == {str(client): ("applied", None)}


async def test_an_insert_that_would_wait_is_busy_and_all_others_are_written(
    there: Connection, other: Connection
) -> None:
    """The row is not there yet, so nothing of it can be locked."""
    locked, free = uuid4(), uuid4()
    await make_row(other, locked)
    results = await outcomes(there, clients=[_client(locked, balance="0"), _client(free)])
    assert results == {str(locked): ("busy", "waited"), str(free): ("applied", None)}


async def test_many_inserts_that_would_wait_end_within_the_statement_time_out(
    there: Connection, other: Connection
) -> None:
    """Half a second for each would be ten: those that are left are busy without a try."""
    locked = [uuid4() for _ in range(20)]
    for key in locked:
        await make_row(other, key)
    results = await outcomes(there, clients=[_client(key, balance="0") for key in locked])
    assert {outcome for outcome, _ in results.values()} == {"busy"}
    assert results.keys() == {str(key) for key in locked}


async def test_two_calls_at_once_answer_every_key_and_nothing_is_refused(
    target: Target, there: Connection
) -> None:
    keys = [uuid4() for _ in range(50)]
    await _apply(there, clients=[_client(key) for key in keys])

    async def call(order: list[UUID], revision: int) -> set[object]:
        async with target.psql() as connection:
            results = await outcomes(
                connection, clients=[_client(key, revision=revision) for key in order]
            )
            assert len(results) == len(keys)
            return {outcome for outcome, _ in results.values()}

    results = await asyncio.gather(
        *(call(keys[:: (-1) ** number], number + 2) for number in range(8))
    )
    assert set().union(*results) <= {"applied", "stale", "busy"}


async def test_archiving_ends_soon_at_a_held_row(there: Connection, other: Connection) -> None:
    client = uuid4()
    await _apply(there, clients=[_client(client)], transactions=[_transaction(client)])
    await other.execute("select from public.transactions for update")
    with pytest.raises(asyncpg.LockNotAvailableError):
        await rpc(there, "evpower_archive", clients=[[str(client), 0]])


async def test_a_contact_that_would_wait_is_carried_at_the_next_pull(
    there: Connection, other: Connection, target: Target
) -> None:
    """In the older project emails are unique, and another transaction is about to have this one."""
    email = f"{uuid4().hex}@example.kg"
    key = await make_user(there, email=email)
    await make_row(there, key, email="before@example.kg")
    await there.execute(
        "insert into evpower.pending_contacts (user_id, contact) values ($1, 'email')", str(key)
    )
    await make_row(other, uuid4(), email=email)
    await rpc(there, "evpower_changes", limit=1)
    own = "select email from public.clients where id::text = $1"
    assert await there.fetchval(own, str(key)) == ("before@example.kg" if target.older else email)
    left = "select count(*) from evpower.pending_contacts where user_id = $1"
    assert await there.fetchval(left, str(key)) == int(target.older)


async def test_pruning_skips_rows_that_are_held(there: Connection, other: Connection) -> None:
    await there.execute("delete from evpower.changes")
    for _ in range(3):
        await make_row(there, uuid4())
    await there.execute("update evpower.changes set at = now() - interval '30 days'")
    rows = await there.fetch("select xid::text, seq from evpower.changes order by seq")
    await other.execute("select from evpower.changes where seq = $1 for update", rows[0]["seq"])
    pruned = await rpc(there, "evpower_changes_prune", before=dict(rows[2]), keep_days=7)
    assert pruned == {"pruned": 1}

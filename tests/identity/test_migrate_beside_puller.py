"""Users the move creates come back through the change log while their rows are being moved."""

import asyncio
import json
from typing import Any
from uuid import UUID

import httpx
import pytest

from evpower import client_migration
from evpower.config import Settings
from evpower.foundation.clock import utc_now
from evpower.foundation.db import Connection, Database
from evpower.identity.aliases import fold_id_tag
from evpower.sync import Puller, SupabaseRpc
from tests.identity.conftest import Answer, Edge, Request, forward
from tests.identity.moving import CONFIRMED, Moving, someone
from tests.identity.test_migrate import through
from tests.waiting import until

ROWS = 60


@pytest.fixture
async def puller(moving: Moving, db: Database) -> Puller:
    """As in a process of EvPower, acting as its role."""
    await moving.there.execute("delete from evpower.changes")  # of other tests
    return a_puller(moving, db)


def a_puller(moving: Moving, db: Database) -> Puller:
    settings = Settings(_env_file=None, pull_poll_s=0.05)  # pyright: ignore[reportCallIssue]
    rpc = SupabaseRpc(moving.http, moving.supabase.url, moving.supabase.secret_key, timeout_s=60)
    return Puller(db, rpc, settings, utc_now, jitter=lambda: 0.0)


def some_rows() -> list[dict[str, object]]:
    """With money, cards and an old UUID among them."""
    rows = [someone(f"old-{n}", balance="", id_tags=f"tag-{n}") for n in range(ROWS)]
    for row in rows[::5]:
        row["balance"] = "1.50"
    rows[3]["id"] = str(UUID(int=3 << 64))
    return rows


async def clients(owner: Connection) -> dict[UUID, dict[str, Any]]:
    rows = await owner.fetch(
        "select c.id, c.email, c.phone, c.status, w.balance_minor from identity.clients c"
        " join wallet.wallets w on w.client_id = c.id"
    )
    return {row["id"]: dict(row) for row in rows}


async def take_all(moving: Moving, puller: Puller) -> None:
    """Drain until the last row of the change log is taken.

    Any transaction that runs in that PostgreSQL holds back what was committed after it began, and
    whether it does is looked at a moment later than the rows are: only the cursor tells.
    """

    async def is_taken() -> bool:
        pulled = await puller.drain()
        assert (pulled.error, pulled.failed) == (None, 0)
        last = await moving.there.fetchrow(
            "select xid::text, seq from evpower.changes c order by c.xid desc, c.seq desc limit 1"
        )
        cursor = await moving.owner.fetchrow("select xid::text, seq from sync.cursors")
        assert cursor is not None
        return last is None or tuple(last) == tuple(cursor)

    await until(is_taken)


async def are_one(moving: Moving, rows: list[dict[str, object]], puller: Puller) -> None:
    """Each old client is one client with its user, its cards and its money, and stays so."""
    for _ in range(2):
        await take_all(moving, puller)
        named, by_id = await moving.named(), await clients(moving.owner)
        assert set(named) == {str(row["id"]) for row in rows}
        assert set(named.values()) == set(by_id)
        assert len(by_id) == len(rows) == await moving.users()
        for row in rows:
            client = by_id[named[str(row["id"])]]
            assert (client["email"], client["phone"]) == (row["email"], row["phone"])
            assert client["status"] == "active"
            assert client["balance_minor"] == (150 if row.get("balance") else 0)
            assert (
                await moving.owner.fetchval(
                    "select client_id from identity.aliases where kind = 'id_tag' and alias = $1",
                    fold_id_tag(str(row["id_tags"])),
                )
                == client["id"]
            )
    assert await moving.owner.fetchval("select count(*) from payments.payments") == len(
        [row for row in rows if row.get("balance")]
    )


async def test_the_puller_is_faster_than_the_row(
    moving: Moving, puller: Puller, edge: Edge, http: httpx.AsyncClient
) -> None:
    """Auth has the user, the puller took it, and only then Auth's answer comes."""
    one_at_a_time = asyncio.Lock()
    created = 0

    async def is_client(user: UUID) -> bool:
        """Others are created meanwhile: one look may come too early for this very user."""
        nonlocal created
        async with one_at_a_time:
            created += (await puller.drain()).created
            return await moving.owner.fetchval(
                "select exists (select from identity.clients where id = $1)", user
            )

    async def respond(request: Request) -> Answer:
        answer = await forward(moving.supabase, http, request)
        if request.method == "POST":
            user = UUID(json.loads(request.body)["id"])
            await until(lambda: is_client(user), "the puller took the user")
        return answer

    edge.respond = respond
    rows = some_rows()
    source = moving.csv(*rows)
    run = (await moving.plan(source)).run
    assert run is not None
    done = await moving.execute(source, run, admin=through(edge, moving))
    assert (done.done, done.failed, done.conflicts) == (ROWS, 0, 0)
    assert created == ROWS  # every client was born of the change log
    await are_one(moving, rows, puller)


async def test_both_make_the_client_in_one_moment(moving: Moving, puller: Puller) -> None:
    """Another transaction's insert of the client is not committed when the row is written."""
    row = someone("a", id_tags="AA")
    source = moving.csv(row)
    run = (await moving.plan(source)).run
    assert run is not None
    client = await moving.owner.fetchval("select client_id from client_migration.run_rows")
    begun = moving.owner.transaction()
    await begun.start()
    await moving.owner.execute(
        "insert into identity.clients (id, email, phone, name, origin)"
        " values ($1, $2, $3, 'Aida', 'supabase')",
        client,
        row["email"],
        row["phone"],
    )
    moved = asyncio.create_task(moving.execute(source, run))
    await until(lambda: is_waiting(moving))
    await begun.commit()
    done = await moved
    assert (done.done, done.failed) == (1, 0)
    await are_one(moving, [row], puller)


async def is_waiting(moving: Moving) -> bool:
    async with moving.db.transaction() as connection:
        return await connection.fetchval(
            "select exists (select from pg_stat_activity where wait_event_type = 'Lock'"
            " and datname = current_database())"
        )


async def test_two_pullers_run_on_beside_it(moving: Moving, puller: Puller, db: Database) -> None:
    rows = some_rows()
    for row in rows[:10]:
        await moving.user(email=row["email"], user_metadata={"phone": row["phone"]}, **CONFIRMED)
    stop = asyncio.Event()
    running = [asyncio.create_task(each.run(stop)) for each in (puller, a_puller(moving, db))]
    done = await moving.run(moving.csv(*rows), at_once=8)
    assert (done.done, done.failed, done.conflicts) == (ROWS, 0, 0)
    stop.set()
    await asyncio.gather(*running)
    await are_one(moving, rows, puller)


@pytest.mark.parametrize("pulled_between", [True, False])
async def test_taken_back_and_moved_again_it_is_open(
    moving: Moving, puller: Puller, *, pulled_between: bool
) -> None:
    """The deletion of its user may be read late: then the user is there again."""
    row = someone("a", id_tags="AA")
    source = moving.csv(row)
    await moving.run(source)
    client = (await moving.named())["a"]
    await take_all(moving, puller)
    back = await client_migration.revert(
        moving.db, moving.admin, None, actor="A", rate_limiter=moving.rate_limiter()
    )
    assert back.users == 1
    if pulled_between:
        await take_all(moving, puller)
        assert (await clients(moving.owner))[client]["status"] == "closed"
    assert (await moving.run(source)).done == 1
    await are_one(moving, [row], puller)
    assert await moving.named() == {"a": client}

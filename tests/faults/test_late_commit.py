"""A change committed late, behind younger ones, is not skipped; any number of pullers may look."""

import asyncio
import random
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from uuid import UUID

import asyncpg
import pytest

from evpower.foundation.db import Connection
from tests.faults import user_model as model
from tests.faults.both_sides import NODES, BothSides
from tests.faults.comparison import differences
from tests.faults.user_model import NOTHING, ModelUser
from tests.waiting import until

pytestmark = [pytest.mark.xdist_group("both_sides"), pytest.mark.timeout(900)]

RENAME = "update public.clients set name = $2 where id = $1"


async def driver(scenario: BothSides, number: int, which: int = 0) -> ModelUser:
    """A driver who signed up and whose app created the row."""
    address = model.email(number, which)
    made = await scenario.sign_up(str(address.text), {})
    assert made is not None
    person = ModelUser(*made, {"email": address, "phone": NOTHING, "name": NOTHING})
    await scenario.insert_row(
        scenario.driver_key(person.token), person.id, email=address.text, phone=None, name=None
    )
    for column in model.PROFILE:
        person.writes(column, person.profile[column])
    return person


@asynccontextmanager
async def transaction(scenario: BothSides) -> AsyncGenerator[Connection]:
    """A transaction of Supabase that has its number, and ends where the test says."""
    connection: Connection = await asyncpg.connect(scenario.postgres.dsn("supabase"))
    try:
        await connection.execute("begin")
        await connection.fetchval("select pg_current_xact_id()")
        yield connection
    finally:
        await connection.close()


async def names(scenario: BothSides, people: Sequence[ModelUser]) -> list[str | None]:
    rows = await scenario.here.rows(
        "select id, name from identity.clients where id = any ($1)", [user.id for user in people]
    )
    by_id: dict[UUID, str | None] = {row["id"]: row["name"] for row in rows}
    return [by_id.get(user.id) for user in people]


async def log(scenario: BothSides, people: Sequence[ModelUser]) -> list[tuple[UUID, int, int]]:
    """Whose change is where in the log, by its transaction and by its number."""
    rows = await scenario.there.rows(
        "select row_id, xid::text::bigint as xid, seq from evpower.changes"
        " where row_id = any ($1) and \"table\" = 'clients' order by xid, seq",
        [str(user.id) for user in people],
    )
    return [(UUID(row["row_id"]), row["xid"], row["seq"]) for row in rows]


async def test_a_change_committed_late_is_not_skipped(scenario: BothSides) -> None:
    early, late = [await driver(scenario, 900_001, which) for which in (0, 1)]
    await scenario.settle()
    async with transaction(scenario) as slow:
        await slow.execute(RENAME, late.id, "written first")
        async with transaction(scenario) as quick:
            await quick.execute(RENAME, early.id, "committed first")
            await quick.execute("commit")
        for node in scenario.nodes:
            await node.puller.drain()
        await slow.execute("commit")
    for node in range(NODES):
        await scenario.pull(node)
    assert await names(scenario, [early, late]) == ["committed first", "written first"]


async def test_a_change_numbered_late_by_an_old_transaction_is_not_skipped(
    scenario: BothSides,
) -> None:
    """The older transaction writes last: its position in the log is before what was applied."""
    early, late = [await driver(scenario, 900_002, which) for which in (0, 1)]
    await scenario.settle()
    async with transaction(scenario) as slow:
        async with transaction(scenario) as quick:
            await quick.execute(RENAME, early.id, "higher xid, lower seq")
            await quick.execute("commit")
        await scenario.nodes[0].puller.drain()
        await slow.execute(RENAME, late.id, "lower xid, higher seq")
        await scenario.nodes[1].puller.drain()
        await slow.execute("commit")
    (first, xid, seq), (second, next_xid, next_seq) = (await log(scenario, [early, late]))[-2:]
    assert (first, second) == (late.id, early.id)
    assert xid < next_xid
    assert seq > next_seq, "the case this test is about"
    for node in range(NODES):
        await scenario.pull(node)
    assert await names(scenario, [early, late]) == [
        "higher xid, lower seq",
        "lower xid, higher seq",
    ]


async def test_one_change_a_page_skips_none_of_an_inverted_log(scenario: BothSides) -> None:
    """The cursor is the pair: by number alone the second page would begin after the third row."""
    drivers = [await driver(scenario, 900_003, which) for which in range(4)]
    await scenario.settle()
    after = await scenario.log_end()
    async with transaction(scenario) as oldest, transaction(scenario) as older:
        await older.execute(RENAME, drivers[0].id, "a")
        async with transaction(scenario) as young:
            await young.execute(RENAME, drivers[1].id, "b")
            await young.execute("commit")
        await oldest.execute(RENAME, drivers[2].id, "c")
        await older.execute(RENAME, drivers[3].id, "d")
        await oldest.execute("commit")
        await older.execute("commit")
    await scenario.until_visible()
    seen: list[str] = []
    while page := await scenario.changes(after, limit=1):
        seen += [change["id"] for change in page]
        after = {"xid": page[-1]["xid"], "seq": page[-1]["seq"]}
    assert sorted(seen) == sorted(str(driver.id) for driver in drivers)
    await scenario.settle()
    assert await names(scenario, drivers) == ["a", "b", "c", "d"]


async def test_an_insert_that_rolls_back_makes_no_one(scenario: BothSides) -> None:
    ghost = UUID("00000000-0000-4000-8000-000000000001")
    async with transaction(scenario) as slow:
        await slow.execute("insert into public.clients (id, name) values ($1, 'ghost')", ghost)
        await scenario.nodes[0].puller.drain()
        await slow.execute("rollback")
    await scenario.settle()
    assert await scenario.client_here(ghost) is None


async def test_two_pullers_and_two_relays_beside_many_writers(scenario: BothSides) -> None:
    """All at once, for real: both sides have what each user wrote last."""
    chance = random.Random(20261123)
    drivers = [await driver(scenario, 900_100 + which) for which in range(8)]
    stop = asyncio.Event()
    jobs = [
        asyncio.create_task(work)
        for node in scenario.nodes
        for work in (node.puller.run(stop), node.relay.run(stop))
    ]
    try:
        for person in drivers:
            await until(lambda person=person: _is_here(scenario, person), "a client never came")
        await asyncio.gather(
            *(_writes(scenario, drivers[n::4], chance.random()) for n in range(4)),
            *(_pays(scenario, person) for person in drivers),
        )
        await until(lambda: _equal(scenario, drivers), "the names never became equal")
    finally:
        stop.set()
        await asyncio.gather(*jobs)
    await scenario.settle()
    assert await differences(scenario, drivers) == []


async def _writes(scenario: BothSides, own: Sequence[ModelUser], seed: float) -> None:
    """Transactions of all lengths, over the few rows that are this writer's own.

    In the order of their ids, as evpower_apply locks them: two orders could block each other.
    """
    chance = random.Random(seed)
    own = sorted(own, key=lambda user: user.id)
    for number in range(12):
        async with transaction(scenario) as connection:
            await asyncio.sleep(chance.random() * 0.05)
            for person in own:
                name = model.name(f"turn {number}")
                await connection.execute(RENAME, person.id, name.text)
                person.writes("name", name)
            await asyncio.sleep(chance.random() * 0.05)
            await connection.execute("commit")


async def _pays(scenario: BothSides, person: ModelUser) -> None:
    for amount in (100, 250, 7):
        async with scenario.money() as money:
            await money.top_up(person.id, amount)
        person.pays(amount)


async def _is_here(scenario: BothSides, person: ModelUser) -> bool:
    return await scenario.client_here(person.id) is not None


async def _equal(scenario: BothSides, drivers: Sequence[ModelUser]) -> bool:
    return await names(scenario, drivers) == [driver.profile["name"].text for driver in drivers]

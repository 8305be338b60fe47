"""Holds: never more than the free balance, resolved once."""

import asyncio
from uuid import UUID, uuid4

import asyncpg
import pytest

from evpower import wallet
from evpower.foundation.db import Database
from evpower.foundation.errors import Conflict, NotFound
from tests.waiting import until
from tests.wallet.scenario import Scenario


async def test_50_parallel_holds_never_overspend(db: Database, scenario: Scenario) -> None:
    client = await scenario.topped_up(1000)
    sessions = [await scenario.session(client) for _ in range(50)]

    async def hold(session: UUID) -> wallet.Posting:
        async with db.transaction() as connection:
            return await wallet.hold(connection, session, 90)

    results = await asyncio.gather(*map(hold, sessions), return_exceptions=True)
    refusals = [result for result in results if isinstance(result, Conflict)]
    assert len(refusals) == 39
    assert {refusal.code for refusal in refusals} == {"insufficient_balance"}
    assert all(result.new for result in results if isinstance(result, wallet.Posting))
    assert await scenario.money(client) == (1000, 990, 0)


async def test_a_hold_is_made_once_and_released_once(db: Database, scenario: Scenario) -> None:
    client = await scenario.topped_up(1000)
    session = await scenario.session(client)
    async with db.transaction() as connection:
        first = await wallet.hold(connection, session, 400)
        again = await wallet.hold(connection, session, 700)
        assert (first.new, again.new, again.held_minor) == (True, False, 400)
        released = await wallet.release_hold(connection, session)
        assert (released.new, released.held_minor) == (True, 0)
        assert not (await wallet.release_hold(connection, session)).new
        with pytest.raises(Conflict) as caught:
            await wallet.hold(connection, session, 400)
        assert caught.value.code == "hold_resolved"
        hold = await wallet.get_hold(connection, session)
        money = await wallet.get_wallet(connection, client)
    assert hold is not None
    assert hold.state == "released"
    assert money is not None
    assert (money.available_minor, money.version) == (1000, 1)
    assert await scenario.amounts(client) == [1000]


async def test_a_hold_grows_while_money_lasts(db: Database, scenario: Scenario) -> None:
    client = await scenario.topped_up(1000)
    session = await scenario.session(client)
    async with db.transaction() as connection:
        await wallet.hold(connection, session, 400)
        assert (await wallet.extend_hold(connection, session, 1000)).held_minor == 1000
        lower = await wallet.extend_hold(connection, session, 500)
        assert (lower.new, lower.held_minor) == (False, 1000)
        with pytest.raises(Conflict) as caught:
            await wallet.extend_hold(connection, session, 1001)
        assert caught.value.code == "insufficient_balance"
        assert caught.value.params == {"available": "0.00"}
        await wallet.release_hold(connection, session)
        with pytest.raises(Conflict) as caught:
            await wallet.extend_hold(connection, session, 100)
        assert caught.value.code == "hold_resolved"


async def test_a_hold_that_was_released_is_held_anew_as_the_next_attempt(
    db: Database, scenario: Scenario
) -> None:
    client = await scenario.topped_up(1000)
    session = await scenario.session(client, state="charging")
    async with db.transaction() as connection:
        await wallet.hold(connection, session, 400)
        await wallet.release_hold(connection, session)
        second = await wallet.hold(connection, session, 300, attempt=2)
        again = await wallet.hold(connection, session, 900, attempt=2)
        assert (second.new, again.new, again.held_minor) == (True, False, 300)
        assert (await wallet.extend_hold(connection, session, 500)).held_minor == 500
        newest = await wallet.get_hold(connection, session)
        assert newest is not None
        assert (newest.attempt, newest.amount_minor, newest.state) == (2, 500, "open")
        for attempt in (1, 2):
            assert not (await wallet.hold(connection, session, 400, attempt=attempt)).new
    await scenario.finish(session, 350)
    async with db.transaction() as connection:
        await wallet.charge(connection, session)
        with pytest.raises(Conflict) as caught:
            await wallet.hold(connection, session, 1, attempt=3)
        assert caught.value.code == "hold_resolved"
    states = await scenario.sql.fetch("select attempt, state from wallet.holds order by attempt")
    assert [tuple(row) for row in states] == [(1, "released"), (2, "charged")]
    assert await scenario.money(client) == (650, 0, 0)


@pytest.mark.parametrize("attempt", [0, 2, 3])
async def test_an_attempt_follows_the_one_before(
    db: Database, scenario: Scenario, attempt: int
) -> None:
    session = await scenario.session(await scenario.topped_up(1000))
    with pytest.raises(asyncpg.CheckViolationError, match="does not follow"):
        async with db.transaction() as connection:
            await wallet.hold(connection, session, 1, attempt=attempt)


async def test_two_open_holds_of_a_session_are_refused(scenario: Scenario) -> None:
    client = await scenario.topped_up(1000)
    session = await scenario.session(client)
    await scenario.sql.execute("select wallet.hold($1, 400)", session)
    with pytest.raises(asyncpg.UniqueViolationError):
        await scenario.sql.execute(
            "insert into wallet.holds (session_id, attempt, client_id, amount_minor)"
            " values ($1, 2, $2, 1)",
            session,
            client,
        )


@pytest.mark.parametrize(
    ("most", "least", "held"), [(400, 10, 400), (2000, 10, 1000), (2000, 1000, 1000)]
)
async def test_what_is_free_is_held_where_that_is_enough(
    db: Database, scenario: Scenario, most: int, least: int, held: int
) -> None:
    session = await scenario.session(await scenario.topped_up(1000))
    async with db.transaction() as connection:
        posting = await wallet.hold(connection, session, most, least_minor=least)
    assert posting.held_minor == held


async def test_less_than_the_least_is_not_held(db: Database, scenario: Scenario) -> None:
    session = await scenario.session(await scenario.topped_up(9))
    async with db.transaction() as connection:
        with pytest.raises(Conflict) as caught:
            await wallet.hold(connection, session, 200, least_minor=10)
    assert caught.value.code == "insufficient_balance"


async def test_a_hold_grows_as_far_as_the_money_goes(db: Database, scenario: Scenario) -> None:
    session = await scenario.session(await scenario.topped_up(1000))
    async with db.transaction() as connection:
        await wallet.hold(connection, session, 400)
        assert (await wallet.extend_hold(connection, session, 500, partly=True)).held_minor == 500
        assert (await wallet.extend_hold(connection, session, 2000, partly=True)).held_minor == 1000
        with pytest.raises(Conflict) as caught:
            await wallet.extend_hold(connection, session, 2000, partly=True)
    assert caught.value.code == "insufficient_balance"


async def test_what_is_unknown_is_not_found(db: Database) -> None:
    async with db.transaction() as connection:
        for call in (
            wallet.hold(connection, uuid4(), 1),
            wallet.extend_hold(connection, uuid4(), 1),
            wallet.release_hold(connection, uuid4()),
        ):
            with pytest.raises(NotFound):
                await call


@pytest.mark.parametrize("amount", [0, -1])
async def test_a_hold_of_nothing_is_our_mistake(
    db: Database, scenario: Scenario, amount: int
) -> None:
    session = await scenario.session(await scenario.topped_up(1000))
    for call in (wallet.hold, wallet.extend_hold):
        with pytest.raises(asyncpg.CheckViolationError):
            async with db.transaction() as connection:
                await call(connection, session, amount)


@pytest.mark.parametrize("state", ["finished", "settled", "cancelled", "refused", "failed"])
async def test_a_session_that_is_over_holds_nothing(
    db: Database, scenario: Scenario, state: str
) -> None:
    client = await scenario.topped_up(1000)
    if state == "settled":
        session = await scenario.settled(client, 10)
    else:
        session = await scenario.session(client, state=state)
    async with db.transaction() as connection:
        with pytest.raises(Conflict) as caught:
            await wallet.hold(connection, session, 10)
    assert caught.value.code == "hold_refused"


async def test_a_blocked_client_holds_nothing(db: Database, scenario: Scenario) -> None:
    client = await scenario.topped_up(1000)
    await scenario.sql.execute(
        "update identity.clients set status = 'blocked' where id = $1", client
    )
    session = await scenario.session(client)
    async with db.transaction() as connection:
        with pytest.raises(Conflict):
            await wallet.hold(connection, session, 10)


@pytest.mark.parametrize(
    "change",
    [
        "deletion_requested_at = now()",
        "banned_until = now() + interval '1 min'",
        "unmapped_status = 'suspended'",
    ],
)
async def test_a_client_who_may_not_spend_holds_nothing(
    db: Database, scenario: Scenario, change: str
) -> None:
    client = await scenario.topped_up(1000)
    await scenario.sql.execute(f"update identity.clients set {change} where id = $1", client)
    session = await scenario.session(client)
    async with db.transaction() as connection:
        with pytest.raises(Conflict):
            await wallet.hold(connection, session, 10)


async def test_a_session_cancelled_meanwhile_is_not_left_with_a_hold(
    db: Database, scenario: Scenario
) -> None:
    client = await scenario.topped_up(1000)
    session = await scenario.session(client)

    async def hold() -> wallet.Posting:
        async with db.transaction() as connection:
            return await wallet.hold(connection, session, 10)

    async with scenario.sql.transaction():
        await scenario.sql.execute(
            "update charging.sessions set state = 'cancelled' where id = $1", session
        )
        await scenario.sql.execute("select wallet.release_hold($1)", session)
        holding = asyncio.create_task(hold())
        await until(scenario.is_lock_awaited)
    with pytest.raises(Conflict):
        await holding
    assert await scenario.money(client) == (1000, 0, 0)


async def test_a_hold_that_grew_meanwhile_grows_no_further_than_its_total(
    db: Database, scenario: Scenario
) -> None:
    client = await scenario.topped_up(1000)
    session = await scenario.session(client)
    await scenario.sql.execute("select wallet.hold($1, 100)", session)

    async def extend() -> wallet.Posting:
        async with db.transaction() as connection:
            return await wallet.extend_hold(connection, session, 500)

    async with scenario.sql.transaction():
        await scenario.sql.execute("select wallet.extend_hold($1, 400)", session)
        extending = asyncio.create_task(extend())
        await until(scenario.is_lock_awaited)
    assert (await extending).held_minor == 500
    assert await scenario.money(client) == (1000, 500, 0)


async def test_a_hold_that_was_released_meanwhile_is_not_released_again(
    db: Database, scenario: Scenario
) -> None:
    client = await scenario.topped_up(1000)
    session = await scenario.session(client)
    await scenario.sql.execute("select wallet.hold($1, 100)", session)

    async def release() -> wallet.Posting:
        async with db.transaction() as connection:
            return await wallet.release_hold(connection, session)

    async with scenario.sql.transaction():
        await scenario.sql.execute("select wallet.release_hold($1)", session)
        releasing = asyncio.create_task(release())
        await until(scenario.is_lock_awaited)
    assert not (await releasing).new
    assert await scenario.money(client) == (1000, 0, 0)

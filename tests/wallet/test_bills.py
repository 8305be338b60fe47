"""A session's bills: each states the corrected cost and charges or refunds the difference."""

from datetime import timedelta
from uuid import UUID, uuid4

import asyncpg
import pytest

from evpower import wallet
from evpower.foundation.db import Database
from evpower.foundation.errors import Conflict, EvPowerError, Invalid, NotFound
from tests.wallet.scenario import NOON, Scenario

FIRST, HIGHER, LOWER = 28_856, 30_000, 25_000


async def session_cost(scenario: Scenario, session: UUID) -> int:
    return await scenario.sql.fetchval(
        "select cost_minor from charging.sessions where id = $1", session
    )


async def corrections(scenario: Scenario, session: UUID) -> list[tuple[int, int]]:
    """Return amount and correction part of every refund of a session, oldest first."""
    rows = await scenario.sql.fetch(
        "select r.amount_minor, r.correction_minor from wallet.refunds r"
        " join charging.settlements s on s.id = r.settlement_id"
        " where s.session_id = $1 order by r.id",
        session,
    )
    return [(row[0], row[1]) for row in rows]


async def forgiven(scenario: Scenario, client: UUID) -> int:
    return await scenario.sql.fetchval(
        "select coalesce(sum(forgiven_minor), 0)::bigint from wallet.debts where client_id = $1",
        client,
    )


async def is_verified(db: Database) -> bool:
    return (await wallet.verify(db)).discrepancies == []


class TestACorrectedStop:
    async def test_a_higher_figure_bills_the_difference(
        self, db: Database, scenario: Scenario
    ) -> None:
        client = await scenario.topped_up(100_000)
        session = await scenario.settled(client, FIRST)
        assert await scenario.correct(session, HIGHER, energy_wh=21_375) == "posted"
        assert await scenario.bills(session) == [
            (1, FIRST, FIRST, FIRST), (2, HIGHER, HIGHER - FIRST, HIGHER - FIRST),
        ]  # fmt: skip
        assert await scenario.amounts(client) == [100_000, -FIRST, FIRST - HIGHER]
        assert await scenario.money(client) == (100_000 - HIGHER, 0, 0)
        assert await session_cost(scenario, session) == HIGHER
        assert await is_verified(db)

    async def test_a_lower_figure_is_a_refund_as_correction(
        self, db: Database, scenario: Scenario
    ) -> None:
        client = await scenario.topped_up(100_000)
        session = await scenario.settled(client, FIRST)
        await scenario.correct(session, HIGHER)
        assert await scenario.correct(session, LOWER) == "posted"
        assert (await scenario.bills(session))[2] == (3, LOWER, 0, 0)
        # Newest charge first: all of the second bill's, the rest of the first one's.
        assert await corrections(scenario, session) == [
            (HIGHER - FIRST, HIGHER - FIRST), (FIRST - LOWER, FIRST - LOWER),
        ]  # fmt: skip
        assert await scenario.money(client) == (100_000 - LOWER, 0, 0)
        assert (await scenario.wallet(client))["spent_minor"] == LOWER
        assert await is_verified(db)

    async def test_a_higher_figure_after_a_lower_one_bills_from_the_lower_one(
        self, db: Database, scenario: Scenario
    ) -> None:
        client = await scenario.topped_up(100_000)
        session = await scenario.settled(client, FIRST)
        await scenario.correct(session, LOWER)
        await scenario.correct(session, HIGHER)
        assert [bill[1:3] for bill in await scenario.bills(session)] == [
            (FIRST, FIRST), (LOWER, 0), (HIGHER, HIGHER - LOWER),
        ]  # fmt: skip
        assert await scenario.money(client) == (100_000 - HIGHER, 0, 0)
        assert await is_verified(db)

    async def test_a_higher_figure_above_the_balance_is_a_debt(
        self, db: Database, scenario: Scenario
    ) -> None:
        client = await scenario.topped_up(29_000)
        session = await scenario.settled(client, FIRST)
        await scenario.correct(session, HIGHER)
        assert (await scenario.bills(session))[1] == (2, HIGHER, 1_144, 144)
        assert await scenario.money(client) == (0, 0, 1_000)
        await scenario.sql.execute(
            "select wallet.credit($1)", await scenario.payment(client, 1_500)
        )
        assert await scenario.money(client) == (500, 0, 0)
        assert await is_verified(db)

    async def test_a_lower_figure_first_forgives_what_is_owed(
        self, db: Database, scenario: Scenario
    ) -> None:
        client = await scenario.topped_up(20_000)
        session = await scenario.settled(client, FIRST)
        await scenario.sql.execute(
            "select wallet.credit($1)", await scenario.payment(client, 1_000)
        )
        assert await scenario.money(client) == (0, 0, 7_856)
        assert await scenario.correct(session, LOWER) == "posted"
        assert await forgiven(scenario, client) == FIRST - LOWER
        assert await corrections(scenario, session) == []
        assert await scenario.money(client) == (0, 0, LOWER - 21_000)
        assert await scenario.correct(session, 20_500) == "posted"
        assert await forgiven(scenario, client) == 7_856
        assert await corrections(scenario, session) == [(500, 500)]
        assert await scenario.money(client) == (500, 0, 0)
        assert await is_verified(db)

    async def test_the_newest_debt_of_a_session_is_forgiven_first(
        self, db: Database, scenario: Scenario
    ) -> None:
        client = await scenario.topped_up(50)
        session = await scenario.settled(client, 100)
        await scenario.correct(session, 130)
        await scenario.correct(session, 110)
        debts = await scenario.sql.fetch(
            "select amount_minor, forgiven_minor from wallet.debts order by id"
        )
        assert [tuple(debt) for debt in debts] == [(50, 0), (30, 20)]
        await scenario.correct(session, 90)
        debts = await scenario.sql.fetch(
            "select amount_minor, forgiven_minor from wallet.debts order by id"
        )
        assert [tuple(debt) for debt in debts] == [(50, 10), (30, 30)]
        assert await is_verified(db)

    async def test_what_is_given_back_pays_another_debt(
        self, db: Database, scenario: Scenario
    ) -> None:
        client = await scenario.topped_up(FIRST)
        session = await scenario.settled(client, FIRST)
        other = await scenario.settled(client, 3_000)
        await scenario.correct(session, LOWER)
        assert await scenario.money(client) == (FIRST - LOWER - 3_000, 0, 0)
        assert await scenario.bills(other) == [(1, 3_000, 3_000, 0), (None, None, 3_000, 3_000)]
        assert await is_verified(db)

    async def test_the_debt_of_another_session_is_not_forgiven(
        self, db: Database, scenario: Scenario
    ) -> None:
        client = await scenario.topped_up(100)
        session, other = await scenario.settled(client, 100), await scenario.settled(client, 300)
        await scenario.correct(session, 60)
        assert await forgiven(scenario, client) == 0
        assert await scenario.money(client) == (0, 0, 260)
        assert await scenario.correct(other, 40) == "posted"
        assert await scenario.money(client) == (0, 0, 0)
        assert await is_verified(db)

    async def test_goodwill_does_not_count_until_it_must(
        self, db: Database, scenario: Scenario
    ) -> None:
        """Charged 100, goodwill 60, true cost 20: 40 are refunded, 40 of the goodwill converted."""
        client = await scenario.topped_up(100)
        session = await scenario.settled(client, 100)
        bill = await scenario.sql.fetchval("select id from charging.settlements")
        for amount in (35, 25):
            order = await scenario.refund_order(client, amount, settlement_id=bill)
            await scenario.sql.execute("select wallet.refund($1)", order)
        assert await session_cost(scenario, session) == 100
        await scenario.correct(session, 20)
        assert await corrections(scenario, session) == [(35, 15), (25, 25), (40, 40)]
        assert await scenario.money(client) == (100, 0, 0)
        assert await is_verified(db)

    async def test_a_figure_of_nothing_gives_everything_back(
        self, db: Database, scenario: Scenario
    ) -> None:
        client = await scenario.topped_up(100)
        session = await scenario.settled(client, 130)
        await scenario.correct(session, 0)
        assert await scenario.money(client) == (100, 0, 0)
        assert await forgiven(scenario, client) == 30
        assert await is_verified(db)

    async def test_other_energy_at_the_same_cost_is_a_bill_that_moves_nothing(
        self, db: Database, scenario: Scenario
    ) -> None:
        client = await scenario.topped_up(100)
        session = await scenario.settled(client, 60)
        later = NOON + timedelta(minutes=5)
        assert await scenario.correct(session, 60, energy_wh=7, ended_at=later) == "posted"
        assert await scenario.bills(session) == [(1, 60, 60, 60), (2, 60, 0, 0)]
        facts = await scenario.sql.fetchrow(
            "select energy_wh, ended_at from charging.sessions where id = $1", session
        )
        assert facts is not None
        assert tuple(facts) == (7, later)
        assert await is_verified(db)

    async def test_other_holds_stay(self, db: Database, scenario: Scenario) -> None:
        client = await scenario.topped_up(100)
        session = await scenario.settled(client, 50)
        running = await scenario.session(client, state="charging")
        await scenario.sql.execute("select wallet.hold($1, 40)", running)
        await scenario.correct(session, 70)
        assert await scenario.money(client) == (40, 40, 10)
        assert await is_verified(db)


class TestTheCall:
    async def correct(
        self, db: Database, session: UUID, cost_minor: int, minutes: int = 0
    ) -> wallet.Posting:
        async with db.transaction() as connection:
            return await wallet.correct(
                connection,
                session,
                cost_minor=cost_minor,
                energy_wh=0,
                ended_at=NOON + timedelta(minutes=minutes),
                actor="operator",
                reason="the meter was read again",
            )

    async def test_it_shows_the_bill_and_what_moved(self, db: Database, scenario: Scenario) -> None:
        client = await scenario.topped_up(200)
        session = await scenario.settled(client, 100)
        higher = await self.correct(db, session, 130)
        assert (higher.outcome, higher.amount_minor, higher.balance_minor) == ("posted", -30, 70)
        lower = await self.correct(db, session, 60)
        assert (lower.outcome, lower.amount_minor, lower.balance_minor) == ("posted", 70, 140)
        newest = await scenario.sql.fetchrow(
            "select id, version from wallet.transactions order by version desc limit 1"
        )
        assert newest is not None
        assert (lower.transaction_id, lower.version) == tuple(newest)
        assert lower.session_id == session
        bills = await scenario.sql.fetch("select id from charging.settlements order by id")
        assert [bill["id"] for bill in bills][1:] == [higher.cause_id, lower.cause_id]

    async def test_the_same_again_changes_nothing(self, db: Database, scenario: Scenario) -> None:
        client = await scenario.topped_up(200)
        session = await scenario.settled(client, 100)
        first = await self.correct(db, session, 130)
        again = await self.correct(db, session, 130)
        assert (again.outcome, again.new) == ("repeated", False)
        assert (again.cause_id, again.transaction_id) == (first.cause_id, first.transaction_id)
        assert (again.balance_minor, again.revision) == (first.balance_minor, first.revision)
        assert len(await scenario.bills(session)) == 2

    async def test_a_charge_after_a_correction_is_the_first_bill_still(
        self, db: Database, scenario: Scenario
    ) -> None:
        client = await scenario.topped_up(200)
        session = await scenario.finished(client, 100)
        async with db.transaction() as connection:
            first = await wallet.charge(connection, session)
        await self.correct(db, session, 130)
        async with db.transaction() as connection:
            again = await wallet.charge(connection, session)
        assert (again.outcome, again.cause_id) == ("repeated", first.cause_id)
        assert again.transaction_id == first.transaction_id
        assert await scenario.money(client) == (70, 0, 0)

    async def test_what_cannot_be_corrected_says_so(self, db: Database, scenario: Scenario) -> None:
        client = await scenario.topped_up(200)
        finished, settled = await scenario.finished(client, 100), await scenario.settled(client, 50)
        refusals: list[tuple[UUID, int, type[EvPowerError], str]] = [
            (uuid4(), 0, NotFound, "session_not_found"),
            (finished, 0, Conflict, "session_not_settled"),
            (settled, -1, Invalid, "end_before_start"),
        ]
        for session, minutes, kind, code in refusals:
            with pytest.raises(kind) as refusal:
                await self.correct(db, session, 10, minutes)
            assert refusal.value.code == code
        assert await scenario.money(client) == (150, 0, 0)

    @pytest.mark.parametrize(
        "arguments",
        [
            "null, 1, now(), 'me', 'why'",
            "1, null, now(), 'me', 'why'",
            "1, 1, null, 'me', 'why'",
            "1, 1, now(), null, 'why'",
            "1, 1, now(), 'me', null",
            "-1, 1, now(), 'me', 'why'",
            "1, -1, now(), 'me', 'why'",
            "1, 1, now(), '', 'why'",
            "1, 1, now(), 'me', ''",
        ],
    )
    async def test_a_correction_without_its_facts_is_refused(
        self, scenario: Scenario, arguments: str
    ) -> None:
        session = await scenario.settled(await scenario.topped_up(200), 100)
        with pytest.raises(asyncpg.CheckViolationError):
            await scenario.sql.execute(f"select wallet.correct('{session}', {arguments})")
        assert await scenario.bills(session) == [(1, 100, 100, 100)]

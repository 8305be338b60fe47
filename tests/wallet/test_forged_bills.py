"""Forged bills and corrections are refused, by the owner in psql or by the processes' role.

The forgeries are complete: they write the settlement, the transaction and the wallet in one
database transaction, so that only the rule under test can refuse them.
"""

from uuid import uuid4

import asyncpg
import pytest

from evpower import wallet
from evpower.foundation.db import Database
from tests.wallet.forging import NEWEST, bill, facts, forged_transaction, refund, refuse, settlement
from tests.wallet.scenario import NOON, Scenario


class TestSessions:
    @pytest.mark.parametrize("role", ["owner", "evpower_app"])
    async def test_settled_without_a_bill_fails(self, scenario: Scenario, role: str) -> None:
        client = await scenario.topped_up(5000)
        session = await scenario.finished(client, 300)
        if role != "owner":
            await scenario.sql.execute(f"set role {role}")
        settle = "update charging.sessions set state = 'settled' where id = $1"
        await refuse(scenario.sql, settle, session)
        begin_settled = f"""
          insert into charging.sessions (id, client_id, station_id, connector_id, state, source,
            started_at, ended_at, cost_minor)
          values ('{uuid4()}', '{client}', 'S1', 1, 'settled', 'import', now(), now(), {{}})
        """
        for cost in (0, 500):
            await refuse(scenario.sql, begin_settled.format(cost))

    async def test_a_session_begins_unsettled_though_its_bill_comes_with_it(
        self, scenario: Scenario
    ) -> None:
        client, session = await scenario.topped_up(5000), uuid4()
        await refuse(
            scenario.sql,
            f"""
            insert into charging.sessions (id, client_id, station_id, connector_id, state, source,
              started_at, ended_at, cost_minor)
            values ('{session}', '{client}', 'S1', 1, 'settled', 'import', now(), now(), 500);
            """
            + settlement(session, 1, 500, 500, 500)
            + forged_transaction(client, 2, 5000, -500, settlement_id=NEWEST),
        )

    @pytest.mark.parametrize("role", ["owner", "evpower_app"])
    @pytest.mark.parametrize(
        "change",
        [
            "cost_minor = 301", "cost_minor = 0", "energy_wh = energy_wh + 1",
            "ended_at = ended_at + interval '1 second'", "billed_elsewhere = true",
            "state = 'finished'", "state = 'finished', billed_elsewhere = true",
            "started_at = started_at - interval '1 second'", "station_id = 'S2'",
        ],
    )  # fmt: skip
    async def test_the_facts_of_a_settled_session_stay(
        self, scenario: Scenario, role: str, change: str
    ) -> None:
        session = await scenario.settled(await scenario.topped_up(5000), 300)
        if role != "owner":
            await scenario.sql.execute(f"set role {role}")
        await refuse(scenario.sql, f"update charging.sessions set {change} where id = $1", session)

    @pytest.mark.parametrize(
        "change", ["cost_minor = 301", "energy_wh = 1", "billed_elsewhere = true"]
    )
    async def test_the_facts_of_a_finished_session_stay(
        self, scenario: Scenario, change: str
    ) -> None:
        session = await scenario.finished(await scenario.topped_up(5000), 300)
        await refuse(scenario.sql, f"update charging.sessions set {change} where id = $1", session)

    async def test_the_processes_bill_by_the_functions_only(
        self, db: Database, scenario: Scenario
    ) -> None:
        session = await scenario.settled(await scenario.topped_up(5000), 300)
        async with db.connection() as connection:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(settlement(session, 2, 600, 300, 300))
            for call in (
                "wallet.bill(s, null, 2, 300, 0, 'me', 'no')",
                "wallet.lower_bills(s, 1, '', '')",
            ):
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await connection.execute(f"select {call} from charging.sessions s")


class TestBills:
    async def test_a_whole_bill_by_hand_is_what_the_function_writes(
        self, db: Database, scenario: Scenario
    ) -> None:
        """The statements that the forgeries below are made of are accepted if they are correct."""
        client = await scenario.topped_up(5000)
        session = await scenario.settled(client, 300)
        await scenario.sql.execute(facts(session, 450) + await bill(scenario, session, 2, 450, 150))
        first = await scenario.sql.fetchval("select min(id) from charging.settlements")
        await scenario.sql.execute(
            facts(session, 400)
            + await bill(scenario, session, 3, 400, 0)
            + await refund(scenario, first, 50, correction=50)
        )
        assert await scenario.money(client) == (4600, 0, 0)
        rules = {item.rule for item in (await wallet.verify(db)).discrepancies}
        assert rules == {"spent"}  # the forgery leaves it out

    @pytest.mark.parametrize(
        ("number", "total", "due"),
        [
            (2, 300, 300),  # the same bill twice
            (2, 600, 300),  # the session does not cost that
            (2, 1000, 1000),
            (3, 300, 0),  # there is no second one
            (1, 300, 300),  # the number is used
            (2, 600, 600),
        ],
    )
    async def test_a_session_is_not_charged_twice(
        self, scenario: Scenario, number: int, total: int, due: int
    ) -> None:
        client = await scenario.topped_up(5000)
        session = await scenario.settled(client, 300)
        await refuse(scenario.sql, await bill(scenario, session, number, total, due))
        assert await scenario.money(client) == (4700, 0, 0)

    @pytest.mark.parametrize(("total", "due"), [(400, 400), (400, 50), (400, 101), (200, 10)])
    async def test_a_later_bill_makes_due_what_it_adds(
        self, scenario: Scenario, total: int, due: int
    ) -> None:
        session = await scenario.settled(await scenario.topped_up(5000), 300)
        await refuse(
            scenario.sql, facts(session, total) + await bill(scenario, session, 2, total, due)
        )

    async def test_a_first_bill_is_of_the_whole_cost(self, scenario: Scenario) -> None:
        session = await scenario.finished(await scenario.topped_up(5000), 300)
        settle = f"update charging.sessions set state = 'settled' where id = '{session}';"
        for total, due in ((1000, 1000), (300, 0), (0, 0), (300, 200)):
            await refuse(scenario.sql, settle + await bill(scenario, session, 1, total, due))
        await refuse(scenario.sql, await bill(scenario, session, 1, 300, 300))  # and it settles it
        await scenario.sql.execute(settle + await bill(scenario, session, 1, 300, 300))

    async def test_a_bill_has_its_sessions_facts(self, scenario: Scenario) -> None:
        session = await scenario.settled(await scenario.topped_up(5000), 300)
        second = await bill(scenario, session, 2, 300, 0)
        await refuse(scenario.sql, second + facts(session, 300, energy_wh=5))
        values = {"total_minor": "300", "energy_wh": "energy_wh", "ended_at": "ended_at",
                  "actor": "'me'", "reason": "'no'"}  # fmt: skip
        for missing in values:
            given = {name: value for name, value in values.items() if name != missing}
            await refuse(
                scenario.sql,
                f"""
                insert into charging.settlements (session_id, client_id, bill_number, due_minor,
                  debited_minor, {", ".join(given)})
                select session_id, client_id, 2, 0, 0, {", ".join(given.values())}
                  from charging.settlements where session_id = '{session}'
                """,
            )

    async def test_a_lower_bill_without_its_correction_fails(self, scenario: Scenario) -> None:
        session = await scenario.settled(await scenario.topped_up(5000), 300)
        first = await scenario.sql.fetchval("select max(id) from charging.settlements")
        lower = facts(session, 200) + await bill(scenario, session, 2, 200, 0)
        await refuse(scenario.sql, lower)
        for correction in (0, 99, 101):
            back = await refund(scenario, first, max(correction, 100), correction)
            await refuse(scenario.sql, lower + back)

    async def test_a_correction_without_a_bill_fails(self, scenario: Scenario) -> None:
        client = await scenario.topped_up(5000)
        await scenario.settled(client, 300)
        first = await scenario.sql.fetchval("select max(id) from charging.settlements")
        await refuse(scenario.sql, await refund(scenario, first, 100, correction=100))
        order = await scenario.refund_order(client, 100, settlement_id=first)
        await scenario.sql.execute("select wallet.refund($1)", order)
        await refuse(scenario.sql, "update wallet.refunds set correction_minor = 100")
        await refuse(scenario.sql, "update wallet.refunds set correction_minor = -1")

    async def test_a_bill_above_its_difference_is_not_evened_out_by_a_correction(
        self, scenario: Scenario
    ) -> None:
        """Dues less the correction equal the cost, but the bill's due exceeds its difference."""
        session = await scenario.settled(await scenario.topped_up(5000), 300)
        first = await scenario.sql.fetchval("select max(id) from charging.settlements")
        await refuse(
            scenario.sql,
            facts(session, 400)
            + await bill(scenario, session, 2, 400, 400)
            + await refund(scenario, first, 300, correction=300, charged=400),
        )

    async def test_a_number_is_not_left_out_though_the_sums_are_right(
        self, scenario: Scenario
    ) -> None:
        session = await scenario.settled(await scenario.topped_up(5000), 300)
        first = await scenario.sql.fetchval("select max(id) from charging.settlements")
        back = await refund(scenario, first, 300, correction=300)
        await refuse(
            scenario.sql, facts(session, 0) + await bill(scenario, session, 3, 0, 0) + back
        )
        await scenario.sql.execute(
            facts(session, 0) + await bill(scenario, session, 2, 0, 0) + back
        )

    async def test_a_correction_is_not_taken_back(self, scenario: Scenario) -> None:
        client = await scenario.topped_up(5000)
        session = await scenario.settled(client, 300)
        first = await scenario.sql.fetchval("select max(id) from charging.settlements")
        await scenario.correct(session, 200)
        await refuse(
            scenario.sql,
            "update wallet.refunds set correction_minor = 0;"
            + facts(session, 300)
            + await bill(scenario, session, 3, 300, 100),
        )
        order = await scenario.refund_order(client, 100, settlement_id=first)
        await scenario.sql.execute("select wallet.refund($1)", order)
        await refuse(  # nor does another refund take its place
            scenario.sql,
            f"update wallet.refunds set correction_minor = 0 where id <> {order};"
            f"update wallet.refunds set correction_minor = 100 where id = {order};",
        )

    async def test_a_session_billed_elsewhere_has_no_bill(self, scenario: Scenario) -> None:
        client = await scenario.topped_up(5000)
        session = await scenario.session(client, state="charging", cost_minor=300)
        await scenario.sql.execute(
            "update charging.sessions set state = 'finished', billed_elsewhere = true"
        )
        whole = await bill(scenario, session, 1, 300, 300)
        settle = f"update charging.sessions set state = 'settled' where id = '{session}';"
        await refuse(scenario.sql, whole)
        await refuse(scenario.sql, settle + whole)
        await refuse(scenario.sql, settle)

    @pytest.mark.parametrize("state", ["requested", "charging", "failed", "expired"])
    async def test_a_session_that_is_not_finished_has_no_bill(
        self, scenario: Scenario, state: str
    ) -> None:
        client = await scenario.topped_up(5000)
        session = await scenario.session(client, state=state, cost_minor=300)
        await refuse(scenario.sql, await bill(scenario, session, 1, 300, 300))

    @pytest.mark.parametrize(
        "change",
        [
            "total_minor = 1", "due_minor = 1", "debited_minor = 1", "bill_number = 2",
            "energy_wh = 1", "ended_at = now()", "reason = 'other'", "actor = 'other'",
            "created_at = now()", "refunded_minor = 1", "session_id = gen_random_uuid()",
            "bill_number = null, total_minor = null, energy_wh = null, ended_at = null",
        ],
    )  # fmt: skip
    async def test_a_bill_stays(self, scenario: Scenario, change: str) -> None:
        await scenario.settled(await scenario.topped_up(5000), 300)
        await refuse(scenario.sql, f"update charging.settlements set {change}")
        await refuse(scenario.sql, "delete from charging.settlements")

    async def test_a_bill_that_is_not_taken_is_a_debt(self, scenario: Scenario) -> None:
        session = await scenario.settled(await scenario.topped_up(5000), 300)
        await refuse(scenario.sql, facts(session, 400) + settlement(session, 2, 400, 100, 0))


async def test_a_bill_is_of_its_sessions_client(scenario: Scenario) -> None:
    """A bill of another client's session is refused by its key."""
    session = await scenario.settled(await scenario.topped_up(5000), 300)
    stranger = await scenario.topped_up(5000)
    await refuse(
        scenario.sql,
        "insert into charging.settlements (session_id, client_id, bill_number, total_minor,"
        " energy_wh, ended_at, due_minor, debited_minor, actor, reason)"
        " values ($1, $2, 2, 300, 0, $3, 0, 0, 'me', 'forged')",
        session,
        stranger,
        NOON,
    )

"""Forged debts, collections and forgiven amounts are refused, by the owner in psql too."""

from uuid import UUID

import pytest

from tests.wallet.forging import (
    NEWEST,
    NEWEST_REFUND,
    REFUSED,
    bill,
    facts,
    forged_transaction,
    refuse,
)
from tests.wallet.scenario import Scenario


class TestDebts:
    """A client owes 200 for `session`, and paid 60 and 40 for two others."""

    @pytest.fixture
    async def client(self, scenario: Scenario) -> UUID:
        return await scenario.topped_up(200)

    @pytest.fixture
    async def paid(self, scenario: Scenario, client: UUID) -> list[int]:
        return [await scenario.charged(client, cost) for cost in (60, 40)]

    @pytest.fixture
    async def session(self, scenario: Scenario, client: UUID, paid: list[int]) -> UUID:
        assert len(paid) == 2
        return await scenario.settled(client, 300)

    @pytest.fixture
    async def debt(self, scenario: Scenario, session: UUID) -> int:
        assert session
        return await scenario.sql.fetchval("select id from wallet.debts")

    @pytest.mark.parametrize(
        "no_bill",
        ["", ", bill_number = null, total_minor = null, energy_wh = null, ended_at = null"],
    )
    async def test_an_honest_charge_is_not_pointed_at_a_debt(
        self, scenario: Scenario, client: UUID, paid: list[int], debt: int, no_bill: str
    ) -> None:
        await refuse(
            scenario.sql,
            f"""
            update charging.settlements
               set collects_debt_id = {debt}{no_bill} where id = {paid[0]};
            update wallet.debts set collected_minor = 60;
            update wallet.wallets set debt_minor = debt_minor - 60, revision = revision + 1
             where client_id = '{client}';
            """,
        )
        assert await scenario.money(client) == (0, 0, 200)

    @pytest.mark.parametrize("to", ["null", "(select max(id) from wallet.debts)"])
    async def test_a_collection_stays_with_its_debt(
        self, scenario: Scenario, client: UUID, debt: int, to: str
    ) -> None:
        await scenario.sql.execute("select wallet.credit($1)", await scenario.payment(client, 50))
        await scenario.settled(client, 70)  # another debt
        await refuse(
            scenario.sql,
            f"""
            update charging.settlements set collects_debt_id = {to}
             where collects_debt_id = {debt};
            update wallet.debts set collected_minor = collected_minor - 50 where id = {debt};
            update wallet.debts set collected_minor = collected_minor + 50
             where id <> {debt} and {to} is not null;
            update wallet.wallets set debt_minor = debt_minor + 50, revision = revision + 1
             where client_id = '{client}' and {to} is null;
            """,
        )

    def collection(self, client: UUID, session: str, debt: int, due: int, debited: int) -> str:
        """SQL: a collection from a credit of 50; its unpaid part becomes a debt of its own."""
        return f"""
          insert into charging.settlements (session_id, client_id, due_minor, debited_minor,
            collects_debt_id) values ({session}, '{client}', {due}, {debited}, {debt});
          update wallet.debts set collected_minor = collected_minor + {debited} where id = {debt};
          insert into wallet.debts (client_id, settlement_id, amount_minor)
          select '{client}', {NEWEST}, {due - debited} where {due - debited} > 0;
          update wallet.wallets set revision = revision + 1,
            debt_minor = debt_minor - {debited} + {due - debited} where client_id = '{client}';
        """ + forged_transaction(client, 6, 50, -debited, settlement_id=NEWEST)  # fmt: skip

    async def credited(self, scenario: Scenario, client: UUID) -> str:
        """SQL: a top-up of 50 that collects nothing."""
        payment = await scenario.payment(client, 50)
        return forged_transaction(client, 5, 0, 50, payment_id=payment)

    async def test_a_collection_is_of_its_debts_own_session_and_taken_whole(
        self, scenario: Scenario, client: UUID, session: UUID, debt: int
    ) -> None:
        credit = await self.credited(scenario, client)
        own = f"'{session}'"
        other = (
            f"(select session_id from charging.settlements where client_id = '{client}' limit 1)"
        )
        await refuse(scenario.sql, credit + self.collection(client, other, debt, 50, 50))
        await refuse(scenario.sql, credit + self.collection(client, own, debt, 60, 50))
        await scenario.sql.execute(credit + self.collection(client, own, debt, 50, 50))
        assert await scenario.money(client) == (0, 0, 150)

    async def test_no_client_owes_while_money_is_free(
        self, scenario: Scenario, client: UUID, debt: int
    ) -> None:
        assert debt
        await refuse(scenario.sql, await self.credited(scenario, client))
        assert await scenario.money(client) == (0, 0, 200)

    async def test_no_hold_is_released_beside_a_debt(self, scenario: Scenario) -> None:
        client = await scenario.topped_up(100)
        running = await scenario.session(client, state="charging")
        await scenario.sql.execute("select wallet.hold($1, 100)", running)
        await scenario.settled(client, 30)
        await refuse(
            scenario.sql,
            f"""
            update wallet.holds set state = 'released', resolved_at = now();
            update wallet.wallets set held_minor = 0, revision = revision + 1
             where client_id = '{client}';
            """,
        )

    async def test_a_debt_is_forgiven_by_a_lower_bill_only(
        self, scenario: Scenario, client: UUID, session: UUID, debt: int
    ) -> None:
        forgive = f"""
          update wallet.debts set forgiven_minor = 100 where id = {debt};
          update wallet.wallets set debt_minor = debt_minor - 100, revision = revision + 1
           where client_id = '{client}';
        """
        await refuse(scenario.sql, forgive)
        await refuse(scenario.sql, forgive + await bill(scenario, session, 2, 300, 0))
        lower = facts(session, 200) + await bill(scenario, session, 2, 200, 0)
        await scenario.sql.execute(lower + forgive)
        assert await scenario.money(client) == (0, 0, 100)
        await refuse(scenario.sql, forgive.replace("= 100", "= 0").replace("- 100", "+ 100"))

    @pytest.mark.parametrize(
        "change",
        [
            "amount_minor = 100", "settlement_id = (select min(id) from charging.settlements)",
            "client_id = (select w.client_id from wallet.wallets w where w.balance_minor = 5)",
            "collected_minor = 200", "forgiven_minor = 1", "created_at = now()",
            "settlement_id = null, refund_id = 1",
        ],
    )  # fmt: skip
    async def test_a_debt_stays(self, scenario: Scenario, debt: int, change: str) -> None:
        await scenario.topped_up(5)
        await refuse(scenario.sql, f"update wallet.debts set {change} where id = $1", debt)


class TestReversals:
    """The bank reversed 100, of which the client owes 70, and 20 of another payment."""

    @pytest.fixture
    async def client(self, scenario: Scenario) -> UUID:
        client = await scenario.client()
        for amount, back in ((50, 20), (100, 100)):
            payment = await scenario.payment(client, amount)
            await scenario.sql.execute("select wallet.credit($1)", payment)
            if amount == 100:
                await scenario.settled(client, 100)
            order = await scenario.refund_order(client, back, payment_id=payment)
            await scenario.sql.execute("select wallet.refund($1)", order)
        assert await scenario.money(client) == (0, 0, 70)
        return client

    @pytest.mark.parametrize("to", ["(select max(id) from wallet.debts)", "null"])
    async def test_a_reversal_is_not_pointed_at_a_debt_nor_a_collection_away_from_it(
        self, scenario: Scenario, client: UUID, to: str
    ) -> None:
        await scenario.sql.execute("select wallet.credit($1)", await scenario.payment(client, 30))
        assert await scenario.money(client) == (0, 0, 40)
        moved = "collects_debt_id is null" if to != "null" else "collects_debt_id is not null"
        await refuse(
            scenario.sql,
            f"""
            update wallet.refunds set collects_debt_id = {to}
             where {moved} and posted_minor = (
               select max(posted_minor) from wallet.refunds where {moved});
            update wallet.debts set collected_minor = case when {to} is null then 0 else 50 end;
            update wallet.wallets set revision = revision + 1, debt_minor =
              (select sum(amount_minor - collected_minor) from wallet.debts)
             where client_id = '{client}';
            """,
        )

    @pytest.mark.parametrize(
        ("amount", "posted", "which"),
        [(30, 30, "min"), (40, 30, "max"), (30, 30, "max")],
    )
    async def test_a_collection_is_of_the_reversed_payment_and_whole(
        self, scenario: Scenario, client: UUID, amount: int, posted: int, which: str
    ) -> None:
        """The last case is correct: it shows that only the rule refuses the others."""
        payment = await scenario.payment(client, 30)
        version = (await scenario.wallet(client))["version"] + 1
        sql = forged_transaction(client, version, 0, 30, payment_id=payment) + f"""
          insert into wallet.refunds (client_id, payment_id, amount_minor, posted_minor, posted_at,
            collects_debt_id, actor, reason)
          select '{client}', (select {which}(payment_id) from wallet.refunds), {amount}, -{posted},
                 now(), max(id), 'me', 'forged' from wallet.debts;
          update wallet.debts set collected_minor = {posted};
          insert into wallet.debts (client_id, refund_id, amount_minor)
          select '{client}', {NEWEST_REFUND}, {amount - posted} where {amount - posted} > 0;
          update wallet.wallets set revision = revision + 1,
            debt_minor = debt_minor - {posted} + {amount - posted} where client_id = '{client}';
        """ + forged_transaction(
            client, version + 1, 30, -posted, refund_id=NEWEST_REFUND
        )  # fmt: skip
        if (amount, which) == (30, "max"):
            await scenario.sql.execute(sql)
            assert await scenario.money(client) == (0, 0, 40)
        else:
            await refuse(scenario.sql, sql)

    async def test_a_reversal_is_no_correction_and_never_forgiven(
        self, scenario: Scenario, client: UUID
    ) -> None:
        assert client
        for change in (
            "wallet.refunds set correction_minor = 1 where payment_id is not null",
            "wallet.debts set forgiven_minor = 1",
        ):
            with pytest.raises(REFUSED):
                await scenario.sql.execute(f"update {change}")

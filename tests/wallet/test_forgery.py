"""Wrong changes in psql are refused, by the database's owner too, accidental or deliberate."""

from uuid import uuid4

import asyncpg
import pytest

from evpower.foundation.db import Connection, Database
from tests.wallet.forging import REFUSED, forged_transaction, refuse
from tests.wallet.scenario import Scenario


class TestWallets:
    async def test_a_bare_balance_update_fails(self, scenario: Scenario) -> None:
        client = await scenario.topped_up(5000)
        set_balance = "update wallet.wallets set balance_minor = 9000{} where client_id = $1"
        await refuse(scenario.sql, set_balance.format(""), client)
        await refuse(scenario.sql, set_balance.format(", revision = revision + 1"), client)
        await refuse(
            scenario.sql,
            set_balance.format(", revision = revision + 1, version = version + 1"),
            client,
        )
        assert await scenario.money(client) == (5000, 0, 0)

    async def test_a_wallet_cannot_point_back_to_an_older_version(self, scenario: Scenario) -> None:
        client = await scenario.topped_up(5000)
        await scenario.charged(client, 3000)
        await refuse(
            scenario.sql,
            "update wallet.wallets set balance_minor = 5000, version = 1, revision = revision + 1"
            " where client_id = $1",
            client,
        )
        await refuse(
            scenario.sql,
            "update wallet.wallets set balance_minor = 0, version = 0, revision = revision + 1"
            " where client_id = $1",
            client,
        )

    @pytest.mark.parametrize(
        "change",
        [
            "held_minor = 100",
            "debt_minor = 100",
            "spent_minor = 100",
            "last_topup_at = '2001-01-01'",
            "currency = 'USD'",
            "balance_minor = balance_minor - 1",
            "balance_minor = -1",
            "revision = revision - 5",
            "updated_at = now(), revision = revision",
        ],
    )
    async def test_a_forged_field_fails(self, scenario: Scenario, change: str) -> None:
        client = await scenario.topped_up(5000)
        raised = "" if "revision" in change else "revision = revision + 1, "
        await refuse(
            scenario.sql, f"update wallet.wallets set {raised}{change} where client_id = $1", client
        )

    @pytest.mark.parametrize(
        "change", ["currency = 'USD'", "spent_minor = 5", "last_topup_at = now()", "version = 1"]
    )
    async def test_a_forged_field_of_an_unused_wallet_fails(
        self, scenario: Scenario, change: str
    ) -> None:
        client = await scenario.client()
        await refuse(
            scenario.sql,
            f"update wallet.wallets set revision = revision + 1, {change} where client_id = $1",
            client,
        )

    async def test_a_wallet_stays(self, scenario: Scenario) -> None:
        client = await scenario.topped_up(5000)
        await refuse(scenario.sql, "delete from wallet.wallets where client_id = $1", client)
        await refuse(scenario.sql, "truncate wallet.wallets cascade")
        await refuse(scenario.sql, "truncate identity.clients cascade")


class TestTransactions:
    @pytest.mark.parametrize(
        "sql",
        [
            "update wallet.transactions set amount_minor = 1 where client_id = $1",
            "update wallet.transactions set event_at = now() where client_id = $1",
            "delete from wallet.transactions where client_id = $1",
        ],
    )
    async def test_a_row_is_never_changed_or_deleted(self, scenario: Scenario, sql: str) -> None:
        client = await scenario.topped_up(5000)
        await refuse(scenario.sql, sql, client)

    async def test_truncate_fails(self, scenario: Scenario) -> None:
        await scenario.topped_up(5000)
        await refuse(scenario.sql, "truncate wallet.transactions cascade")
        await refuse(scenario.sql, "truncate payments.payments cascade")
        await refuse(scenario.sql, "truncate charging.settlements cascade")

    async def test_a_row_without_its_wallet_fails(self, scenario: Scenario) -> None:
        client = await scenario.topped_up(5000)
        payment = await scenario.payment(client, 700)
        sql = forged_transaction(client, 2, 5000, 700, payment_id=payment)
        await refuse(scenario.sql, sql.split(";")[1])

    async def test_a_topup_without_a_confirmed_payment_fails(self, scenario: Scenario) -> None:
        client = await scenario.topped_up(5000)
        payment = await scenario.payment(client, 700, confirmed=False)
        await refuse(scenario.sql, forged_transaction(client, 2, 5000, 700, payment_id=payment))
        await refuse(scenario.sql, forged_transaction(client, 2, 5000, 700, payment_id=987654))

    async def test_a_topup_of_another_amount_or_client_fails(self, scenario: Scenario) -> None:
        client = await scenario.topped_up(5000)
        other = await scenario.payment(await scenario.client(), 700)
        payment = await scenario.payment(client, 700)
        await refuse(scenario.sql, forged_transaction(client, 2, 5000, 701, payment_id=payment))
        await refuse(scenario.sql, forged_transaction(client, 2, 5000, 700, payment_id=other))

    async def test_a_second_topup_of_one_payment_fails(self, scenario: Scenario) -> None:
        client = await scenario.client()
        payment = await scenario.payment(client, 700)
        await scenario.sql.execute("select wallet.credit($1)", payment)
        await refuse(scenario.sql, forged_transaction(client, 2, 700, 700, payment_id=payment))

    async def test_a_gap_or_a_wrong_start_fails(self, scenario: Scenario) -> None:
        client = await scenario.topped_up(5000)
        payment = await scenario.payment(client, 700)
        await refuse(scenario.sql, forged_transaction(client, 3, 5000, 700, payment_id=payment))
        await refuse(scenario.sql, forged_transaction(client, 2, 4000, 700, payment_id=payment))

    async def test_a_charge_beside_its_settlement_fails(self, scenario: Scenario) -> None:
        client = await scenario.topped_up(5000)
        settlement = await scenario.charged(client, 300)
        await refuse(
            scenario.sql, forged_transaction(client, 3, 4700, -300, settlement_id=settlement)
        )
        await refuse(scenario.sql, forged_transaction(client, 3, 4700, -300, settlement_id=987654))

    async def test_a_payment_in_another_currency_is_not_made(self, scenario: Scenario) -> None:
        client = await scenario.client()
        with pytest.raises(REFUSED):
            await scenario.sql.execute(
                """
                insert into payments.payments (invoice_id, order_id, client_id, provider, method,
                  amount_minor, currency, expires_at)
                values ('invoice-usd', 'order-usd', $1, 'sandbox', 'qr', 100, 'USD', now())
                """,
                client,
            )


class TestCauses:
    async def test_a_refund_above_its_charge_fails(self, scenario: Scenario) -> None:
        client = await scenario.topped_up(5000)
        settlement = await scenario.charged(client, 300)
        refund = await scenario.refund_order(client, 9000, settlement_id=settlement)
        await refuse(
            scenario.sql,
            f"update wallet.refunds set posted_minor = 9000, posted_at = now() where id = {refund};"
            + forged_transaction(client, 3, 4700, 9000, refund_id=refund),
        )

    async def test_a_refund_of_another_clients_charge_fails(self, scenario: Scenario) -> None:
        client, thief = await scenario.topped_up(5000), await scenario.topped_up(100)
        settlement = await scenario.charged(client, 300)
        with pytest.raises(REFUSED):
            await scenario.refund_order(thief, 300, settlement_id=settlement)

    async def test_a_refund_of_another_clients_payment_fails(self, scenario: Scenario) -> None:
        payment = await scenario.payment(await scenario.client(), 300)
        with pytest.raises(REFUSED):
            await scenario.refund_order(await scenario.client(), 300, payment_id=payment)

    async def test_what_was_refunded_is_not_forgotten(self, scenario: Scenario) -> None:
        client = await scenario.topped_up(5000)
        settlement = await scenario.charged(client, 300)
        refund = await scenario.refund_order(client, 300, settlement_id=settlement)
        await scenario.sql.execute("select wallet.refund($1)", refund)
        await refuse(
            scenario.sql,
            "update charging.settlements set refunded_minor = 0 where id = $1",
            settlement,
        )
        await refuse(scenario.sql, "delete from wallet.refunds where id = $1", refund)
        await refuse(scenario.sql, "update wallet.refunds set actor = 'me' where id = $1", refund)

    async def test_a_payment_is_not_refunded_without_a_refund(self, scenario: Scenario) -> None:
        client = await scenario.client()
        payment = await scenario.payment(client, 300)
        await scenario.sql.execute("select wallet.credit($1)", payment)
        await refuse(
            scenario.sql,
            "update payments.payments set status = 'refunded', refunded_minor = 300 where id = $1",
            payment,
        )

    async def test_a_posted_refund_without_a_transaction_fails(self, scenario: Scenario) -> None:
        client = await scenario.topped_up(5000)
        settlement = await scenario.charged(client, 300)
        refund = await scenario.refund_order(client, 300, settlement_id=settlement)
        await refuse(
            scenario.sql,
            f"""
            update wallet.refunds set posted_minor = 300, posted_at = now() where id = {refund};
            update charging.settlements set refunded_minor = 300 where id = {settlement};
            """,
        )


class TestHoldsAndDebts:
    async def test_a_hold_without_its_wallet_fails(self, scenario: Scenario) -> None:
        client = await scenario.topped_up(5000)
        session = await scenario.session(client)
        await refuse(
            scenario.sql,
            "insert into wallet.holds (session_id, client_id, amount_minor) values ($1, $2, 100)",
            session,
            client,
        )

    async def test_a_resolved_hold_is_not_opened_again(self, scenario: Scenario) -> None:
        client = await scenario.topped_up(5000)
        session = await scenario.session(client)
        await scenario.sql.execute("select wallet.hold($1, 100)", session)
        await scenario.sql.execute("select wallet.release_hold($1)", session)
        await refuse(
            scenario.sql,
            f"""
            update wallet.holds set state = 'open', resolved_at = null
              where session_id = '{session}';
            update wallet.wallets set held_minor = 100, revision = revision + 1
              where client_id = '{client}';
            """,
        )
        await refuse(scenario.sql, "delete from wallet.holds where client_id = $1", client)

    async def test_a_debt_is_not_forgiven_without_a_bill(self, scenario: Scenario) -> None:
        client = await scenario.topped_up(100)
        await scenario.charged(client, 300)
        forgive = f"""
          update wallet.wallets set debt_minor = 0, revision = revision + 1
            where client_id = '{client}';
          update wallet.debts set {{}} where client_id = '{client}';
        """
        await refuse(scenario.sql, forgive.format("collected_minor = amount_minor"))
        await refuse(scenario.sql, "delete from wallet.debts where client_id = $1", client)
        shrink = forgive.replace("debt_minor = 0", "debt_minor = 1")
        await refuse(scenario.sql, shrink.format("amount_minor = 1"))

    async def test_a_debt_no_one_made_fails(self, scenario: Scenario) -> None:
        client = await scenario.topped_up(1000)
        settlement = await scenario.charged(client, 1000)
        await refuse(
            scenario.sql,
            f"""
            insert into wallet.debts (client_id, settlement_id, amount_minor)
              values ('{client}', {settlement}, 500);
            update wallet.wallets set debt_minor = 500, revision = revision + 1
              where client_id = '{client}';
            """,
        )


class TestTheAppsRole:
    @pytest.mark.parametrize(
        "sql",
        [
            "update wallet.wallets set updated_at = now()",
            "insert into wallet.wallets (client_id) values (gen_random_uuid())",
            "insert into wallet.transactions (client_id) values (gen_random_uuid())",
            "delete from wallet.transactions",
            "truncate wallet.transactions cascade",
            "update wallet.holds set resolved_at = now()",
            "insert into wallet.holds (session_id) values (gen_random_uuid())",
            "update wallet.debts set collected_minor = 0",
            "update wallet.refunds set posted_minor = 1",
            "update charging.settlements set debited_minor = 1",
            "insert into charging.settlements (session_id) values (gen_random_uuid())",
            "update wallet.refunds set correction_minor = 1",
            "update wallet.debts set forgiven_minor = 1",
            (
                "insert into wallet.refunds (client_id, settlement_id, amount_minor, actor, reason,"
                " correction_minor) values (gen_random_uuid(), 1, 1, 'me', 'none', 1)"
            ),
            (
                "insert into wallet.refunds (client_id, settlement_id, amount_minor, actor, reason,"
                " posted_minor, posted_at) values (gen_random_uuid(), 1, 1, 'me', 'none', 1, now())"
            ),
            "select wallet.collect_debts(gen_random_uuid())",
            "alter table wallet.wallets disable trigger all",
        ],
    )
    async def test_it_cannot_write_money(self, db: Database, sql: str) -> None:
        async with db.connection() as connection:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(sql)

    async def test_it_moves_money_by_functions(self, db: Database, scenario: Scenario) -> None:
        client = await scenario.client()
        payment = await scenario.payment(client, 300)
        async with db.connection() as connection:
            await connection.execute("select wallet.credit($1)", payment)
        assert await scenario.money(client) == (300, 0, 0)

    async def test_a_wallet_of_no_one_fails(self, owner: Connection) -> None:
        await refuse(owner, "insert into wallet.wallets (client_id) values ($1)", uuid4())

"""`ledger verify` finds every kind of damage, made with triggers and foreign keys off."""

from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import pytest

from evpower import wallet
from evpower.foundation.db import Database
from tests.wallet.scenario import Scenario


@pytest.fixture
async def client(scenario: Scenario) -> UUID:
    """Create a client with each kind of transaction, a hold and a debt, among other clients."""
    for _ in range(3):
        await scenario.topped_up(70)
    client = await scenario.client()
    payment = await scenario.payment(client, 1000)
    await scenario.sql.execute("select wallet.credit($1)", payment)
    settlement = await scenario.charged(client, 300)
    given = await scenario.refund_order(client, 100, settlement_id=settlement)
    returned = await scenario.refund_order(client, 200, payment_id=payment)
    for refund in (given, returned):
        await scenario.sql.execute("select wallet.refund($1)", refund)
    session = await scenario.session(client, state="charging")
    await scenario.sql.execute("select wallet.hold($1, 550)", session)
    await scenario.charged(client, 80)  # 50 paid, 30 owed
    await scenario.sql.execute("select wallet.credit($1)", await scenario.payment(client, 10))
    return client


@pytest.fixture
async def unguarded(scenario: Scenario) -> AsyncIterator[Scenario]:
    """Yields the scenario with triggers and foreign keys off."""
    await scenario.sql.execute("set session_replication_role = replica")
    yield scenario
    await scenario.sql.execute("reset session_replication_role")


async def broken_rules(db: Database, client: UUID | None) -> set[str]:
    """Return the rules that verify finds broken for this client."""
    report = await wallet.verify(db, clients_per_batch=2, causes_per_batch=2)
    assert report.ok == (not report.discrepancies)
    return {item.rule for item in report.discrepancies if item.client_id == client}


async def test_a_sound_ledger_has_no_discrepancies(
    db: Database, scenario: Scenario, client: UUID
) -> None:
    steps: list[tuple[int, int]] = []
    report = await wallet.verify(db, lambda done, total: steps.append((done, total)))
    assert report.discrepancies == []
    assert report.ok
    assert (report.wallets, report.transactions) == (4, 10)
    assert (report.balance_minor, report.held_minor, report.debt_minor) == (760, 550, 20)
    assert (report.credited_minor, report.debited_minor, report.refunded_minor) == (
        1220, 360, -100,
    )  # fmt: skip
    assert steps == sorted(steps)
    assert steps[-1][0] == steps[-1][1]
    assert await scenario.money(client) == (550, 550, 20)


async def test_an_empty_database_is_sound(db: Database) -> None:
    assert (await wallet.verify(db)).ok


@pytest.mark.parametrize(
    ("damage", "rules"),
    [
        ("update wallet.wallets set balance_minor = balance_minor + 1 where client_id = $1",
         {"balance_is_last_balance_after", "balance_is_sum_of_amounts", "balance_is_sum_of_causes",
          "debt_beside_free_money"}),
        ("update wallet.wallets set version = version + 1 where client_id = $1",
         {"version", "version_is_last", "balance_is_last_balance_after"}),
        ("update wallet.wallets set held_minor = 1 where client_id = $1",
         {"held", "debt_beside_free_money"}),
        ("update wallet.wallets set debt_minor = 1 where client_id = $1", {"debt"}),
        ("update wallet.wallets set spent_minor = 1 where client_id = $1", {"spent"}),
        ("update wallet.wallets set last_topup_at = now() where client_id = $1", {"last_topup_at"}),
        ("update wallet.holds set amount_minor = 1 where client_id = $1 and state = 'open'",
         {"held"}),
        (("update charging.sessions set source = 'evpower', state = 'cancelled'"
         " where client_id = $1 and state = 'charging'"), {"session_over_with_a_hold"}),
        ("update wallet.debts set amount_minor = 1000 where client_id = $1",
         {"debt", "debt_amount", "settlement_shortfall"}),
        ("update wallet.debts set collected_minor = 30 where client_id = $1",
         {"debt", "debt_collected"}),
        ("delete from wallet.debts where client_id = $1",
         {"debt", "settlement_shortfall", "debt_of_its_session"}),
        ("delete from wallet.transactions where client_id = $1 and version = 3",
         {"version", "version_gaps", "chain_breaks", "balance_is_sum_of_amounts",
          "balance_is_sum_of_causes", "spent", "refund_not_posted_once"}),
        ("delete from wallet.transactions where client_id = $1 and version = 1",
         {"version", "version_gaps", "chain_breaks", "balance_is_sum_of_amounts",
          "balance_is_sum_of_causes", "payment_not_credited_once"}),
        ("delete from wallet.transactions where client_id = $1 and version = 2",
         {"version", "version_gaps", "chain_breaks", "balance_is_sum_of_amounts", "spent",
          "balance_is_sum_of_causes", "settlement_not_charged_once"}),
        (("update wallet.transactions set amount_minor = 999, balance_after_minor = 999"
         " where client_id = $1 and version = 1"),
         {"chain_breaks", "transactions_unlike_their_cause", "balance_is_sum_of_amounts"}),
        ("update wallet.transactions set event_at = now() where client_id = $1 and version = 1",
         {"last_topup_at"}),
        (("update wallet.refunds set amount_minor = 99, posted_minor = 99"
         " where client_id = $1 and settlement_id is not null"),
         {"transactions_unlike_their_cause", "balance_is_sum_of_causes", "spent",
          "settlement_refunds"}),
        ("update wallet.refunds set amount_minor = 201 where client_id = $1 and payment_id > 0",
         {"refund_shortfall", "payment_refunds"}),
        ("update charging.settlements set refunded_minor = 0 where client_id = $1",
         {"settlement_refunds"}),
        (("update charging.settlements set due_minor = 299, debited_minor = 299"
         " where client_id = $1 and due_minor = 300"),
         {"transactions_unlike_their_cause", "balance_is_sum_of_causes", "spent", "bill_due",
          "session_dues"}),
        ("delete from charging.settlements where client_id = $1 and due_minor = 300",
         {"transactions_unlike_their_cause", "balance_is_sum_of_causes", "spent",
          "session_settled_by_bills"}),
        (("update charging.settlements set bill_number = 2, actor = 'a', reason = 'r'"
         " where client_id = $1 and due_minor = 300"), {"bill_due", "session_bill_numbers"}),
        (("update charging.sessions set state = 'finished', updated_at = now() - interval '1 hour'"
         " where client_id = $1 and cost_minor = 300"),
         {"session_settled_by_bills", "session_not_charged"}),
        ("update charging.sessions set cost_minor = 301 where client_id = $1 and cost_minor = 300",
         {"session_cost", "session_dues"}),
        (("update charging.sessions set energy_wh = energy_wh + 1"
         " where client_id = $1 and cost_minor = 300"), {"session_facts"}),
        (("update charging.sessions set ended_at = ended_at + interval '1 second'"
         " where client_id = $1 and cost_minor = 300"), {"session_facts"}),
        (("update charging.sessions set billed_elsewhere = true"
         " where client_id = $1 and cost_minor = 300"), {"session_billed_elsewhere"}),
        (("update charging.sessions set state = 'settled'"
         " where client_id = $1 and state = 'charging'"), {"session_settled_by_bills"}),
        (("update wallet.refunds set correction_minor = 1"
         " where client_id = $1 and settlement_id is not null"), {"session_dues"}),
        ("update wallet.debts set forgiven_minor = 1 where client_id = $1",
         {"debt", "session_dues"}),
        (("update charging.settlements set bill_number = null, total_minor = null,"
         " energy_wh = null, ended_at = null, collects_debt_id = (select max(id) from wallet.debts)"
         " where client_id = $1 and due_minor = 300"),
         {"session_settled_by_bills", "debt_of_its_session", "debt_collected"}),
        (("update charging.settlements set bill_number = 2, total_minor = 90, energy_wh = 0,"
         " ended_at = '2026-03-08 12:00Z', collects_debt_id = null, actor = 'a', reason = 'r'"
         " where client_id = $1 and due_minor = 10"),
         {"session_cost", "session_dues", "debt_collected"}),
        (("update wallet.refunds set collects_debt_id = (select max(id) from wallet.debts)"
         " where client_id = $1 and payment_id is not null"),
         {"debt_of_its_payment", "debt_collected", "payment_refunds"}),
        ("update wallet.debts set settlement_id = (select min(id) from charging.settlements)",
         {"debt_amount", "settlement_shortfall", "debt_of_its_session"}),
        (("update payments.payments set refunded_minor = 0, status = 'approved'"
         " where client_id = $1"), {"payment_refunds"}),
        ("delete from payments.payments where client_id = $1 and amount_minor = 10",
         {"transactions_unlike_their_cause", "balance_is_sum_of_causes"}),
        ("delete from wallet.wallets where client_id = $1", {"wallet_missing"}),
    ],
)  # fmt: skip
async def test_damage_is_found(
    db: Database, client: UUID, unguarded: Scenario, damage: str, rules: set[str]
) -> None:
    await unguarded.sql.execute(damage, *((client,) if "$1" in damage else ()))
    assert await broken_rules(db, client) == rules


async def test_one_payment_credited_twice_is_found(
    db: Database, client: UUID, unguarded: Scenario
) -> None:
    await unguarded.sql.execute("drop index wallet.transactions_payment_key")
    await unguarded.sql.execute(
        """
        insert into wallet.transactions (client_id, version, kind, amount_minor,
          balance_before_minor, balance_after_minor, payment_id, event_at)
        select client_id, 8, kind, amount_minor, 550, 560, payment_id, event_at
          from wallet.transactions where client_id = $1 and amount_minor = 10
        """,
        client,
    )
    await unguarded.sql.execute(
        "update wallet.wallets set version = 8, balance_minor = 560 where client_id = $1", client
    )
    assert "payment_not_credited_once" in await broken_rules(db, client)


async def test_a_ledger_of_no_one_is_found(db: Database, client: UUID, unguarded: Scenario) -> None:
    stranger = uuid4()
    await unguarded.sql.execute(
        """
        insert into wallet.transactions (client_id, version, kind, amount_minor,
          balance_before_minor, balance_after_minor, payment_id, event_at)
        values ($1, 1, 'topup', 5, 0, 5, 987654, now())
        """,
        stranger,
    )
    assert await broken_rules(db, stranger) == {"wallet_missing"}
    assert await broken_rules(db, client) == set()


async def test_a_client_without_a_wallet_is_found(db: Database, unguarded: Scenario) -> None:
    client = await unguarded.client()
    assert await broken_rules(db, client) == {"wallet_missing"}


async def test_money_from_nowhere_is_in_the_total(
    db: Database, client: UUID, unguarded: Scenario
) -> None:
    await unguarded.sql.execute(
        "update wallet.wallets set balance_minor = balance_minor + 5 where client_id = $1", client
    )
    report = await wallet.verify(db)
    assert [
        (item.subject, item.expected, item.actual)
        for item in report.discrepancies
        if item.client_id is None
    ] == [("all wallets", 760, 765)]


async def test_a_fresh_confirmation_may_wait_an_old_one_may_not(
    db: Database, scenario: Scenario
) -> None:
    client = await scenario.client()
    fresh = await scenario.payment(client, 10, confirmed=False)
    await scenario.confirm(fresh)
    assert await broken_rules(db, client) == set()
    await scenario.payment(client, 10)  # confirmed long ago
    report = await wallet.verify(db)
    assert [
        (item.client_id, item.rule, item.expected, item.actual) for item in report.discrepancies
    ] == [(client, "payment_not_credited_once", 1, 0)]


async def test_a_finished_session_is_charged_soon_unless_it_is_billed_elsewhere(
    db: Database, client: UUID, unguarded: Scenario
) -> None:
    session = await unguarded.finished(client, 300)
    assert await broken_rules(db, client) == set()
    later = "update charging.sessions set updated_at = now() - interval '1 hour'{} where id = $1"
    await unguarded.sql.execute(later.format(""), session)
    assert await broken_rules(db, client) == {"session_not_charged"}
    await unguarded.sql.execute(later.format(", billed_elsewhere = true"), session)
    assert await broken_rules(db, client) == set()


async def test_all_discrepancies_are_counted_and_the_first_thousand_listed(
    db: Database, unguarded: Scenario
) -> None:
    await unguarded.sql.execute(
        """
        insert into identity.clients (id, origin)
        select gen_random_uuid(), 'import' from generate_series(1, 1500)
        """
    )
    report = await wallet.verify(db)
    assert (report.count, len(report.discrepancies), report.ok) == (1500, 1000, False)


async def test_a_session_charged_three_times_is_found(
    db: Database, client: UUID, unguarded: Scenario
) -> None:
    """Each charge is complete: a settlement, a transaction, the wallet."""
    payment = await unguarded.payment(client, 1000)
    await unguarded.sql.execute("select wallet.credit($1)", payment)
    for number in (2, 3):
        await unguarded.sql.execute(
            """
            with bill as (
              insert into charging.settlements (session_id, client_id, bill_number, total_minor,
                energy_wh, ended_at, due_minor, debited_minor, actor, reason)
              select id, client_id, $2, cost_minor, energy_wh, ended_at, cost_minor, cost_minor,
                     'me', 'again'
                from charging.sessions where client_id = $1 and cost_minor = 300 returning id
            ), moved as (
              update wallet.wallets set version = version + 1, revision = revision + 1,
                balance_minor = balance_minor - 300, spent_minor = spent_minor + 300
               where client_id = $1 returning version, balance_minor
            ) insert into wallet.transactions (client_id, version, kind, amount_minor,
                balance_before_minor, balance_after_minor, settlement_id, event_at)
              select $1, m.version, 'charge', -300, m.balance_minor + 300, m.balance_minor, bill.id,
                     now() from bill, moved m
            """,
            client,
            number,
        )
    assert await broken_rules(db, client) == {"bill_due", "session_dues"}

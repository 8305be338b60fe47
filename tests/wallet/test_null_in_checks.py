"""A CHECK that is neither true nor false passes, so NULL is tried in each column it reads.

The CHECKs alone must refuse a NULL (triggers and foreign keys are off here), unless the table below
allows it in that state. A new nullable column in a CHECK of several columns must be added to the
table. A CHECK of one column says nothing of others: where its column is nullable, NULL is meant.
"""

from typing import Final
from uuid import uuid4

import asyncpg
import pytest

from evpower.foundation.bus import LocalBus
from evpower.foundation.db import Connection, Database
from evpower.payments import cash
from evpower.payments.confirm import Confirmer
from tests.payments.conftest import payment
from tests.payments.test_confirm import event
from tests.wallet.charging_rows import fill_charging
from tests.wallet.other_rows import fill_others
from tests.wallet.scenario import NOON, Scenario

NULLABLE: Final = """
select distinct k.conrelid::regclass::text as table_name, a.attname::text as column_name
  from pg_constraint k
  join pg_attribute a on a.attrelid = k.conrelid and a.attnum = any (k.conkey) and not a.attnotnull
 where k.contype = 'c' and a.attgenerated = '' and cardinality(k.conkey) > 1
   and k.connamespace::regnamespace::text not in ('pg_catalog', 'information_schema')
   and not (select c.relispartition from pg_class c where c.oid = k.conrelid) -- it has its parent's
"""
# The state of a row, as the table below names it.
STATE: Final = {
    "payments.bank_refunds": "state",
    "payments.payments": "case provider when 'manual' then 'cash' else status end",
    "payments.events": (
        "case when credited_by is not null then 'accepted'"
        " when resolved_at is not null then 'dismissed' else outcome end"
    ),
    "payments.differences": "'decided'",
    "payments.reconciliations": "source",
    "charging.sessions": "case when started_by is null then '' else 'app, ' end || state",
    "charging.transactions": "purpose",
    "charging.progress": "'progress'",
    "charging.stop_steps": "case when cleared_at is null then 'open' else 'cleared' end",
    "charging.free_periods": "'free'",
    "charging.meter_values": "case when session_wh is null then 'of none' else 'counts' end",
    "charging.settlements": (
        "case when bill_number is null then 'collection'"
        " when bill_number = 1 then 'first bill' else 'later bill' end"
    ),
    "wallet.refunds": (
        "case when payment_id is null then 'to the wallet' else 'to the bank' end"
        " || case when posted_minor is null then '' else ', posted' end"
    ),
    "wallet.debts": "case when refund_id is null then 'of a bill' else 'of a return' end",
    "wallet.holds": "state",
    "wallet.transactions": "kind::text",
    "alerts.alerts": "'closed'",
    "alerts.messages": "case when sent_at is null then 'given up' else 'sent' end",
    "push.devices": "kind",
    "push.messages": "case when sent_at is null then 'given up' else 'sent' end",
    "stations.setups": "case when failure is null then 'done' else 'failed' end",
    "client_migration.run_rows": "plan",
    "client_migration.runs": "state",
    "foundation.idempotency_keys": "'answered'",
    "identity.clients": "case when email_verified then 'verified' else 'claimed' end",
    "identity.phone_reviews": "'given'",
    "identity.refresh_tokens": "'revoked'",
    "identity.sign_in_codes": "'ended'",
    "ocpp.forwarded_charges": (
        "case when cost_minor is not null then 'priced'"
        " when energy_wh is not null then 'metered' else 'ended' end"
    ),
    "stations.commands": "state",
    "stations.connections": "'closed'",
    "stations.connectors": "'reported'",
    "stations.locations": "'placed'",
    "tariffs.client_tariffs": (
        "case when discount_ppm is null then 'plan' when plan_id is null then 'discount'"
        " else 'both' end"
    ),
    "sync.cursors": "'moved'",
    "sync.run_leases": "'leased'",
    "sync.runs": "kind",
}
# (table, column): the states in which NULL is allowed in place of a value.
ALLOWED: Final[dict[tuple[str, str], set[str]]] = {
    # The provider's report about a payment that is not credited; a later report may lack it.
    ("payments.payments", "attempt_of"): {"approved"},  # most are no further attempt
    ("payments.bank_refunds", "ended_at"): set(),
    ("payments.payments", "paid_minor"): {"processing", "canceled"},
    ("payments.payments", "confirmed_at"): set(),
    ("payments.payments", "credited_ref"): set(),
    # Null until the provider responds; guard_payment keeps it from changing afterwards.
    ("payments.payments", "provider_ref"): {
        "processing",
        "canceled",
        "approved",
        "partial_refund",
        "refunded",
    },
    ("payments.events", "review"): {"confirmed"},  # flagged or not
    ("payments.events", "resolved_at"): {"dismissed"},  # guarded by guard_event
    ("payments.events", "credited_by"): {"accepted"},  # guarded by guard_event
    ("payments.differences", "decision"): set(),
    ("payments.differences", "decided_by"): set(),
    ("payments.differences", "decided_at"): set(),
    ("payments.differences", "reason"): set(),
    ("payments.reconciliations", "source_name"): set(),
    ("charging.sessions", "started_at"): {"requested", "charging"},  # not begun yet
    ("charging.sessions", "ended_at"): {"requested", "charging"},  # not ended yet
    ("charging.sessions", "started_by"): set(),
    ("charging.sessions", "id_tag"): set(),
    ("charging.sessions", "start_window_ends_at"): set(),
    ("charging.sessions", "start_failure"): set(),
    ("charging.sessions", "stop_requested_at"): set(),
    ("charging.sessions", "stop_requested_by"): set(),
    ("charging.sessions", "end_reason"): set(),
    ("charging.sessions", "quarantined_at"): set(),
    ("charging.sessions", "quarantine_reason"): set(),
    # Few sessions are free; wallet.check_bills keeps the cost.
    ("charging.sessions", "free_reason"): {
        "app, requested",
        "app, charging",
        "app, finished",
        "app, failed",
    },
    ("charging.transactions", "session_id"): set(),
    ("charging.transactions", "ended_at"): set(),
    ("charging.transactions", "end_kind"): set(),
    ("charging.transactions", "technician_tag"): set(),
    ("charging.transactions", "limit_energy_wh"): set(),
    ("charging.stop_steps", "command_id"): {"open"},  # a step that sends nothing
    ("charging.stop_steps", "cleared_at"): {"cleared"},  # guarded by guard_stop_step
    ("charging.stop_steps", "outcome"): set(),
    ("charging.stop_steps", "ended_at"): set(),
    ("charging.free_periods", "ended_at"): set(),
    ("charging.free_periods", "ended_by"): set(),
    ("charging.progress", "close_due_at"): set(),
    ("charging.progress", "close_reason"): set(),
    ("charging.progress", "stop_step"): set(),
    ("charging.progress", "step_due_at"): {"progress"},  # nothing more is looked at
    ("charging.progress", "register"): set(),
    ("charging.progress", "tally"): set(),
    ("charging.meter_values", "transaction_id"): {"counts"},  # the station is named, too
    ("charging.meter_values", "station_id"): {"counts"},  # the transaction's
    ("charging.meter_values", "session_wh"): set(),
    ("charging.meter_values", "priced_at"): {"counts"},  # as `at`
    ("charging.meter_values", "at"): {"counts", "of none"},  # unusable; it was priced by another
    ("charging.meter_values", "is_parked"): set(),
    ("charging.meter_values", "is_timed"): set(),
    ("charging.settlements", "bill_number"): set(),
    ("charging.settlements", "total_minor"): set(),
    ("charging.settlements", "energy_wh"): set(),
    ("charging.settlements", "ended_at"): set(),
    ("charging.settlements", "collects_debt_id"): set(),
    ("charging.settlements", "actor"): set(),
    ("charging.settlements", "reason"): set(),
    ("wallet.refunds", "settlement_id"): set(),
    ("wallet.refunds", "payment_id"): set(),
    ("wallet.refunds", "posted_minor"): set(),
    ("wallet.refunds", "posted_at"): set(),
    ("wallet.refunds", "collects_debt_id"): {"to the bank, posted"},  # guarded by guard_refund
    ("wallet.debts", "settlement_id"): set(),
    ("wallet.debts", "refund_id"): set(),
    ("wallet.holds", "resolved_at"): set(),
    ("wallet.transactions", "payment_id"): set(),
    ("wallet.transactions", "settlement_id"): set(),
    ("wallet.transactions", "refund_id"): set(),
    ("alerts.alerts", "closed_at"): {"closed"},  # it is open then
    ("alerts.alerts", "acknowledged_at"): set(),
    ("alerts.alerts", "acknowledged_by"): set(),
    ("alerts.alerts", "note"): {"closed"},
    ("alerts.messages", "sent_at"): {"sent"},  # it waits then
    ("alerts.messages", "given_up_at"): {"given up"},
    ("push.devices", "p256dh"): set(),
    ("push.devices", "auth"): set(),
    ("push.devices", "vapid_key"): set(),
    ("push.messages", "begun_at"): {"given up"},  # it was too old before its request began
    ("push.messages", "sent_at"): {"sent"},  # it waits then
    ("push.messages", "given_up_at"): {"given up"},
    ("stations.setups", "ended_at"): {"done"},  # it still runs then
    ("stations.setups", "failure"): {"failed"},
    ("client_migration.run_rows", "client_id"): {"conflict", "invalid"},
    ("client_migration.runs", "confirmed_at"): set(),
    ("client_migration.runs", "reverted_at"): set(),
    ("foundation.idempotency_keys", "status"): set(),
    ("foundation.idempotency_keys", "body"): set(),
    ("identity.clients", "email"): {"claimed"},
    ("identity.clients", "phone"): {"claimed"},
    ("identity.phone_reviews", "decided_at"): set(),
    ("identity.phone_reviews", "decided_by"): set(),
    ("identity.phone_reviews", "owner_id"): {"given"},  # a new account's
    ("identity.refresh_tokens", "revoked_at"): set(),
    ("identity.refresh_tokens", "revoked_by"): set(),
    ("identity.sign_in_codes", "ended_at"): set(),
    ("identity.sign_in_codes", "ended_by"): set(),
    ("ocpp.forwarded_charges", "ended_at"): {"ended"},  # it still runs then
    ("ocpp.forwarded_charges", "energy_wh"): {"metered"},  # a register is missing
    ("ocpp.forwarded_charges", "cost_minor"): {"priced"},  # no tariff applied
    ("ocpp.forwarded_charges", "currency"): set(),
    ("ocpp.forwarded_charges", "plan"): set(),
    ("ocpp.forwarded_charges", "version"): set(),
    ("stations.commands", "sent_at"): set(),
    ("stations.commands", "epoch"): set(),
    ("stations.commands", "ended_at"): set(),
    ("stations.commands", "response"): {"accepted", "refused"},
    ("stations.connections", "closed_at"): set(),
    ("stations.connections", "close_reason"): set(),
    ("stations.connectors", "reported_status"): set(),
    ("stations.connectors", "reported_at"): set(),
    ("stations.locations", "latitude"): set(),
    ("stations.locations", "longitude"): set(),
    ("tariffs.client_tariffs", "plan_id"): {"both"},  # it is a discount alone then
    ("tariffs.client_tariffs", "discount_ppm"): set(),
    ("tariffs.client_tariffs", "valid_until"): {"plan", "discount", "both"},  # without an end
    ("sync.cursors", "xid"): set(),
    ("sync.cursors", "seq"): set(),
    ("sync.run_leases", "leased_by"): set(),
    ("sync.run_leases", "leased_until"): set(),
    ("sync.runs", "since"): set(),
}


@pytest.fixture
async def rows_in_each_state(db: Database, owner: Connection, scenario: Scenario) -> None:
    """Insert rows of each table in each state, through the functions that write them."""
    client = await scenario.client()
    confirmer = Confirmer(db, LocalBus())

    async def open_payment() -> str:
        return await payment(owner, client, provider_ref=uuid4().hex)

    for back in (0, 100, 10_000):
        order = await open_payment()
        await confirmer.confirm(event(order))
        if back:
            status = "refunded" if back == 10_000 else "partial_refund"
            await confirmer.confirm(event(order, status=status, refunded_minor=back))
    await owner.execute(
        "update payments.payments set idempotency_key = 'key' where order_id = $1",
        await open_payment(),
    )
    twice = await open_payment()
    for state in ("returned", "refused"):
        await confirmer.confirm(event(twice, provider_ref=uuid4().hex))
        await owner.execute(
            "insert into payments.bank_refunds (payment_id, key, amount_minor, actor, reason,"
            " state, refunded_before_minor, requested_at, ended_at)"
            " select id, $1, 1, 'Aida', 'by phone', $1, 0, now(), now()"
            " from payments.payments where order_id = $2",
            state,
            twice,
        )
    mistaken = await open_payment()
    await confirmer.confirm(event(mistaken, paid_minor=1))
    await confirmer.confirm(event(mistaken, status="processing", paid_minor=1))
    await confirmer.confirm(event(mistaken, status="canceled", paid_minor=0))
    accepted, dismissed = await open_payment(), await open_payment()
    for decided in (accepted, dismissed):
        await confirmer.confirm(event(decided, paid_minor=1))
    async with db.transaction() as connection:
        posted = await cash(
            connection,
            client_id=client,
            amount_minor=100,
            operator="Aida",
            reason="cash",
            receipt="R-1",
            now=NOON,
        )
    for decided, credited_by in ((accepted, posted.payment_id), (dismissed, None)):
        await owner.execute(
            "update payments.events set resolved_at = now(), credited_by = $1 where order_id = $2",
            credited_by,
            decided,
        )
    paid = await scenario.payment(client, 10_000)
    await owner.execute("select wallet.credit($1)", paid)
    charged = await scenario.charged(client, 1_000)
    for cause in ({"settlement_id": charged}, {"payment_id": paid}):
        await scenario.refund_order(client, 5, **cause)
        await owner.execute(
            "select wallet.refund($1)", await scenario.refund_order(client, 10, **cause)
        )
    for state in ("requested", "charging"):
        session = await scenario.session(client, state=state)
        await owner.execute("select wallet.hold($1, 5)", session)
    await owner.execute("select wallet.release_hold($1)", session)
    await fill_charging(owner, client)
    await fill_others(owner)
    await scenario.finished(client, 7)
    corrected = await scenario.settled(client, 1_000)
    await scenario.correct(corrected, 900)
    await scenario.charged(client, 1_000_000)
    await owner.execute("select wallet.credit($1)", await scenario.payment(client, 20))
    poor = await scenario.topped_up(100)
    owed = await scenario.payment(poor, 500)
    await owner.execute("select wallet.credit($1)", owed)
    await scenario.charged(poor, 550)
    refund = await scenario.refund_order(poor, 500, payment_id=owed)
    await owner.execute("select wallet.refund($1)", refund)
    await owner.execute("select wallet.credit($1)", await scenario.payment(poor, 20))


async def columns(owner: Connection) -> set[tuple[str, str]]:
    return {(row["table_name"], row["column_name"]) for row in await owner.fetch(NULLABLE)}


async def test_every_nullable_column_of_a_check_is_in_the_table(owner: Connection) -> None:
    assert await columns(owner) == set(ALLOWED)


@pytest.mark.usefixtures("rows_in_each_state")
async def test_null_is_refused_wherever_it_is_not_allowed(owner: Connection) -> None:
    allowed: dict[tuple[str, str], set[str]] = {}
    tried: dict[tuple[str, str], set[str]] = {}
    await owner.execute("set session_replication_role = replica")  # CHECKs alone
    for table, column in sorted(await columns(owner)):
        passes, all_states = set[str](), set[str]()
        rows = await owner.fetch(
            f"select ctid::text as at, {STATE[table]} as state from {table}"
            f" where {column} is not null"
        )
        for row in rows:
            all_states.add(row["state"])
            change = owner.transaction()
            await change.start()
            try:
                await owner.execute(
                    f"update {table} set {column} = null where ctid = '{row['at']}'::tid"
                )
                passes.add(row["state"])
            except (asyncpg.CheckViolationError, asyncpg.NotNullViolationError):
                pass
            finally:
                await change.rollback()
        allowed[table, column], tried[table, column] = passes, all_states
    assert allowed == {key: ALLOWED[key] & tried[key] for key in allowed}
    assert {key for key, states in tried.items() if not states} == set(), "no row to try it in"
    unused = {key: ALLOWED[key] - tried[key] for key in allowed if ALLOWED[key] - tried[key]}
    assert unused == {}, "states of which the scenario has no row"

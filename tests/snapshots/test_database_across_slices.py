"""What crosses schemas in the database itself, beside a written reason for each.

Money is guarded across schemas by foreign keys, triggers and functions, so wallet, payments and
charging point at each other. Everything else goes down the layers, as imports do.
"""

import re
from typing import Final

import pytest

from evpower.foundation.db import Database
from tests.snapshots.layers import is_above
from tests.snapshots.test_sql_across_slices import SCHEMAS

A_CLIENT: Final = "a row belongs to a client"
MONEY: Final = "money core: a wallet rests on its payments, settlements and sessions"
WALLET_OF_A_CLIENT: Final = "money core: a client has its wallet from its first moment"
OUTBOX: Final = "sync: a change stands in the outbox from its own transaction on"
CLAIMS: Final = "sync: who verifies a contact sends those who only claim it to wait"
MIGRATION: Final = "a user that a migration created may go while no money has moved"
A_STATION: Final = "what a station reports belongs to it"
EVIDENCE: Final = "frames of a session that waits for an operator outlive their day"
A_START: Final = "a start locks, writes and holds in one round trip: a driver waits for it"
PARTITIONS: Final = "partitions are made and dropped by one function, for tables that grow by day"
# The reasons for which what stands below may name what stands above it.
UPWARD: Final = {MONEY, WALLET_OF_A_CLIENT, OUTBOX, CLAIMS}

FOREIGN_KEYS: Final = {
    "charging.sessions -> identity.clients": A_CLIENT,
    "charging.settlements -> wallet.debts": MONEY,
    "charging.clocks -> stations.stations": A_STATION,
    "charging.free_periods -> stations.stations": A_STATION,
    "charging.meters -> stations.stations": A_STATION,
    "charging.stops -> stations.stations": A_STATION,
    "charging.transaction_aliases -> stations.stations": A_STATION,
    "charging.transactions -> stations.stations": A_STATION,
    "charging.unhandled_starts -> stations.stations": A_STATION,
    "identity.clients -> wallet.wallets": WALLET_OF_A_CLIENT,
    "payments.payments -> identity.clients": A_CLIENT,
    "payments.payments -> wallet.wallets": MONEY,
    "push.devices -> identity.clients": A_CLIENT,
    "push.sessions -> identity.clients": A_CLIENT,
    "sync.acknowledged -> identity.clients": A_CLIENT,
    "sync.blocked_before -> identity.clients": A_CLIENT,
    "sync.contact_conflicts -> identity.clients": A_CLIENT,
    "sync.status_before -> identity.clients": A_CLIENT,
    "tariffs.client_tariffs -> identity.clients": A_CLIENT,
    "wallet.debts -> charging.settlements": MONEY,
    "wallet.holds -> charging.sessions": MONEY,
    "wallet.refunds -> charging.settlements": MONEY,
    "wallet.refunds -> payments.payments": MONEY,
    "wallet.transactions -> charging.settlements": MONEY,
    "wallet.transactions -> payments.payments": MONEY,
    "wallet.wallets -> identity.clients": A_CLIENT,
}
TRIGGERS: Final = {
    "charging.progress -> sync.enqueue_progress": OUTBOX,
    "charging.sessions -> sync.enqueue_rows": OUTBOX,
    "charging.sessions -> wallet.check_open_hold": MONEY,
    "charging.sessions -> wallet.check_session": MONEY,
    "charging.settlements -> wallet.check_settlement": MONEY,
    "identity.clients -> sync.end_claims": CLAIMS,
    "identity.clients -> sync.enqueue_rows": OUTBOX,
    "identity.clients -> wallet.open_wallet": WALLET_OF_A_CLIENT,
    "payments.payments -> sync.enqueue_changed_payments": OUTBOX,
    "payments.payments -> sync.enqueue_payments": OUTBOX,
    "payments.payments -> wallet.check_payments": MONEY,
    "stations.connectors -> sync.enqueue_connectors": OUTBOX,
    "stations.connectors -> sync.enqueue_named": OUTBOX,
    "stations.locations -> sync.enqueue_named": OUTBOX,
    "stations.stations -> sync.enqueue_locations": OUTBOX,
    "stations.stations -> sync.enqueue_named": OUTBOX,
    "tariffs.assignments -> sync.enqueue_tariffs": OUTBOX,
    "tariffs.client_tariffs -> sync.enqueue_named": OUTBOX,
    "tariffs.versions -> sync.enqueue_tariffs": OUTBOX,
    "wallet.transactions -> sync.enqueue_transactions": OUTBOX,
    "wallet.wallets -> sync.enqueue_owners": OUTBOX,
}
BODIES: Final = {
    "charging.begin_start -> stations.claim_command": A_START,
    "charging.begin_start -> stations.queue_command": A_START,
    "charging.begin_start -> wallet.hold": A_START,
    "charging.begin_start -> wallet.holds_public": A_START,
    "charging.guard_settlement -> wallet.debts": MONEY,
    "charging.keep_meter_values -> foundation.keep_partitions": PARTITIONS,
    "charging.start_barriers -> identity.clients_public": A_CLIENT,
    "ocpp.keep_frames -> foundation.keep_partitions": PARTITIONS,
    "ocpp.keep_frames -> charging.sessions": EVIDENCE,
    "client_migration.is_untouched -> charging.sessions": MIGRATION,
    "client_migration.is_untouched -> payments.payments": MIGRATION,
    "client_migration.is_untouched -> wallet.wallets": MIGRATION,
    "payments.apply_events -> wallet.credit_many": MONEY,
    "payments.apply_events -> wallet.refund": MONEY,
    "payments.apply_events -> wallet.refunds": MONEY,
    "payments.confirm_many -> wallet.wallets": MONEY,
    "sync.end_claims -> identity.clients": CLAIMS,
    "sync.enqueue_tariffs -> stations.stations": OUTBOX,
    "sync.enqueue_tariffs -> tariffs.plans": OUTBOX,
    "wallet.bill -> charging.settlements": MONEY,
    "wallet.charge -> charging.sessions": MONEY,
    "wallet.charge -> charging.settlements": MONEY,
    "wallet.charge_many -> charging.sessions": MONEY,
    "wallet.check_bills -> charging.sessions": MONEY,
    "wallet.check_bills -> charging.settlements": MONEY,
    "wallet.check_debt -> charging.settlements": MONEY,
    "wallet.check_debts -> charging.settlements": MONEY,
    "wallet.check_open_hold -> charging.sessions": MONEY,
    "wallet.check_payment -> payments.payments": MONEY,
    "wallet.check_refund -> charging.settlements": MONEY,
    "wallet.check_settlement -> charging.settlements": MONEY,
    "wallet.collect_debts -> charging.settlements": MONEY,
    "wallet.correct -> charging.sessions": MONEY,
    "wallet.correct -> charging.settlements": MONEY,
    "wallet.credit_many -> payments.payments": MONEY,
    "wallet.extend_hold -> identity.clients": A_CLIENT,
    "wallet.guard_refund -> charging.settlements": MONEY,
    "wallet.guard_refund -> payments.payments": MONEY,
    "wallet.hold -> charging.sessions": MONEY,
    "wallet.hold -> identity.clients": A_CLIENT,
    "wallet.lower_bills -> charging.settlements": MONEY,
    "wallet.refund -> charging.settlements": MONEY,
    "wallet.refund -> payments.payments": MONEY,
    "wallet.refund_many -> payments.payments": MONEY,
}

_FOREIGN_KEYS: Final = """
select distinct format('%s.%s -> %s.%s', n.nspname, c.relname, fn.nspname, f.relname) as crossing
  from pg_constraint k
  join pg_class c on c.oid = k.conrelid join pg_namespace n on n.oid = c.relnamespace
  join pg_class f on f.oid = k.confrelid join pg_namespace fn on fn.oid = f.relnamespace
 where k.contype = 'f' and n.nspname <> fn.nspname
"""
_TRIGGERS: Final = """
select distinct format('%s.%s -> %s.%s', n.nspname, c.relname, fn.nspname, f.proname) as crossing
  from pg_trigger g
  join pg_class c on c.oid = g.tgrelid join pg_namespace n on n.oid = c.relnamespace
  join pg_proc f on f.oid = g.tgfoid join pg_namespace fn on fn.oid = f.pronamespace
 where not g.tgisinternal and n.nspname <> fn.nspname
"""
_FUNCTIONS: Final = """
select n.nspname as own, format('%s.%s', n.nspname, p.proname) as name, p.prosrc as body
  from pg_proc p join pg_namespace n on n.oid = p.pronamespace where n.nspname = any ($1)
"""


@pytest.mark.parametrize(("sql", "written"), [(_FOREIGN_KEYS, FOREIGN_KEYS), (_TRIGGERS, TRIGGERS)])
async def test_keys_and_triggers_that_cross_schemas_are_written_down(
    sql: str, written: dict[str, str], db: Database
) -> None:
    async with db.connection() as connection:
        rows = await connection.fetch(sql)
    assert {row["crossing"] for row in rows} == set(written)


async def test_functions_that_cross_schemas_are_written_down(db: Database) -> None:
    async with db.connection() as connection:
        rows = await connection.fetch(_FUNCTIONS, list(SCHEMAS))
    bodies = {
        f"{row['name']} -> {name}"
        for row in rows
        for schema, name in names_in(row["body"])
        if schema != row["own"]
    }
    assert bodies == set(BODIES)


def names_in(body: str) -> set[tuple[str, str]]:
    """Returns the objects a function's body names, each with its schema."""
    code = re.sub(r"--.*", "", body)
    matches = re.finditer(rf"(?<![\w.])({'|'.join(SCHEMAS)})\.(\w+)", code)
    return {(match[1], match[0]) for match in matches}


def test_nothing_else_points_upward() -> None:
    for crossing, reason in (FOREIGN_KEYS | TRIGGERS | BODIES).items():
        here, there = (end.partition(".")[0] for end in crossing.split(" -> "))
        assert is_above(here, there) or reason in UPWARD, crossing

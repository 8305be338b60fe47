"""Verifies on a live database, in bounded memory, that balances, transactions and causes agree.

Each batch is one read-only snapshot: it blocks no writer and sees no half-finished transaction.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from evpower.foundation.db import Connection, Database
from evpower.foundation.rows import read_row
from evpower.wallet import store_verify

_FIRST: Final = UUID(int=0)
_LAST: Final = UUID(int=2**128 - 1)
_MAX_LISTED: Final = 1_000  # discrepancies listed; all are counted

VerifyProgress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Discrepancy:
    """A stored value that differs from the expected one; amounts in minor units."""

    client_id: UUID | None
    subject: str  # "wallet", "payment 17", "all wallets"
    rule: str  # stable snake_case
    expected: object
    actual: object


@dataclass(slots=True)
class LedgerReport:
    """How much was verified, the sums, and the discrepancies."""

    wallets: int = 0
    transactions: int = 0
    causes: int = 0  # payments, settlements, refunds and debts: the sum of their highest ids
    sessions: int = 0
    balance_minor: int = 0
    held_minor: int = 0
    debt_minor: int = 0
    credited_minor: int = 0
    debited_minor: int = 0
    refunded_minor: int = 0  # signed: to wallets +, to banks -
    count: int = 0  # of discrepancies
    discrepancies: list[Discrepancy] = field(default_factory=list[Discrepancy])  # the first 1,000

    @property
    def ok(self) -> bool:
        """Whether there is no discrepancy."""
        return self.count == 0

    def add(self, discrepancy: Discrepancy) -> None:
        """Counts a discrepancy; lists it unless there are 1,000 already."""
        self.count += 1
        if len(self.discrepancies) < _MAX_LISTED:
            self.discrepancies.append(discrepancy)


async def verify(
    db: Database,
    on_progress: VerifyProgress = lambda _done, _total: None,
    *,
    grace_s: float = 60.0,
    clients_per_batch: int = 1_000,
    causes_per_batch: int = 20_000,
) -> LedgerReport:
    """Recomputes every wallet from its transactions and every transaction from its cause.

    A confirmed payment may be uncredited, and a finished session uncharged, for `grace_s` seconds.
    `on_progress` is called with (done, total) rows. Raises Unavailable when the database does not
    respond.
    """
    report = LedgerReport()
    async with db.connection() as connection:
        clients = await store_verify.count_wallets(connection)
        highest_ids = await store_verify.highest_ids(connection)
        sessions = await store_verify.count_sessions(connection)
        total = clients + sum(highest_ids.values()) + sessions
        after, done = _FIRST, 0
        while after != _LAST:
            after = await _verify_wallets(connection, report, after, clients_per_batch)
            done = min(report.wallets, clients)
            on_progress(done, total)
        for table, highest_id in highest_ids.items():
            for start in range(0, highest_id, causes_per_batch):
                end = min(start + causes_per_batch, highest_id)
                await _verify_causes(
                    connection, report, store_verify.CAUSES[table], start, end, grace_s
                )
                done += end - start
                on_progress(done, total)
        after = _FIRST
        while after != _LAST:
            after = await _verify_sessions(connection, report, after, causes_per_batch, grace_s)
            on_progress(done + min(report.sessions, sessions), total)
    report.causes = sum(highest_ids.values())
    _verify_total(report)
    return report


async def _verify_wallets(
    connection: Connection, report: LedgerReport, after: UUID, clients: int
) -> UUID:
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        end: UUID = await connection.fetchval(store_verify.RANGE_END, after, clients) or _LAST
        rows = await connection.fetch(store_verify.WALLETS, after, end)
    for row in map(dict[str, Any], rows):
        for discrepancy in wallet_discrepancies(row):
            report.add(discrepancy)
        if row["has_wallet"]:
            report.wallets += 1
            report.balance_minor += row["balance_minor"]
            report.held_minor += row["held_minor"]
            report.debt_minor += row["debt_minor"]
        report.transactions += row["transactions"]
        report.credited_minor += row["credited_minor"]
        report.debited_minor += row["debited_minor"]
        report.refunded_minor += row["refunded_minor"]
    return end


async def _verify_causes(
    connection: Connection, report: LedgerReport, sql: str, start: int, end: int, grace_s: float
) -> None:
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        grace = (grace_s,) if "$3" in sql else ()
        rows = await connection.fetch(sql, start, end, *grace)
    for row in rows:
        report.add(read_row(Discrepancy, row))


async def _verify_sessions(
    connection: Connection, report: LedgerReport, after: UUID, sessions: int, grace_s: float
) -> UUID:
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        end: UUID = await connection.fetchval(store_verify.SESSIONS_END, after, sessions) or _LAST
        rows = await connection.fetch(store_verify.SESSIONS, after, end, grace_s)
        report.sessions += await connection.fetchval(store_verify.SESSIONS_COUNT, after, end)
    for row in rows:
        report.add(read_row(Discrepancy, row))
    return end


def _verify_total(report: LedgerReport) -> None:
    expected = report.credited_minor - report.debited_minor + report.refunded_minor
    if report.balance_minor != expected:
        report.add(Discrepancy(None, "all wallets", "total", expected, report.balance_minor))


def wallet_discrepancies(row: Mapping[str, Any]) -> list[Discrepancy]:
    """Returns the discrepancies of one wallet, a row of store_verify.WALLETS."""
    client: UUID = row["client_id"]
    if not row["has_wallet"]:
        return [Discrepancy(client, "wallet", "wallet_missing", 1, 0)]
    from_causes = row["credited_minor"] - row["debited_minor"] + row["refunded_minor"]
    owes_with_money = row["debt_minor"] > 0 and row["balance_minor"] > row["held_minor"]
    checks: tuple[tuple[str, object, object], ...] = (
        ("version", row["transactions"], row["version"]),
        ("version_is_last", row["ledger_version"], row["version"]),
        ("version_gaps", 0, row["gaps"]),
        ("chain_breaks", 0, row["breaks"]),
        ("transactions_unlike_their_cause", 0, row["cause_mismatches"]),
        ("balance_is_last_balance_after", row["last_after_minor"], row["balance_minor"]),
        ("balance_is_sum_of_amounts", row["sum_minor"], row["balance_minor"]),
        ("balance_is_sum_of_causes", from_causes, row["balance_minor"]),
        ("held", row["open_holds_minor"], row["held_minor"]),
        ("debt", row["open_debts_minor"], row["debt_minor"]),
        ("debt_beside_free_money", 0, int(owes_with_money)),
        ("spent", row["debited_minor"] - row["given_back_minor"], row["spent_minor"]),
        ("last_topup_at", row["ledger_last_topup_at"], row["last_topup_at"]),
    )
    return [
        Discrepancy(client, "wallet", rule, expected, actual)
        for rule, expected, actual in checks
        if expected != actual
    ]

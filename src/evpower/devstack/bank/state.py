"""The state of the sandbox bank: invoices, and undelivered webhooks. One SQLite file."""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Final

_SCHEMA: Final = """
create table if not exists invoices (
  ref text primary key, order_id text not null unique, amount integer not null,
  currency text not null, description text not null, status text not null,
  paid integer not null default 0, refunded integer not null default 0,
  created_s real not null, payable_until_s real not null, changed_s real not null
);
create table if not exists deliveries (
  id integer primary key, ref text not null, event_id text not null, body blob not null,
  due_s real not null, attempts integer not null default 0, lose integer not null default 0,
  state text not null default 'open'
);
create index if not exists deliveries_due on deliveries (due_s) where state = 'open';
"""


@dataclass(frozen=True, slots=True)
class BankInvoice:
    """An invoice of the bank: amounts in tyiyn, times in unix seconds."""

    ref: str
    order_id: str
    amount: int
    currency: str
    description: str
    status: str
    paid: int
    refunded: int
    created_s: float
    payable_until_s: float
    changed_s: float

    @property
    def merchant_order(self) -> str:
        """The merchant's order id; further attempts at it are stored as "<order>#2"."""
        return self.order_id.partition("#")[0]

    @property
    def transaction_ref(self) -> str:
        """The id of what was paid, which differs from the invoice's; before that the invoice's."""
        is_first_paid = self.paid and "-" not in self.ref
        return f"{self.ref}-1" if is_first_paid else self.ref

    def status_at(self, now_s: float) -> str:
        """Returns the status; an unpaid invoice is canceled once it can't be paid any more."""
        ended = self.status == "processing" and now_s >= self.payable_until_s
        return "canceled" if ended else self.status


@dataclass(frozen=True, slots=True)
class Delivery:
    """A webhook to send; the first `lose` attempts are lost on the way."""

    id: int
    event_id: str
    body: bytes
    due_s: float
    attempts: int
    lose: int


_INVOICE: Final = ", ".join(field.name for field in fields(BankInvoice))


class BankState:
    """The file; every change is in it before the bank responds."""

    def __init__(self, folder: Path | None) -> None:
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        path = ":memory:" if folder is None else str(folder / "bank.sqlite3")
        self._file = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._file.row_factory = sqlite3.Row
        self._file.executescript(
            "pragma journal_mode = wal; pragma synchronous = normal;" + _SCHEMA
        )

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def add(self, invoice: BankInvoice) -> None:
        """Stores a new invoice."""
        self._file.execute(
            f"insert into invoices ({_INVOICE}) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                invoice.ref,
                invoice.order_id,
                invoice.amount,
                invoice.currency,
                invoice.description,
                invoice.status,
                invoice.paid,
                invoice.refunded,
                invoice.created_s,
                invoice.payable_until_s,
                invoice.changed_s,
            ),
        )

    def by_ref(self, ref: str) -> BankInvoice | None:
        """Returns an invoice by the bank's id."""
        return self._invoice_by("ref", ref)

    def by_transaction(self, ref: str) -> BankInvoice | None:
        """Returns the paid invoice or attempt of a transaction."""
        return self._invoice_by("ref", ref.removesuffix("-1"))

    def by_order(self, order_id: str) -> BankInvoice | None:
        """Returns an invoice by the merchant's order."""
        return self._invoice_by("order_id", order_id)

    def _invoice_by(self, column: str, value: str) -> BankInvoice | None:
        row = self._file.execute(
            f"select {_INVOICE} from invoices where {column} = ?", (value,)
        ).fetchone()
        return BankInvoice(**dict(row)) if row else None

    def attempts(self, order_id: str) -> list[BankInvoice]:
        """Returns an order's invoice and each further payment of it."""
        rows = self._file.execute(
            f"""
            select {_INVOICE} from invoices
            where order_id = ?1 or order_id > ?1 || '#' and order_id < ?1 || '$' order by rowid
            """,
            (order_id,),
        ).fetchall()
        return [BankInvoice(**dict(row)) for row in rows]

    def paid_between(self, since_s: float, until_s: float) -> list[BankInvoice]:
        """Returns the paid invoices and attempts whose last change was in a period."""
        rows = self._file.execute(
            f"""
            select {_INVOICE} from invoices where paid > 0 and changed_s >= ? and changed_s < ?
            order by changed_s, ref
            """,
            (since_s, until_s),
        ).fetchall()
        return [BankInvoice(**dict(row)) for row in rows]

    def add_attempt(self, invoice: BankInvoice) -> BankInvoice:
        """Stores one more payment of the invoice's order, with a reference of its own."""
        order = invoice.merchant_order
        number = len(self.attempts(order)) + 1
        attempt = replace(
            invoice, ref=f"{invoice.ref}-{number}", order_id=f"{order}#{number}", refunded=0
        )
        self.add(attempt)
        return attempt

    def change(self, invoice: BankInvoice, deliveries: Sequence[Delivery]) -> None:
        """Stores an invoice's new state together with its webhooks."""
        self._file.execute("begin")
        try:
            self._file.execute(
                """
                update invoices set status = ?, paid = ?, refunded = ?, changed_s = ?
                where ref = ?
                """,
                (invoice.status, invoice.paid, invoice.refunded, invoice.changed_s, invoice.ref),
            )
            self._file.executemany(
                "insert into deliveries (ref, event_id, body, due_s, lose) values (?, ?, ?, ?, ?)",
                [(invoice.ref, d.event_id, d.body, d.due_s, d.lose) for d in deliveries],
            )
            self._file.execute("commit")
        except BaseException:
            self._file.execute("rollback")
            raise

    def due(self, now_s: float, *, busy: set[int], limit: int) -> list[Delivery]:
        """Returns webhooks to send now, except those being sent."""
        rows = self._file.execute(
            """
            select id, event_id, body, due_s, attempts, lose from deliveries
            where state = 'open' and due_s <= ? order by due_s limit ?
            """,
            (now_s, limit + len(busy)),
        ).fetchall()
        return [Delivery(**dict(row)) for row in rows if row["id"] not in busy][:limit]

    def next_due_s(self, *, busy: set[int]) -> float | None:
        """Returns when the next webhook is due."""
        rows = self._file.execute(
            "select id, due_s from deliveries where state = 'open' order by due_s limit ?",
            (len(busy) + 1,),
        ).fetchall()
        return next((row["due_s"] for row in rows if row["id"] not in busy), None)

    def delivered(self, number: int) -> None:
        """Records that the merchant accepted it."""
        self._file.execute(
            "update deliveries set state = 'done', attempts = attempts + 1 where id = ?",
            (number,),
        )

    def failed(self, number: int, *, next_s: float | None, lost: bool) -> None:
        """Records that the merchant refused it; the next attempt is at `next_s`, None: never."""
        self._file.execute(
            """
            update deliveries set attempts = attempts + 1, lose = lose - ?,
              due_s = coalesce(?, due_s),
              state = case when ? is null then 'given_up' else state end where id = ?
            """,
            (int(lost), next_s, next_s, number),
        )

    def deliveries(self, ref: str) -> list[dict[str, object]]:
        """Returns an invoice's webhooks, for display."""
        rows = self._file.execute(
            "select event_id, state, attempts from deliveries where ref = ? order by id", (ref,)
        ).fetchall()
        return [dict(row) for row in rows]

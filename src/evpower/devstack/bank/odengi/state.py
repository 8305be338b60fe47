"""The state of the simulated bank: bills and attempts to pay them. One SQLite file."""

import json
import secrets
import sqlite3
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from evpower.foundation.json_reader import read_object

PROCESSING: Final = 1
CANCELED: Final = 2
APPROVED: Final = 3
PARTLY_RETURNED: Final = 6
_DIGITS: Final = "0123456789"
_SCHEMA: Final = """
create table if not exists bills (
  id text primary key, order_id text not null, fields text not null
);
create index if not exists bills_by_order on bills (order_id);
create table if not exists attempts (
  id text primary key, bill text not null, number integer not null, fields text not null
);
create index if not exists attempts_by_bill on attempts (bill, number);
"""


@dataclass(slots=True)
class SimulatedBill:
    """A bill of the merchant: tyiyn, Unix seconds of the bank's clock."""

    id: str
    order_id: str
    amount: int
    description: str
    test: int
    result_url: str
    ends_s: float | None
    created_s: float
    canceled: bool = False

    def is_over(self, now_s: float) -> bool:
        """Whether it can't be paid any more."""
        return self.canceled or (self.ends_s is not None and now_s >= self.ends_s)


@dataclass(slots=True)
class SimulatedAttempt:
    """An attempt to pay a bill. `amount_old`: before a commission; None: there was none."""

    id: str
    bill: str
    state: int
    amount: int
    amount_old: int | None
    test: int
    at_s: float
    returned: int = 0

    @property
    def paid(self) -> int:
        """What the bill gets of it."""
        return self.amount if self.amount_old is None else self.amount_old


class OdengiState:
    """Bills and attempts; without a folder they are lost at the end."""

    def __init__(self, folder: Path | None = None) -> None:
        path = ":memory:"
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            path = str(folder / "odengi.sqlite3")
        self._file = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._file.row_factory = sqlite3.Row
        self._file.executescript(
            "pragma journal_mode = wal; pragma synchronous = normal;" + _SCHEMA
        )

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def save_bill(self, bill: SimulatedBill) -> None:
        """Stores a new bill, or a bill's new state."""
        self._file.execute(
            "insert or replace into bills (id, order_id, fields) values (?, ?, ?)",
            (bill.id, bill.order_id, json.dumps(asdict(bill))),
        )

    def save_attempt(self, attempt: SimulatedAttempt) -> None:
        """Stores a new attempt, or an attempt's new state."""
        self._file.execute(
            """
            insert into attempts (id, bill, number, fields)
            values (?, ?, (select count(*) from attempts), ?)
            on conflict (id) do update set fields = excluded.fields
            """,
            (attempt.id, attempt.bill, json.dumps(asdict(attempt))),
        )

    def bill(self, invoice_id: str) -> SimulatedBill | None:
        """Returns a bill by the bank's id."""
        rows = self._file.execute("select fields from bills where id = ?", (invoice_id,))
        matches = [SimulatedBill(**read_object(row["fields"])) for row in rows]
        return matches[0] if matches else None

    def bills(self, order_id: str) -> list[SimulatedBill]:
        """Returns the bills of the merchant's order."""
        rows = self._file.execute(
            "select fields from bills where order_id = ? order by rowid", (order_id,)
        )
        return [SimulatedBill(**read_object(row["fields"])) for row in rows]

    def attempt(self, trans_id: str) -> SimulatedAttempt | None:
        """Returns an attempt by its id."""
        rows = self._file.execute("select fields from attempts where id = ?", (trans_id,))
        matches = [SimulatedAttempt(**read_object(row["fields"])) for row in rows]
        return matches[0] if matches else None

    def attempts(self, invoice_id: str | None = None) -> list[SimulatedAttempt]:
        """Returns the attempts to pay a bill, or all, in their order."""
        rows = self._file.execute(
            "select fields from attempts where ? is null or bill = ? order by number",
            (invoice_id, invoice_id),
        )
        return [SimulatedAttempt(**read_object(row["fields"])) for row in rows]


def new_invoice_id() -> str:
    """Returns 12 random digits; the first may be 0."""
    return "".join(secrets.choice(_DIGITS) for _ in range(12))


def new_trans_id() -> str:
    """Returns 10 random digits; the first may be 0."""
    return "".join(secrets.choice(_DIGITS) for _ in range(10))

"""What the tables of an older backend show of top-ups, and of what changed a balance.

Phones read them, so the words stay the older backend's: `balance_topup`, `charge_payment` and
`charge_refund` in the ledger. A hold changes no balance and has no row there. An opening balance is
shown in neither: the older backend's own rows lead to it.
"""

from datetime import datetime
from typing import Any, Final
from uuid import UUID

from evpower import payments
from evpower.foundation.clock import to_z
from evpower.foundation.db import Connection, Record
from evpower.sync.outbound import store_payment_rows
from evpower.sync.outbound.old_row import OldRow, Write
from evpower.sync.outbound.store_rows import RowIds

_LONGEST_URL: Final = 500  # characters: the older backend's columns
_MERCHANT: Final = "evpower"
_TEXTS: Final = {
    "balance_topup": "Пополнение баланса",
    "charge_payment": "Оплата зарядки",
    "charge_refund": "Возврат за зарядку",
}
_RETURNED: Final = "Возврат пополнения"


async def read_payment_rows(connection: Connection, ids: RowIds, now: datetime) -> list[OldRow]:
    """Returns the rows of these keys, bills before the ledger's rows that name them."""
    bills = {id_: key for key, (topic, id_) in ids.items() if topic == "payment"}
    entries = {id_: key for key, (topic, id_) in ids.items() if topic == "transaction"}
    rows: list[OldRow] = []
    if bills:
        for row in await store_payment_rows.top_ups(connection, sorted(bills)):
            writes = [] if row["is_opening"] else [_top_up(row, now)]
            rows.append(_row("payment", bills.pop(row["invoice_id"]), row, writes))
    if entries:
        for row in await store_payment_rows.transactions(connection, sorted(entries)):
            key = entries.pop(f"{row['client_id']}:{row['version']}")
            writes = [] if row["is_opening"] else [_ledger(row, key)]
            rows.append(_row("transaction", key, row, writes))
    # A key of nothing has nothing to write: so the outbox is not stopped by it.
    return rows + [
        OldRow(topic, key, id_, [])
        for topic, rest in (("payment", bills), ("transaction", entries))
        for id_, key in rest.items()
    ]


def _row(topic: str, key: UUID, row: Record, writes: list[Write]) -> OldRow:
    id_ = row["invoice_id"] if topic == "payment" else f"{row['client_id']}:{row['version']}"
    about = f"payment {row['invoice_id']}" if row["invoice_id"] is not None else ""
    if topic == "transaction" and row["session_id"] is not None:
        about = f"session {row['session_id']}"
    return OldRow(topic, key, id_, writes, of_closed_client=row["is_closed"], about=about)


def _top_up(row: Record, now: datetime) -> Write:
    is_open = row["status"] == "processing"
    status = "canceled" if is_open and now >= row["expires_at"] else row["status"]
    always: dict[str, Any] = {
        "client_id": str(row["client_id"]),
        "status": status,
        "odengi_status": payments.STATUSES.index(status),
        "paid_amount": row["paid_som"],
        "paid_at": _time(row["confirmed_at"]),
        "completed_at": _time(row["closed_at"]),
        "qr_expires_at": to_z(row["expires_at"]),
        "invoice_expires_at": to_z(row["expires_at"]),
        "qr_code_url": _short(row["qr_code_url"]),
        "app_link": _short(row["app_link"]),
    }
    return {
        "table": "balance_topups",
        "match": _bill(row),
        **_owner(row),
        "always": always,
        # While it is open its status changes with time alone.
        "volatile": ("status", "odengi_status") if is_open else (),
        "at_first": {
            "order_id": row["order_id"],
            "merchant_id": _MERCHANT,
            "requested_amount": row["amount_som"],
            "currency": row["currency"],
            "description": row["description"],
            "created_at": to_z(row["created_at"]),
            "payment_provider": row["provider"].upper(),
            "webhook_count": 0,
            "status_check_count": 0,
            "needs_status_check": False,
        },
    }


def _ledger(row: Record, key: UUID) -> Write:
    kind, text = _kind(row)
    write: Write = {
        "table": "payment_transactions_odengi",
        "named": ["transaction", str(key)],
        "match": {},
        **_owner(row),
        "always": {
            "client_id": str(row["client_id"]),
            "transaction_type": kind,
            "amount": row["amount_som"],
            "balance_before": row["balance_before_som"],
            "balance_after": row["balance_after_som"],
            "currency": row["currency"],
            "charging_session_id": None if row["session_id"] is None else str(row["session_id"]),
        },
        "at_first": {"description": text, "created_at": to_z(row["created_at"])},
    }
    if row["kind"] == "topup":  # one row of the ledger for a bill: apps show the first
        write["refers"] = {
            "balance_topup_id": {"table": "balance_topups", "match": _bill(row), **_owner(row)}
        }
    return write


def _kind(row: Record) -> tuple[str, str]:
    """Returns the older backend's type and text; what a bank took back is a negative top-up."""
    kind = {"topup": "balance_topup", "charge": "charge_payment", "refund": "charge_refund"}[
        row["kind"]
    ]
    if row["kind"] == "refund" and row["invoice_id"] is not None:
        return "balance_topup", _RETURNED
    return kind, _TEXTS[kind]


def _owner(row: Record) -> Write:
    """Returns the column that the project may have emptied, and whether it is to stay empty."""
    return {"owner": "client_id", "unlinkable": row["is_unlinkable"]}


def _bill(row: Record) -> dict[str, str]:
    return {"invoice_id": row["invoice_id"], "client_id": str(row["client_id"])}


def _time(at: datetime | None) -> str | None:
    return None if at is None else to_z(at)


def _short(url: str | None) -> str | None:
    return url if url is not None and len(url) <= _LONGEST_URL else None

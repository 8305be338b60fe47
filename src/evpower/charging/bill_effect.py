"""What a better figure does to a bill and a wallet: tried and taken back, or done."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from evpower import stations, wallet
from evpower.charging.events import Changes
from evpower.charging.operate import OperatorBill, correct_session, get_session
from evpower.charging.store_operator import BillRow, SessionRow
from evpower.foundation.db import Connection
from evpower.foundation.errors import NotFound


@dataclass(frozen=True, slots=True)
class BillEffect:
    """A session before and after a better figure, and what that moves. Money in tyiyn."""

    before: SessionRow
    after: SessionRow
    bill: BillRow  # the newest
    is_new_bill: bool  # False: the figures are those that were billed
    charged_minor: int  # taken from the balance
    refunded_minor: int  # given back to it
    debt_added_minor: int  # what the balance could not pay
    debt_forgiven_minor: int


async def bill_by_operator(
    connection: Connection, bill: OperatorBill, *, now: datetime
) -> tuple[BillEffect, Changes]:
    """Corrects a session, or decides its quarantine; returns what it moved.

    Raises what `correct_session` raises.
    """
    before, bills = await _locked(connection, bill.session_id)
    purse = await _purse(connection, before.client_id)
    changes = await correct_session(connection, bill, now=now)
    after, bills_after = await get_session(connection, bill.session_id)
    balance, debt = await _purse(connection, before.client_id)
    moved, owed = balance - purse[0], debt - purse[1]
    effect = BillEffect(
        before=before,
        after=after,
        bill=bills_after[-1],
        is_new_bill=len(bills_after) > len(bills),
        charged_minor=max(-moved, 0),
        refunded_minor=max(moved, 0),
        debt_added_minor=max(owed, 0),
        debt_forgiven_minor=max(-owed, 0),
    )
    return effect, changes


async def preview_bill(connection: Connection, bill: OperatorBill, *, now: datetime) -> BillEffect:
    """Returns what `bill_by_operator` would do, by doing it in a savepoint that is rolled back.

    Raises what it raises.
    """
    savepoint = connection.transaction()
    await savepoint.start()
    try:
        effect, _ = await bill_by_operator(connection, bill, now=now)
    finally:
        await savepoint.rollback()
    return effect


async def _locked(connection: Connection, session_id: UUID) -> tuple[SessionRow, list[BillRow]]:
    """Returns the session once no other transaction can change it: its station is locked."""
    session, _ = await get_session(connection, session_id)
    await stations.lock_station(connection, session.station_id)
    return await get_session(connection, session_id)


async def _purse(connection: Connection, client_id: UUID) -> tuple[int, int]:
    stored = await wallet.get_wallet(connection, client_id)
    if stored is None:
        raise NotFound("client_not_found", "the session's client has no wallet")
    return stored.balance_minor, stored.debt_minor

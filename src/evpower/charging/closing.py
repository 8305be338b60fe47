"""Ends a transaction whose station did not stop it, by its last trusted register."""

from datetime import datetime
from decimal import Decimal

from evpower.charging.events import Changes
from evpower.charging.rules import DEFAULT_RULES, Rules
from evpower.foundation.db import Connection


async def close_estimated(
    connection: Connection,
    transaction_id: int,
    end_reason: str,
    *,
    now: datetime,
    next_start_wh: Decimal | None = None,
    rules: Rules = DEFAULT_RULES,
) -> Changes:
    """Ends an open transaction and bills its session, estimated; an ended one stays as it is."""
    del connection, end_reason, now, next_start_wh, rules
    raise NotImplementedError(f"transaction {transaction_id} is open")

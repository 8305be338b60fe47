"""The rows of an older backend's tables that outbox entries stand for."""

from collections.abc import Sequence
from datetime import datetime

from evpower.foundation.db import Connection
from evpower.sync.model import PAYMENT_TOPICS, ROW_TOPICS, Claim
from evpower.sync.outbound import store_rows
from evpower.sync.outbound.old_row import OldRow
from evpower.sync.outbound.old_rows import read_rows
from evpower.sync.outbound.payment_rows import read_payment_rows
from evpower.sync.outbound.store_rows import RowIds

Payloads = list[dict[str, object]]


async def read_all(connection: Connection, ids: RowIds, now: datetime) -> list[OldRow]:
    """Returns the rows of these keys, what is named by others first."""
    of_payments = {key: entry for key, entry in ids.items() if entry[0] in PAYMENT_TOPICS}
    others = {key: entry for key, entry in ids.items() if key not in of_payments}
    return [
        *await read_rows(connection, others, now),
        *await read_payment_rows(connection, of_payments, now),
    ]


async def read_claimed(
    connection: Connection, claims: Sequence[Claim], now: datetime
) -> tuple[Payloads, Payloads]:
    """Returns the claimed rows as evpower_apply takes them: `rows`, and `payments`.

    Stations of claimed sessions that wait themselves are among them: they go before the sessions.
    Payments go after the clients and sessions that they name.
    """
    named = {claim.key: claim for claim in claims if claim.topic in ROW_TOPICS}
    ids = await store_rows.ids_of(connection, list(named)) if named else {}
    sessions = [claim for claim in claims if claim.topic == "session"]
    if sessions:
        ids |= await store_rows.stations_of(connection, [claim.key for claim in sessions])
    newest = max((claim.number for claim in claims), default=0)
    before: Payloads = []
    after: Payloads = []
    for row in await read_all(connection, ids, now):
        payload = row.payload(
            named[row.key].number if row.key in named else newest,
            force=row.key in named and named[row.key].force,
        )
        (after if row.topic in PAYMENT_TOPICS else before).append(payload)
    return before, after

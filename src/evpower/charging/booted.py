"""A station restarted: its transactions go on, or end if it reports no more of them."""

from datetime import datetime

from evpower import stations
from evpower.charging import clocks, store_transactions
from evpower.charging.events import Changes
from evpower.charging.rules import DEFAULT_RULES, Rules
from evpower.foundation.db import Connection


async def station_booted(
    connection: Connection,
    station_id: str,
    triggered: bool,  # noqa: FBT001 - the signature every caller has
    *,
    now: datetime,
    rules: Rules = DEFAULT_RULES,
) -> Changes:
    """Ends the station's transactions after 5 min without meter values of them.

    A station may resume a transaction after a power cut, so nothing ends at once. A boot that we
    triggered is no restart.
    """
    station = await stations.lock_station(connection, station_id)
    changes = Changes(stations={station.id})
    if triggered:
        return changes
    await clocks.forget_clock(connection, station.id)
    for transaction in await store_transactions.open_of_station(connection, station.id):
        await store_transactions.set_close_due(
            connection, transaction.id, now + rules.close_after_boot, "station_booted"
        )
        if transaction.session_id is not None:
            changes.sessions.add(transaction.session_id)
    return changes

"""Where a transaction's register began, if its start did not say so."""

from evpower.charging import store_transactions as store
from evpower.charging.events import Reading
from evpower.charging.register import MeterPoint, at_begin
from evpower.charging.running import RunningTransaction
from evpower.foundation.db import Connection


async def with_start(
    connection: Connection, running: RunningTransaction, readings: tuple[Reading, ...]
) -> RunningTransaction:
    """Sets a start that the station did not send from the value at the transaction's begin."""
    begun = at_begin(readings)
    register = running.progress.register
    if register.begun is not None or begun is None or begun.energy_wh is None:
        return running
    transaction = running.transaction
    start = MeterPoint(begun.energy_wh, transaction.started_at, None, begun.resolution_wh)
    await store.set_meter_start(connection, transaction.id, begun.energy_wh)
    register = register.replace(begun=start, last=start)
    return running.replace(progress=running.progress.replace(register=register))

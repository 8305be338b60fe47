"""What is sent to a station for each step that ends a charge."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from evpower import stations
from evpower.charging import store_steps, store_transactions
from evpower.charging.model import StationTransaction, StopStep
from evpower.charging.rules import Rules
from evpower.foundation.db import Connection
from evpower.foundation.errors import Conflict
from evpower.stations import Command, CommandAction

# So late a limit, an unlocking or a restart could hit the next driver.
EXPIRES_IN: Final = timedelta(minutes=5)


async def queue_step(
    connection: Connection,
    transaction: StationTransaction,
    step: StopStep,
    *,
    actor: str,
    rules: Rules,
    now: datetime,
) -> Command | None:
    """Queues what a step sends; None: it is not allowed here, or the station is retired.

    A stop is sent under the id seen last and the others, and stays queued while the station is
    away. A limit and an unlocking concern the connector, so no one else may charge there; a restart
    concerns everyone at the station.
    """
    action: CommandAction
    payload: Mapping[str, object]
    ids = await _ids(connection, transaction)
    match step:
        case "remote_stop" | "remote_stop_again":
            action, payload = "remote_stop", {"transaction_id": ids[0], "aliases": ids[1:]}
        case "zero_limit" if not await _is_shared(connection, transaction):
            action = "set_charging_profile"
            payload = {
                "connector": transaction.connector,
                "transaction_id": ids[0],
                "limit": 0,
                "unit": "A",  # sent in the unit of the make
            }
        case "unlock" if transaction.session_id is not None and not await _is_shared(
            connection, transaction
        ):
            action, payload = "unlock", {"connector": transaction.connector}
        case "reset" if (
            transaction.session_id is not None
            and not await store_steps.is_station_used(connection, transaction)
        ):
            action, payload = "reset", {"kind": "soft"}
        case _:
            return None
    is_stop = action == "remote_stop"
    expires_in = rules.close_after_no_frame if is_stop else EXPIRES_IN
    return await _queue(connection, transaction, action, payload, actor, expires_in, now)


async def queue_stop(
    connection: Connection,
    transaction: StationTransaction,
    aliases: Sequence[str],
    *,
    actor: str,
    rules: Rules,
    now: datetime,
) -> Command | None:
    """Queues a stop under these ids of the station and ours; None: the station is retired."""
    ids = _all_ids(aliases, transaction)
    payload = {"transaction_id": ids[0], "aliases": ids[1:]}
    return await _queue(
        connection, transaction, "remote_stop", payload, actor, rules.close_after_no_frame, now
    )


async def queue_clear(
    connection: Connection,
    transaction: StationTransaction,
    *,
    actor: str,
    rules: Rules,
    now: datetime,
) -> Command | None:
    """Queues the end of a limit of 0: one that stays would end every later charge."""
    return await _queue(
        connection,
        transaction,
        "clear_charging_profile",
        {"connector": transaction.connector},
        actor,
        rules.close_after_no_frame,
        now,
    )


async def _queue(
    connection: Connection,
    transaction: StationTransaction,
    action: CommandAction,
    payload: Mapping[str, object],
    actor: str,
    expires_in: timedelta,
    now: datetime,
) -> Command | None:
    try:
        return await stations.queue_command(
            connection,
            transaction.station_id,
            action,
            payload,
            actor=actor,
            connector=transaction.connector or None,
            expires_in=expires_in,
            now=now,
        )
    except Conflict:  # retired
        return None


async def _ids(connection: Connection, transaction: StationTransaction) -> list[int | str]:
    """Returns a transaction's ids: first the number seen last, which a station knows it by."""
    return _all_ids(await store_transactions.aliases_of(connection, transaction.id), transaction)


def _all_ids(aliases: Sequence[str], transaction: StationTransaction) -> list[int | str]:
    ids = [*(int(alias) if alias.isdecimal() else alias for alias in aliases), transaction.id]
    first = next(number for number in ids if isinstance(number, int) and number > 0)
    return [first, *(other for other in ids if other != first)]


async def _is_shared(connection: Connection, transaction: StationTransaction) -> bool:
    """Returns whether a command to the connector could hit another charge."""
    return transaction.connector == 0 or await store_steps.is_connector_used(
        connection, transaction
    )

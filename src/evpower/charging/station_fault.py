"""Whether a session is free because a fault of its station ended it before it was of use."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from evpower.charging import store_ends
from evpower.charging.events import StationTime
from evpower.charging.our_time import SKEW_LIMIT, our_time
from evpower.charging.running import RunningSession, RunningTransaction
from evpower.foundation.db import Connection

if TYPE_CHECKING:
    from evpower.charging.settle import End

FREE_BELOW_WH: Final = 500
FREE_A_DAY: Final = 3
_DAY: Final = timedelta(days=1)
# What a station says where its own fault ended the charge, and how it ends where it says nothing.
_FAULTS: Final = frozenset({
    "power_loss", "reboot", "hard_reset", "soft_reset", "station_fault", "station_booted",
    "no_frames",
})  # fmt: skip
_FAULTED: Final = "faulted"
_SAYS_SO_WITHIN: Final = timedelta(seconds=10)  # a status of a stop may have a later stamp


class _TimedStatus(NamedTuple):
    """A status by when it was, then by when it was received."""

    at: datetime
    received_at: datetime
    status: str


async def is_free(
    connection: Connection,
    running: RunningTransaction,
    session: RunningSession,
    end: "End",
    *,
    now: datetime,
) -> bool:
    """Returns whether a station's fault ended a session before it was of use.

    Sessions of one client that end at once wait for each other: each counts those before it.
    """
    if end.energy_wh >= FREE_BELOW_WH:
        return False
    if session.free_reason is not None:
        return True
    if session.state == "settled":  # its first bill was not free, so a later one isn't
        return False
    if end.reason not in _FAULTS and await _status_at(connection, running, end, now) != _FAULTED:
        return False
    await store_ends.lock_free_sessions(connection, session.client_id)
    others = await store_ends.ends_of_free(
        connection, session.client_id, end.ended_at - _DAY, end.ended_at + _DAY, session.id
    )
    return not _is_one_too_many(others, end.ended_at)


def _is_one_too_many(others: Sequence[datetime], at: datetime) -> bool:
    """Returns whether so many others are free in a day that has this moment; `others` in order."""
    return any(
        max(last, at) - min(first, at) <= _DAY
        for first, last in zip(others, others[FREE_A_DAY - 1 :], strict=False)
    )


async def _status_at(
    connection: Connection, running: RunningTransaction, end: "End", now: datetime
) -> str | None:
    """Returns the status that the connector had at the end of its transaction.

    A stop that comes at once, or has no time, has the present one, one that was sent late that of
    its own time, whatever its register. Without a stop it is that of the last value: the charge
    went on until the next one was due at most.
    """
    transaction = running.transaction
    place = transaction.station_id, transaction.connector
    has_stop = end.is_timed is not None
    if has_stop and (not end.is_timed or now - end.ended_at <= SKEW_LIMIT):
        return await store_ends.connector_status(connection, *place)
    until = end.ended_at + _SAYS_SO_WITHIN
    if not has_stop:
        until += running.interval
    logged = await store_ends.statuses_since(connection, *place, transaction.started_at)
    timed = [
        _TimedStatus(
            our_time(
                StationTime(row.station_at, None), row.received_at, transaction, running.skew_s
            ),
            row.received_at,
            row.status,
        )
        for row in logged
    ]
    known = [status for status in timed if status.at <= until]
    return max(known).status if known else None

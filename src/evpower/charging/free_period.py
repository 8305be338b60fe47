"""A station that is free for a time: any tag charges, without a session, a wallet or a bill.

For a site where drivers stand and the app is down. An operator begins it with a reason, and it ends
by itself. What begins meanwhile goes on to its own end.
"""

from datetime import datetime, timedelta
from typing import Final

from evpower import alerts, identity, stations
from evpower.alerts import AlertKind
from evpower.charging import store_free
from evpower.charging.events import Changes, StationStart
from evpower.charging.model import StationTransaction
from evpower.charging.our_time import SKEW_LIMIT, right_time
from evpower.charging.start_match import FreeStart, started_at
from evpower.charging.store_free import FreePeriod
from evpower.foundation.db import Connection
from evpower.foundation.errors import Conflict, Invalid
from evpower.foundation.text import checked

ALERT: Final[AlertKind] = "station_free"
MOST_MINUTES: Final = 7 * 24 * 60
_ACTOR: Final = "evpower"
_REASON_MAX: Final = 500
_SHOWN: Final = 20


async def free_station(
    connection: Connection,
    *,
    station: str,
    minutes: int,
    actor: str,
    reason: str,
    now: datetime,
) -> FreePeriod:
    """Lets any tag charge at a station for some minutes from now; a period that runs is replaced.

    The caller publishes STATION_CHANGED after the commit. Raises NotFound("station_not_found"),
    Conflict("station_retired" | "station_forwarded"), Invalid("invalid_request" |
    "reason_missing").
    """
    if not 1 <= minutes <= MOST_MINUTES:
        raise Invalid("invalid_request", f"the time is 1 to {MOST_MINUTES} minutes")
    reason = _reason(reason)
    stored = await stations.lock_station(connection, station)
    if stored.retired_at is not None:
        raise Conflict("station_retired", f"station {stored.id!a:.80} is retired")
    if stored.forward_url is not None:
        raise Conflict("station_forwarded", f"another CSMS answers station {stored.id!a:.80}")
    await store_free.end(connection, stored.id, now, actor)
    ends_at = now + timedelta(minutes=minutes)
    await store_free.insert(connection, stored.id, now, ends_at, reason, actor)
    await alerts.open_alert(
        connection, ALERT, stored.id, {"until": ends_at.isoformat(), "reason": reason}, now
    )
    await identity.record_act(
        connection,
        actor=actor,
        action="charging.station_free",
        subject=stored.id,
        reason=reason,
        details={"minutes": minutes},
    )
    period = await store_free.open_of(connection, stored.id)
    assert period is not None, "it was inserted here"  # noqa: S101
    return period


async def list_free_stations(connection: Connection, now: datetime) -> frozenset[str]:
    """Returns the ids of the stations that are free now."""
    return await store_free.free_at(connection, now)


async def end_free(
    connection: Connection, *, station: str, actor: str, reason: str | None, now: datetime
) -> None:
    """Ends the free time of a station now.

    Raises NotFound("station_not_found"), Conflict("station_not_free").
    """
    stored = await stations.lock_station(connection, station)
    if not await store_free.end(connection, stored.id, now, actor):
        raise Conflict("station_not_free", f"station {stored.id!a:.80} is not free")
    await alerts.close_alert(connection, ALERT, stored.id, now)
    await identity.record_act(
        connection,
        actor=actor,
        action="charging.station_free_end",
        subject=stored.id,
        reason=reason,
    )


async def end_overdue(connection: Connection, station_id: str, now: datetime) -> Changes:
    """Ends a free time that is over."""
    await stations.lock_station(connection, station_id)
    period = await store_free.open_of(connection, station_id)
    if period is None or period.ends_at > now:
        return Changes()
    await store_free.end(connection, station_id, now, _ACTOR)
    await alerts.close_alert(connection, ALERT, station_id, now)
    return Changes(stations={station_id})


async def is_free(connection: Connection, station_id: str, *moments: datetime) -> bool:
    """Returns whether a station was free at one of these moments."""
    return await store_free.covers(connection, station_id, *moments)


async def free_start(connection: Connection, start: StationStart, skew_s: int | None) -> FreeStart:
    """Returns whether a start began while its station was free.

    It began when the station says so, or when it was received: either clock may be off. A known
    card is paid or counted, so its start of before that waited in the station's queue is not free:
    there a stamp counts which is right by all that is known of the clock.
    """
    stamp = started_at(start, None)
    if not await store_free.covers(connection, start.station_id, stamp, start.received_at):
        return FreeStart()
    corrected = start._replace(time=right_time(start.time, skew_s))
    stamp = started_at(corrected, None)
    if start.received_at - stamp <= SKEW_LIMIT:
        return FreeStart(any_tag=True, known_card=True)
    in_time = await store_free.covers(connection, start.station_id, stamp)
    return FreeStart(any_tag=True, known_card=in_time)


async def is_unwanted(
    connection: Connection, transaction: StationTransaction, *, is_paid_only: bool
) -> bool:
    """Returns whether a charge is of no client where all pay; one that began for free is not.

    It began when the station says so, or when it was received: either clock may be off.
    """
    if transaction.purpose != "unattributed" or not is_paid_only:
        return False
    return not await store_free.covers(
        connection, transaction.station_id, transaction.started_at, transaction.received_at
    )


async def list_free_periods(
    connection: Connection, station: str, *, limit: int = _SHOWN
) -> list[FreePeriod]:
    """Returns the free times of a station, the newest first. Raises NotFound."""
    view = await stations.get_station(connection, station)
    return await store_free.list_periods(connection, view.station.id, limit)


def _reason(text: str) -> str:
    if not text.strip():
        raise Invalid("reason_missing", "a reason is needed")
    checked(text, "reason", most=_REASON_MAX)
    return text.strip()

"""Finds stored raw frames of a station: by time, action, direction or session, always bounded."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from evpower import stations
from evpower.foundation.db import Connection, Record
from evpower.foundation.errors import Conflict, NotFound
from evpower.ocpp import store_frames
from evpower.ocpp.model import Direction

FRAMES_AT_MOST: Final = 10_000
_BEFORE_SESSION: Final = timedelta(minutes=1)
_AFTER_SESSION: Final = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class StoredFrame:
    """A raw frame as it went, secrets blanked. `action` of a reply is that of its call."""

    received_at: datetime  # an answer has the time of its request
    direction: Direction  # in: from the station
    message_type: int | None  # None: unreadable
    message_id: str | None
    action: str | None
    frame: str


@dataclass(frozen=True, slots=True)
class FramePage:
    """Frames in their order; `has_more`: the limit ended the list."""

    station_id: str
    frames: tuple[StoredFrame, ...]
    has_more: bool


async def list_frames(
    connection: Connection,
    station: str,
    *,
    since: datetime,
    until: datetime,
    action: str | None = None,
    direction: Direction | None = None,
    session_id: UUID | None = None,
    limit: int = 1_000,
) -> FramePage:
    """Returns a station's frames, oldest first; replies come with the action that they answer.

    With a session, those from a minute before it was made until five after its end. Raises
    NotFound("station_not_found"), NotFound("session_not_found"), Conflict("session_elsewhere").
    """
    stored = await stations.resolve_station(connection, station)
    if stored is None:
        raise NotFound("station_not_found", f"there is no station {station!a:.80}")
    if session_id is not None:
        times = await store_frames.session_times(connection, session_id)
        if times is None:
            raise NotFound("session_not_found", f"there is no session {session_id}")
        if times.station_id != stored.id:
            raise Conflict("session_elsewhere", f"it ran at station {times.station_id!a:.80}")
        since = max(since, times.created_at - _BEFORE_SESSION)
        if times.ended_at is not None:
            until = min(until, times.ended_at + _AFTER_SESSION)
    limit = min(limit, FRAMES_AT_MOST)
    rows: list[Record] = []
    if session_id is not None:  # those of a day that was dropped meanwhile
        rows += await store_frames.quarantined_frames(
            connection, session_id, since, until,
            action=action, direction=direction, limit=limit + 1,
        )  # fmt: skip
    rows += await store_frames.frames_between(
        connection, stored.id, since, until,
        action=action, direction=direction, limit=max(0, limit + 1 - len(rows)),
    )  # fmt: skip
    frames = tuple(StoredFrame(**dict(row)) for row in rows[:limit])
    return FramePage(stored.id, frames, len(rows) > limit)

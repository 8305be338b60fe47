"""The message log of a station: /api/v1/operator/stations/{station}/messages."""

from datetime import datetime, timedelta
from typing import Annotated, Final, NamedTuple
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from evpower.foundation.errors import Invalid
from evpower.foundation.openapi import problem
from evpower.foundation.paging import LIMIT_DEFAULT, Page, PlaceTime, read_cursor, write_cursor
from evpower.foundation.request_time import UtcTime
from evpower.foundation.segments import SegmentRoute
from evpower.identity import (
    OPERATOR_PATH,
    OPERATOR_REFUSALS,
    OperatorCalls,
    Principal,
    RowCursor,
    RowLimit,
    operator_call,
)
from evpower.ocpp.frames import FRAMES_AT_MOST, StoredFrame, list_frames
from evpower.ocpp.model import Direction

_DAY: Final = timedelta(days=1)
_LONGEST: Final = timedelta(days=31)


class LoggedMessage(BaseModel):
    """A message as it went, secrets blanked."""

    model_config = ConfigDict(from_attributes=True)

    received_at: Annotated[datetime, Field(description="An answer has the time of its request")]
    direction: Annotated[Direction, Field(description="`in`: from the station")]
    message_type: Annotated[int | None, Field(description="2 call, 3 result, 4 error; null: none")]
    message_id: str | None
    action: Annotated[str | None, Field(description="Of an answer: that of its call")]
    frame: str


class MessagePlace(NamedTuple):
    """Where a page of messages ended: how many of that very time were on it, or before."""

    received_at: PlaceTime
    shown: int


def messages_router(calls: OperatorCalls) -> APIRouter:
    """Returns the route."""
    routes = APIRouter(prefix=OPERATOR_PATH, tags=["operator stations"], route_class=SegmentRoute)

    @routes.get(
        "/stations/{station}/messages",
        summary="A station's message log",
        responses={
            **OPERATOR_REFUSALS,
            404: problem("`station_not_found`, `session_not_found`"),
            409: problem("`session_elsewhere`: it ran at another station"),
        },
        openapi_extra=operator_call("read"),
    )
    async def messages(  # pyright: ignore[reportUnusedFunction]
        _: Annotated[Principal, Depends(calls.access.may("read"))],
        station: Annotated[str, Path(min_length=1, max_length=255)],
        since: Annotated[UtcTime | None, Query(alias="from")] = None,
        until: Annotated[UtcTime | None, Query(alias="to")] = None,
        action: Annotated[str | None, Query(max_length=64, examples=["StopTransaction"])] = None,
        direction: Direction | None = None,
        session: Annotated[UUID | None, Query(description="Only those of its time")] = None,
        limit: RowLimit = LIMIT_DEFAULT,
        cursor: RowCursor = None,
    ) -> Page[LoggedMessage]:
        """The oldest first, of at most 31 days; the last day by default, or the session's time."""
        begins, ends = _bounds(calls.clock(), since, until, has_session=session is not None)
        place = read_cursor(cursor, MessagePlace)
        seen = 0
        if place is not None:
            begins, seen = (
                max(begins, place.received_at),
                min(max(place.shown, 0), FRAMES_AT_MOST - limit),
            )
        async with calls.db.connection() as connection:
            page = await list_frames(
                connection,
                station,
                since=begins,
                until=ends,
                action=action,
                direction=direction,
                session_id=session,
                limit=limit + seen,
            )
        return _page(page.frames, seen, has_more=page.has_more)

    return routes


def _bounds(
    now: datetime, since: datetime | None, until: datetime | None, *, has_session: bool
) -> tuple[datetime, datetime]:
    """Raises Invalid("invalid_request") for a time that is too long, or ends before it begins."""
    ends = until or now
    if has_session and since is None:
        return datetime.min.replace(tzinfo=now.tzinfo), ends
    begins = since or ends - _DAY
    if not begins < ends <= begins + _LONGEST:
        raise Invalid("invalid_request", "`to` is after `from`, at most 31 days")
    return begins, ends


def _page(frames: tuple[StoredFrame, ...], seen: int, *, has_more: bool) -> Page[LoggedMessage]:
    shown = [LoggedMessage.model_validate(frame) for frame in frames[seen:]]
    if not has_more or not shown:
        return Page(items=shown, next=None)
    last = frames[-1].received_at
    count = sum(frame.received_at == last for frame in frames)
    return Page(items=shown, next=write_cursor(MessagePlace(last, count)))

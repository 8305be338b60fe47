"""Free times and retirement of a station as the operator API shows and takes them."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from evpower.charging.free_period import MOST_MINUTES
from evpower.identity import ActReason


class FreedStation(BaseModel):
    """Lets any tag charge at a station for a while: without a session, a bill or a wallet."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"minutes": 120, "reason": "the app is down"}},
    )

    minutes: Annotated[int, Field(ge=1, le=MOST_MINUTES)]
    reason: ActReason


class EndedFreeTime(BaseModel):
    """Why a free time ends."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"reason": "the app is back"}}
    )

    reason: ActReason


class FreeTime(BaseModel):
    """A time in which a station charges any tag."""

    model_config = ConfigDict(from_attributes=True)

    station: Annotated[str, Field(validation_alias="station_id")]
    begins_at: datetime
    ends_at: Annotated[datetime, Field(description="By itself")]
    reason: str
    actor: str
    ended_at: datetime | None
    ended_by: str | None


class RetiredStation(BaseModel):
    """Retires a station, or brings it back."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"reason": "taken down in November"}}
    )

    reason: ActReason
    undo: bool = False


class StationRetired(BaseModel):
    """Whether a station is retired now, and whether that is new."""

    station: str
    is_retired: bool
    is_changed: bool

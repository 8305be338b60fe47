"""What charging knows of a station, as the operator API shows and takes it."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

from evpower.charging.free_period import MOST_MINUTES
from evpower.charging.store_meters import LearnedMeter, StationFacts
from evpower.identity import ActReason
from evpower.stations import RegisterKind

_WH_PER_KWH: Final = 1000


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


class LearnedMeterShown(BaseModel):
    """What a connector's meter was seen to do."""

    connector: int
    register_kind: Annotated[RegisterKind | None, Field(description="Null: not known yet")]
    sample_interval_s: Annotated[int | None, Field(description="Between two values")]


class LearnedStation(BaseModel):
    """What a station was seen to do, and what it gave that no one paid."""

    station: str
    clock_skew_s: Annotated[
        int | None, Field(description="Our clock less the station's; null: right, or not known")
    ]
    unbilled_tail_kwh: Annotated[float, Field(description="After its stops")]
    outside_charges: Annotated[int, Field(description="Of no client: a free mode, an unknown card")]
    outside_kwh: float
    meters: list[LearnedMeterShown]


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


def learned_shown(
    station_id: str, meters: Sequence[LearnedMeter], facts: StationFacts
) -> LearnedStation:
    """Returns what was learned of a station as it is shown."""
    return LearnedStation(
        station=station_id,
        clock_skew_s=facts.skew_s,
        unbilled_tail_kwh=float(facts.tail_wh / _WH_PER_KWH),
        outside_charges=facts.outside_charges,
        outside_kwh=facts.outside_wh / _WH_PER_KWH,
        meters=[
            LearnedMeterShown(
                connector=meter.connector,
                register_kind=meter.register_kind,
                sample_interval_s=meter.interval_s,
            )
            for meter in meters
        ],
    )

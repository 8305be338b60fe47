"""The vendor profile and the set-up of a station as the operator API shows and takes them."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from evpower.identity import ActReason
from evpower.stations.model import ProtocolVersion, RateUnit, RegisterKind, StationProfile
from evpower.stations.profile_files import MEMBERS
from evpower.stations.setup_model import StationSetup


class ProfileShown(BaseModel):
    """What is known of its make, as it counts for this station."""

    model_config = ConfigDict(from_attributes=True)

    name: str
    is_chosen: Annotated[bool, Field(description="By an operator, not by what the station says")]
    overrides: Annotated[
        dict[str, bool | int | str | list[str]], Field(description="The station's own members")
    ]
    ping: bool
    settle_s: float | None
    fixed_tag: str | None
    rate_unit: RateUnit
    stack_level: int
    zero_limit_stops: bool
    measurands: list[str]
    sample_interval_s: int
    trigger_allowed: bool
    register_kind: RegisterKind | None
    local_clock: bool
    version_pin: ProtocolVersion | None
    plug_first: bool
    change_availability_allowed: bool
    release_detection: bool
    accept_data_transfer: bool
    autostart_keys: list[str]
    notes: Annotated[list[str], Field(description="What an operator should know of the make")]


class SetupKeyShown(BaseModel):
    """A configuration key as the set-up found and left it."""

    model_config = ConfigDict(from_attributes=True)

    key: str
    wanted: Annotated[str | None, Field(description="Null: it is only shown")]
    actual: Annotated[str | None, Field(description="As it was read; null: it has none")]
    is_readonly: bool
    outcome: Annotated[
        str,
        Field(
            description="`as_wanted`, `to_write`, `written`, `written_after_reboot`, `read_only`, "
            "`refused`, `absent`, `shown`, `autostart` (it may start by itself)"
        ),
    ]


class SetupShown(BaseModel):
    """The newest set-up of a station; all but its name is null where there was none."""

    station: str
    state: Annotated[str | None, Field(description="`running`, `done` or `failed`")] = None
    failure: Annotated[
        str | None, Field(description="`refused`, `no_answer` or `not_delivered`")
    ] = None
    vendor: str | None = None
    model: str | None = None
    firmware: str | None = None
    actor: str | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    keys: list[SetupKeyShown] = []
    test_charge_suggested: Annotated[
        bool, Field(description="One by app, and one plug-in without a card that must not charge")
    ] = False


class BegunSetup(BaseModel):
    """Begins a set-up, also where there was one for this firmware."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"reason": "its board was replaced"}}
    )

    reason: ActReason


def profile_shown(known: StationProfile) -> ProfileShown:
    """Returns a profile as it is shown."""
    return ProfileShown(
        name=known.profile.name,
        is_chosen=known.is_chosen,
        overrides=dict(known.overrides),
        notes=list(known.profile.notes),
        **{member: getattr(known.profile, member) for member in MEMBERS},
    )


def setup_shown(station_id: str, setup: StationSetup | None) -> SetupShown:
    """Returns a set-up as it is shown."""
    if setup is None:
        return SetupShown(station=station_id)
    return SetupShown(
        station=station_id,
        state=setup.state,
        failure=setup.failure,
        vendor=setup.vendor,
        model=setup.model,
        firmware=setup.firmware,
        actor=setup.actor,
        started_at=setup.started_at,
        ended_at=setup.ended_at,
        keys=[SetupKeyShown.model_validate(key) for key in setup.keys],
        test_charge_suggested=setup.state == "done",
    )

"""Stations as operators describe and change them by the operator API."""

from decimal import Decimal
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt

from evpower.foundation.errors import Invalid
from evpower.identity import ActReason
from evpower.stations.change import StationChange
from evpower.stations.change_location import LocationChange
from evpower.stations.check import usual_connector
from evpower.stations.model import (
    Availability,
    ConnectorDraft,
    Location,
    Name,
    NameKind,
    ProtocolVersion,
    StationDraft,
)
from evpower.stations.profile_files import MEMBERS, RESET, InvalidProfile, given_text

_W_PER_KW: Final = 1000
_TEXT: Final = 200
_PowerKw = Annotated[Decimal, Field(gt=0, le=10_000, max_digits=8, decimal_places=3)]
_Degrees = Annotated[Decimal, Field(ge=-180, le=180, max_digits=9, decimal_places=6)]
_Member = Annotated[str, Field(max_length=40)]
_MemberText = Annotated[str, Field(max_length=255)]
_MemberValue = (
    StrictBool | StrictInt | _MemberText | Annotated[list[_MemberText], Field(max_length=50)]
)


class NewConnector(BaseModel):
    """A connector; what is left out is as usual for its power."""

    model_config = ConfigDict(extra="forbid")

    number: Annotated[int, Field(ge=1, le=1000)]
    rated_power_kw: _PowerKw
    standard: Annotated[str, Field(max_length=40)] = ""
    format: Literal["", "SOCKET", "CABLE"] = ""
    power_type: Annotated[str, Field(max_length=40)] = ""
    evse_number: Annotated[int | None, Field(ge=1, le=1000)] = None
    evse_connector: Annotated[int, Field(ge=1, le=100)] = 1
    evse_id: Annotated[str | None, Field(max_length=48)] = None

    def draft(self) -> ConnectorDraft:
        """Returns the connector as it is built."""
        usual = usual_connector(
            self.number,
            int(self.rated_power_kw * _W_PER_KW),
            standard=self.standard,
            format_=self.format,
            power_type=self.power_type,
        )
        return ConnectorDraft(
            number=self.number,
            standard=usual.standard,
            format=usual.format,
            power_type=usual.power_type,
            rated_power_w=usual.rated_power_w,
            evse_number=self.evse_number or self.number,
            evse_connector=self.evse_connector,
            evse_id=self.evse_id,
        )


class NewLocation(BaseModel):
    """A place by its id, by its name, or a new one."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=_TEXT)]
    id: Annotated[str, Field(max_length=64)] = ""
    address: Annotated[str, Field(max_length=_TEXT)] = ""
    city: Annotated[str, Field(max_length=100)] = ""
    country: Annotated[str, Field(max_length=3)] = "KGZ"
    latitude: _Degrees | None = None
    longitude: _Degrees | None = None
    time_zone: Annotated[str, Field(max_length=64)] = "Asia/Bishkek"


class NewName(BaseModel):
    """A further name by which the station is found."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=255)]
    kind: NameKind


class AcceptedStation(BaseModel):
    """A station that is there already, as its operator describes it."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "location": {"name": "Bishkek Park"},
                "connectors": [{"number": 1, "rated_power_kw": 60}],
                "reason": "put up today",
            }
        },
    )

    location: NewLocation
    connectors: Annotated[list[NewConnector], Field(min_length=1, max_length=100)]
    reason: ActReason
    names: Annotated[list[NewName], Field(max_length=20)] = []
    owner: Annotated[str | None, Field(min_length=1, max_length=_TEXT)] = None
    post_code: Annotated[str | None, Field(pattern="^[0-9a-z]{4,12}$")] = None
    availability: Availability = "operative"
    no_auth: bool = False
    paid_only: bool = True
    cards_without_auth: bool = False
    pinned_version: ProtocolVersion | None = None

    def draft(self, station_id: str, *, is_simulated: bool = False) -> StationDraft:
        """Returns the station as it is stored."""
        return StationDraft(
            id=station_id,
            location=Location(**self.location.model_dump()),
            connectors=tuple(connector.draft() for connector in self.connectors),
            names=tuple(Name(name.name, name.kind) for name in self.names),
            post_code=self.post_code,
            owner=self.owner,
            availability=self.availability,
            no_auth=self.no_auth,
            paid_only=self.paid_only,
            cards_without_auth=self.cards_without_auth,
            is_simulated=is_simulated,
            pinned_version=self.pinned_version,
        )


class NewStation(AcceptedStation):
    """A station to add."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "id": "EVP-0042",
                "location": {"name": "Bishkek Park", "city": "Bishkek"},
                "connectors": [{"number": 1, "rated_power_kw": 60}],
                "owner": "EvPower",
                "reason": "new post",
            }
        },
    )

    id: Annotated[str, Field(min_length=1, max_length=50)]
    is_simulated: bool = False


class ChangedStation(BaseModel):
    """What becomes of a station; a member that is left out stays as it is."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"owner": "Ala-Too LLC", "reason": "sold"},
                {
                    "profile": "huawei",
                    "overrides": {"ping": False, "settle_s": None},
                    "pinned_version": "ocpp1.6",
                    "reason": "white label",
                },
            ]
        },
    )

    reason: ActReason
    owner: Annotated[str | None, Field(max_length=_TEXT, description='"": none any more')] = None
    paid_only: bool | None = None
    cards_without_auth: bool | None = None
    pinned_version: Annotated[
        ProtocolVersion | Literal["none"] | None,
        Field(description="The only version it may speak; `none`: as each socket agrees"),
    ] = None
    profile: Annotated[
        str | None,
        Field(max_length=63, description='Its vendor profile; "": by what it says of itself'),
    ] = None
    overrides: Annotated[
        dict[_Member, _MemberValue | None],
        Field(
            max_length=len(MEMBERS),
            description="Members of the profile that are its own; null, or an empty text or list: "
            "as in the profile again",
        ),
    ] = {}

    def change(self) -> StationChange:
        """Returns what is changed, but for the pinned version.

        Raises Invalid("profile_invalid").
        """
        try:
            members = {
                member: RESET if value is None else given_text(member, value)
                for member, value in self.overrides.items()
            }
        except InvalidProfile as error:
            raise Invalid("profile_invalid", str(error)) from error
        return StationChange(
            self.owner,
            self.paid_only,
            self.cards_without_auth,
            profile=self.profile,
            members=members or None,
        )


class ChangedLocation(BaseModel):
    """What becomes of a location; a member that is left out stays as it is."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "name": "Bishkek Park",
                "latitude": 42.8755,
                "longitude": 74.5902,
                "reason": "the pin was in the next street",
            }
        },
    )

    reason: ActReason
    name: Annotated[str | None, Field(min_length=1, max_length=_TEXT)] = None
    address: Annotated[str | None, Field(max_length=_TEXT)] = None
    city: Annotated[str | None, Field(max_length=100)] = None
    country: Annotated[str | None, Field(max_length=3, description="As KGZ")] = None
    latitude: Annotated[_Degrees | None, Field(description="With the longitude")] = None
    longitude: _Degrees | None = None
    time_zone: Annotated[str | None, Field(max_length=64)] = None

    def change(self) -> LocationChange:
        """Returns what is changed."""
        return LocationChange(**self.model_dump(exclude={"reason"}))


class WantedAvailability(BaseModel):
    """Whether drivers may use it, whatever it reports."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"availability": "inoperative", "reason": "cable is cut"}},
    )

    availability: Availability
    reason: ActReason


class SecuredStation(BaseModel):
    """Asks for a new password."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"at_once": False, "reason": "the old one was sent by mail"}},
    )

    reason: ActReason
    at_once: Annotated[
        bool,
        Field(description="End the password before now; else it counts until the new one is used"),
    ] = False

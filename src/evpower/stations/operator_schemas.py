"""Stations as the operator API shows and takes them."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

from evpower.foundation.paging import LIMIT_DEFAULT
from evpower.identity import RowCursor, RowLimit
from evpower.stations.filters import StationFilter
from evpower.stations.model import (
    Availability,
    Connector,
    ConnectorStatus,
    ConnectRefusal,
    ProtocolVersion,
    StationView,
)
from evpower.stations.profile_schemas import ProfileShown, profile_shown

_W_PER_KW: Final = 1000
_TEXT: Final = 200
_PowerKw = Annotated[Decimal, Field(gt=0, le=10_000, max_digits=8, decimal_places=3)]
_Degrees = Annotated[Decimal, Field(ge=-180, le=180, max_digits=9, decimal_places=6)]


class StationQuery(BaseModel):
    """Which stations a page is of; all that is given must hold."""

    q: Annotated[str | None, Field(min_length=1, max_length=100, description="Part of a name")] = (
        None
    )
    location: Annotated[str | None, Field(max_length=64, description="Its id")] = None
    owner: Annotated[str | None, Field(max_length=200)] = None
    vendor: Annotated[str | None, Field(max_length=255)] = None
    online: bool | None = None
    availability: Annotated[Availability | None, Field(description="As it is wanted")] = None
    status: Annotated[
        ConnectorStatus | None, Field(description="Of at least one connector, as reported")
    ] = None
    simulated: bool | None = None
    retired: bool = False
    limit: RowLimit = LIMIT_DEFAULT
    cursor: RowCursor = None

    def filter(self) -> StationFilter:
        """Returns the filter."""
        return StationFilter(
            text=self.q,
            location=self.location,
            owner=self.owner,
            vendor=self.vendor,
            online=self.online,
            availability=self.availability,
            connector_status=self.status,
            simulated=self.simulated,
            retired=self.retired,
        )


class OperatedLocation(BaseModel):
    """A place with stations."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    name: str
    address: str
    city: str
    country: str
    latitude: float | None
    longitude: float | None
    time_zone: str


class OperatedConnector(BaseModel):
    """A connector; `status` is what drivers see of it."""

    number: int
    evse_number: int
    evse_connector: int
    evse_id: str | None
    standard: str
    format: str
    power_type: str
    rated_power_kw: float
    wanted_availability: Availability
    status: str
    reported_status: str | None
    reported_error: str | None
    reported_at: datetime | None


class OperatedStation(BaseModel):
    """A station: what it is, what is wanted of it, and what it reports."""

    id: str
    post_code: str
    names: list[dict[str, str]]
    location: OperatedLocation
    owner: str | None
    online: bool
    connected: bool
    last_frame_at: datetime | None
    wanted_availability: Availability
    reported_availability: Availability | None
    vendor: str | None
    model: str | None
    firmware: str | None
    booted_at: datetime | None
    has_password: bool
    password_waits: bool
    no_auth: bool
    paid_only: bool
    cards_without_auth: bool
    is_simulated: bool
    is_forwarded: bool
    pinned_version: ProtocolVersion | None
    profile: ProfileShown
    retired_at: datetime | None
    created_at: datetime
    updated_at: datetime
    connectors: list[OperatedConnector]
    deviations: dict[str, int]


class AddedByOperator(BaseModel):
    """A new station; its password is shown only here."""

    station: OperatedStation
    password: Annotated[str | None, Field(description="Shown once; null: it needs none")]
    password_hex: Annotated[str | None, Field(description="The same, for stations that take hex")]


class NewPassword(BaseModel):
    """A new password, shown only here."""

    station: str
    password: str
    password_hex: str


class UnknownName(BaseModel):
    """A name that tried to connect and was refused: no station has it, or its station may not."""

    model_config = ConfigDict(from_attributes=True)

    name: str
    address: str
    attempts: int
    first_seen_at: datetime
    last_seen_at: datetime
    reason: Annotated[
        ConnectRefusal,
        Field(description="Of the last attempt; station_not_found: no station has it"),
    ]


class CountedDeviation(BaseModel):
    """What a station does off the protocol, with an example."""

    station: str
    kind: str
    count: int
    sample: str | None
    last_seen_at: datetime


class OwnerShown(BaseModel):
    """Whose stations there are; null: those that have no owner."""

    model_config = ConfigDict(from_attributes=True)

    owner: str | None
    stations: int
    connectors: int


class ConnectionShown(BaseModel):
    """A connection of a station."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    address: str
    version: str
    is_authenticated: bool
    opened_at: datetime
    closed_at: datetime | None
    close_reason: str | None


class StatusShown(BaseModel):
    """A status as the station reported it; connector 0 is the station as a whole."""

    model_config = ConfigDict(from_attributes=True)

    connector: int
    status: str
    error: str | None
    info: str | None
    station_time: str | None
    received_at: datetime


def station_shown(view: StationView, now: datetime) -> OperatedStation:
    """Returns a station as it is shown."""
    station = view.station
    return OperatedStation(
        id=station.id,
        post_code=station.post_code,
        names=[{"name": name.name, "kind": name.kind} for name in view.names],
        location=OperatedLocation.model_validate(view.location),
        owner=station.owner,
        online=view.is_online(now),
        connected=view.is_connected,
        last_frame_at=view.last_frame_at,
        wanted_availability=station.wanted_availability,
        reported_availability=station.reported_availability,
        vendor=station.vendor,
        model=station.model,
        firmware=station.firmware,
        booted_at=station.booted_at,
        has_password=view.has_password,
        password_waits=view.password_waits,
        no_auth=station.no_auth,
        paid_only=station.paid_only,
        cards_without_auth=station.cards_without_auth,
        is_simulated=station.is_simulated,
        is_forwarded=station.forward_url is not None,
        pinned_version=station.pinned_version,
        profile=profile_shown(view.profile),
        retired_at=station.retired_at,
        created_at=station.created_at,
        updated_at=station.updated_at,
        connectors=[connector_shown(view, connector, now) for connector in view.connectors],
        deviations=dict(view.deviations),
    )


def connector_shown(view: StationView, connector: Connector, now: datetime) -> OperatedConnector:
    """Returns a connector as it is shown."""
    return OperatedConnector(
        number=connector.number,
        evse_number=connector.evse_number,
        evse_connector=connector.evse_connector,
        evse_id=connector.evse_id,
        standard=connector.standard,
        format=connector.format,
        power_type=connector.power_type,
        rated_power_kw=connector.rated_power_w / _W_PER_KW,
        wanted_availability=connector.wanted_availability,
        status=view.status_of(connector, now),
        reported_status=connector.reported_status,
        reported_error=connector.reported_error,
        reported_at=connector.reported_at,
    )


def decided_of(view: StationView) -> tuple[object, ...]:
    """Returns what operators decide about a station: a change of it is a new version."""
    station = view.station
    return (
        station.id,
        station.owner,
        station.wanted_availability,
        station.no_auth,
        station.paid_only,
        station.cards_without_auth,
        station.pinned_version,
        view.profile.profile.name if view.profile.is_chosen else None,
        sorted(view.profile.overrides.items()),
        station.forward_url,
        station.retired_at is not None,
        tuple(name.name for name in view.names),
        tuple(connector.wanted_availability for connector in view.connectors),
    )

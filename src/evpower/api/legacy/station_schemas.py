"""The old calls about stations in the OpenAPI document; the routes themselves build bytes."""

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, Field

from evpower.foundation.openapi import Responses, json_response, problem

_Money = Annotated[float, Field(description="som")]
_Power = Annotated[float, Field(description="kW")]
_Count = Annotated[int, Field(ge=0)]


class ShownConnector(BaseModel):
    """A connector as the apps print it."""

    id: Annotated[int, Field(description="The connector_id of charging/start")]
    type: str
    status: Literal["Свободен", "Занят", "Неисправен", "Неизвестно"]
    available: bool
    power_kw: _Power
    error: str | None
    price_per_kwh: Annotated[_Money, Field(description="som now; 0 without a tariff")]
    session_fee: _Money


class StationPage(BaseModel):
    """A station and its connectors."""

    success: Literal[True]
    station_id: str
    serial_number: str
    model: str
    manufacturer: str
    online: bool
    station_status: Literal["active", "maintenance", "inactive"]
    location_status: Literal["active"]
    available_for_charging: bool
    location_id: str
    location_name: str
    location_address: str
    connectors: list[ShownConnector]
    total_connectors: _Count
    available_connectors: _Count
    occupied_connectors: _Count
    faulted_connectors: _Count
    tariff_rub_kwh: Annotated[
        _Money,
        Field(description="som for 1 kWh now, the highest of its connectors; the name is old"),
    ]
    session_fee: _Money
    currency: str
    working_hours: str
    message: str


class Coordinates(BaseModel):
    """Degrees; null where they are unknown."""

    latitude: float | None
    longitude: float | None


class StationsSummary(BaseModel):
    """How many stations have each status."""

    total: _Count
    available: _Count
    occupied: _Count
    offline: _Count
    maintenance: _Count


class ConnectorsSummary(BaseModel):
    """How many connectors have each status."""

    total: _Count
    available: _Count
    occupied: _Count
    faulted: _Count


class ListedTariff(BaseModel):
    """The prices now: the highest of the station's connectors."""

    price_per_kwh: _Money
    session_fee: _Money
    currency: str


class ListedStation(BaseModel):
    """A station of a location."""

    id: str
    serial_number: str
    model: str
    manufacturer: str
    location_id: str
    status: Annotated[
        Literal["available", "active", "occupied", "offline", "maintenance", "inactive"],
        Field(description="A free station is `active`, an occupied one `inactive` at hosts of "
              "older apps"),
    ]  # fmt: skip
    is_available: bool
    power_capacity: _Power
    connectors_count: _Count
    connector_types: list[str]
    price_per_kwh: _Money
    session_fee: _Money
    currency: str
    tariff: ListedTariff
    connectors_summary: ConnectorsSummary


class ListedLocation(BaseModel):
    """A location; `stations` is empty unless they were asked for."""

    id: str
    name: str
    address: str
    city: str
    country: str
    coordinates: Coordinates
    latitude: Annotated[float, Field(description="Absent where it is unknown")] = 0
    longitude: float = 0
    status: Literal["available", "partial", "occupied", "offline", "maintenance"]
    stations_count: _Count
    connectors_count: _Count
    available_connectors: _Count
    stations_summary: StationsSummary
    connectors_summary: ConnectorsSummary
    stations: list[ListedStation]


class Locations(BaseModel):
    """Every location, by name."""

    success: Literal[True]
    locations: list[ListedLocation]
    total: _Count


class RefreshedLocation(BaseModel):
    """A location, read anew."""

    success: Literal[True]
    message: str
    location: ListedLocation


PUBLIC: Final[dict[str, Any]] = {"security": []}
_UNCHANGED: Final[dict[str, Any]] = {"description": "The ETag of If-None-Match is still right"}
STATION_RESPONSES: Final[Responses] = {
    200: json_response("The station", StationPage),
    304: _UNCHANGED,
    404: problem("`station_not_found`"),
}
LOCATIONS_RESPONSES: Final[Responses] = {
    200: json_response("The locations", Locations),
    304: _UNCHANGED,
}
LOCATION_RESPONSES: Final[Responses] = {
    200: json_response("The location, without a wrapper", ListedLocation),
    304: _UNCHANGED,
    404: problem("`location_not_found`"),
}
REFRESH_RESPONSES: Final[Responses] = {
    200: json_response("The location", RefreshedLocation),
    404: problem("`location_not_found`"),
}

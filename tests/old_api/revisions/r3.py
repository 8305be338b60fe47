"""R3 (2025-10-15, version 1.0.1): the first schemas. A member may be missing, hardly ever null."""

from typing import Any, Literal

from pydantic import Field

from tests.old_api.revisions.types import (
    ABSENT,
    Filled,
    LimitType,
    LocationWord,
    Number,
    OldStationWord,
    PaymentStatus,
    Picture,
    Read,
    SessionWord,
    Text,
    Yes,
)


class Start(Read):
    success: Yes
    session_id: Filled
    connector_id: Number = ABSENT
    reserved_amount: Number = ABSENT
    limit_type: LimitType = ABSENT
    limit_value: Number = ABSENT
    rate_per_kwh: Number = ABSENT
    session_fee: Number = ABSENT
    required_amount: Number = ABSENT
    current_balance: Number = ABSENT
    error: Text | None = None
    message: Text = ABSENT


class Stop(Read):
    success: Yes
    final_cost: Number = ABSENT
    energy_consumed: Number = ABSENT
    duration_minutes: Number = ABSENT
    refunded_amount: Number = ABSENT
    additional_charge: Number = ABSENT
    error: Text | None = None
    message: Text = ABSENT


class Session(Read):
    """No null at all, not even the time of the end of a session that runs."""

    id: Text
    status: SessionWord
    station_id: Text
    connector_id: Number
    start_time: Text
    energy_consumed: Number
    current_cost: Number
    limit_type: LimitType
    stop_time: Text = ABSENT
    reserved_amount: Number = ABSENT
    limit_value: Number = ABSENT
    limit_reached: bool = ABSENT
    limit_percentage: Number = ABSENT
    rate_per_kwh: Number = ABSENT
    session_fee: Number = ABSENT
    ocpp_transaction_id: Number = ABSENT
    meter_start: Number = ABSENT
    meter_current: Number = ABSENT
    charging_duration_minutes: Number = ABSENT


class Status(Read):
    """A flat answer alone is refused; beside a session nothing flat is read."""

    success: Yes
    session: Session


class Connector(Read):
    """It knows the error as `error_code`, which may not be null."""

    id: Number
    type: Text
    status: Text
    available: bool
    power_kw: Number = ABSENT
    error: Text | None = None
    error_code: Text = ABSENT


class Station(Read):
    success: Yes
    station_id: Text
    serial_number: Filled
    model: Text
    manufacturer: Text
    online: bool
    station_status: Text
    location_status: Text
    available_for_charging: bool
    location_id: Text
    location_name: Filled
    location_address: Text
    connectors: list[Connector] = Field(min_length=1)
    total_connectors: Number
    available_connectors: Number
    occupied_connectors: Number
    faulted_connectors: Number
    currency: Text
    tariff_rub_kwh: Number = ABSENT
    session_fee: Number = ABSENT
    working_hours: Text = ABSENT
    message: Text = ABSENT


class ConnectorsSummary(Read):
    total: Number
    available: Number
    occupied: Number
    faulted: Number


class StationsSummary(Read):
    total: Number
    available: Number
    occupied: Number
    offline: Number
    maintenance: Number


class Tariff(Read):
    price_per_kwh: Number = ABSENT
    session_fee: Number = ABSENT
    currency: Literal["KGS"] = ABSENT


class ListedStation(Read):
    """It has no word for a station that is occupied; no list of connector types is a white page."""

    id: Text
    serial_number: Text
    model: Text = ABSENT
    manufacturer: Text = ABSENT
    status: OldStationWord
    connector_types: list[Text]
    power_capacity: Number = ABSENT
    connectors_count: Number = ABSENT
    price_per_kwh: Number = ABSENT
    session_fee: Number = ABSENT
    currency: Literal["KGS"] = ABSENT
    tariff: Tariff = ABSENT
    connectors_summary: ConnectorsSummary = ABSENT


class Coordinates(Read):
    latitude: Number | None = None
    longitude: Number | None = None


class Location(Read):
    """Flat coordinates: null refuses the list, absence only leaves the map without a mark."""

    id: Text
    name: Text
    address: Text
    city: Text = ABSENT
    country: Text = ABSENT
    latitude: Number = ABSENT
    longitude: Number = ABSENT
    coordinates: Coordinates | None = None
    status: LocationWord
    stations_count: Number = ABSENT
    connectors_count: Number = ABSENT
    available_connectors: Number = ABSENT
    stations_summary: StationsSummary = ABSENT
    connectors_summary: ConnectorsSummary = ABSENT
    stations: list[ListedStation] = ABSENT


class Locations(Read):
    """One bad value refuses the whole list."""

    locations: list[Location]


class TopUp(Read):
    """Polls `order_id` where `invoice_id` is missing."""

    success: Yes = ABSENT
    invoice_id: Filled = ABSENT
    order_id: Filled = ABSENT
    qr_code: Text = ABSENT
    qr_code_url: Picture
    app_link: Text = ABSENT
    amount: Number = ABSENT
    client_id: Text = ABSENT
    current_balance: Number = ABSENT
    qr_expires_at: Text = ABSENT
    invoice_expires_at: Text = ABSENT
    qr_lifetime_seconds: Number = ABSENT
    invoice_lifetime_seconds: Number = ABSENT
    error: Text | None = None


class Payment(Read):
    success: Yes = ABSENT
    status: PaymentStatus
    status_text: Text = ABSENT
    amount: Number = ABSENT
    paid_amount: Number | None = None
    invoice_id: Text = ABSENT
    qr_expired: bool = ABSENT
    invoice_expired: bool = ABSENT
    qr_expires_at: Text = ABSENT
    invoice_expires_at: Text = ABSENT
    can_proceed: bool = ABSENT
    can_start_charging: bool = ABSENT
    last_status_check_at: Text | None = None
    needs_callback_check: bool = ABSENT
    error: Text | None = None

    def is_paid(self) -> bool:
        return self.status == 1


class Balance(Read):
    """R3 reads Supabase; what it would take, should it ask."""

    success: Yes
    balance: Number


ROUTES: dict[str, Any] = {
    "start": Start,
    "stop": Stop,
    "status": Status,
    "station": Station,
    "locations": Locations,
    "top_up": TopUp,
    "payment": Payment,
    "balance": Balance,
}

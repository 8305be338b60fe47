"""R5 (2025-12-04): flat or nested status, computed station words, dates of payments ending in Z."""

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from tests.old_api.revisions import r3
from tests.old_api.revisions.types import (
    ABSENT,
    Filled,
    LimitType,
    LocationWord,
    NewStationWord,
    Number,
    PaymentStatus,
    Picture,
    Read,
    SessionWord,
    Text,
    Yes,
    Zulu,
)


class Start(r3.Start):
    message: Text | None = None


class Stop(r3.Stop):
    message: Text | None = None


class Session(Read):
    status: SessionWord
    station_id: Text
    start_time: Text
    id: Text = ABSENT
    session_id: Text = ABSENT
    connector_id: Number = ABSENT
    energy_consumed: Number = ABSENT
    current_cost: Number = ABSENT
    limit_type: LimitType = ABSENT
    stop_time: Text | None = None
    reserved_amount: Number = ABSENT
    limit_value: Number = ABSENT
    limit_reached: bool = ABSENT
    limit_percentage: Number = ABSENT
    rate_per_kwh: Number = ABSENT
    session_fee: Number = ABSENT
    ocpp_transaction_id: Number = ABSENT
    transaction_id: Text = ABSENT
    ocpp_status: Text = ABSENT
    meter_start: Number = ABSENT
    meter_current: Number = ABSENT
    charging_duration_minutes: Number = ABSENT


class Status(Read):
    """Nested, flat, or both; flat members beside the session are checked too."""

    success: Yes
    session: Session = ABSENT
    status: Text = ABSENT
    session_id: Text = ABSENT
    station_id: Text = ABSENT
    client_id: Text = ABSENT
    connector_id: Number = ABSENT
    start_time: Text = ABSENT
    stop_time: Text | None = None
    duration_minutes: Number = ABSENT
    energy_consumed: Number = ABSENT
    energy_consumed_kwh: Number = ABSENT
    current_cost: Number = ABSENT
    cost: Number = ABSENT
    current_amount: Number = ABSENT
    final_amount_som: Number = ABSENT
    amount_charged_som: Number = ABSENT
    reserved_amount: Number = ABSENT
    limit_type: LimitType = ABSENT
    limit_value: Number = ABSENT
    progress_percent: Number = ABSENT
    charging_power: Number = ABSENT
    station_current: Number = ABSENT
    station_voltage: Number = ABSENT
    ev_battery_soc: Number = ABSENT
    ev_current: Number = ABSENT
    ev_voltage: Number = ABSENT
    temperatures: dict[str, Number] = ABSENT
    meter_start: Number = ABSENT
    meter_current: Number = ABSENT
    station_online: bool = ABSENT
    last_update: Text | None = None
    transaction_id: Text = ABSENT
    ocpp_transaction_id: Text | None = None
    rate_per_kwh: Number = ABSENT
    ocpp_status: Text = ABSENT
    has_meter_data: bool = ABSENT
    error: Text | None = None
    message: Text | None = None

    @model_validator(mode="after")
    def _has_a_status(self) -> Self:
        if self.session is ABSENT and self.status is ABSENT:
            raise ValueError("neither a session nor a status")
        return self


class Connector(Read):
    id: Number
    type: Text
    status: Text
    available: bool
    power_kw: Number = ABSENT
    error: Text | None = None


class Station(Read):
    """Without a connector or the location's name: "not found"."""

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
    tariff_rub_kwh: Number
    session_fee: Number
    currency: Text
    working_hours: Text
    message: Text | None = None


class ConnectorsSummary(Read):
    available: Number
    occupied: Number
    faulted: Number
    total: Number = ABSENT


class Tariff(Read):
    price_per_kwh: Number
    session_fee: Number
    currency: Literal["KGS"]


class ListedStation(Read):
    """A free station is `available`; with `active` the whole list is refused."""

    id: Text
    serial_number: Text
    model: Text
    manufacturer: Text
    status: NewStationWord
    power_capacity: Number
    connectors_count: Number
    connector_types: list[Text]
    price_per_kwh: Number
    tariff: Tariff
    connectors_summary: ConnectorsSummary


class Coordinates(Read):
    latitude: Number | None
    longitude: Number | None


class Location(Read):
    id: Text
    name: Text
    address: Text
    city: Text | None = None
    country: Text | None = None
    coordinates: Coordinates
    status: LocationWord
    stations_summary: r3.StationsSummary
    connectors_summary: ConnectorsSummary
    stations: list[ListedStation] = ABSENT


class Locations(Read):
    success: Yes
    total: Number
    locations: list[Location]


class TopUp(Read):
    """A 200 with `success` false would be an empty QR that is never polled."""

    success: Yes
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
    """A date with another zone than Z never becomes "paid"."""

    success: Yes
    status: PaymentStatus
    status_text: Text = ABSENT
    amount: Number = ABSENT
    paid_amount: Number | None = None
    invoice_id: Text = ABSENT
    qr_expired: bool = ABSENT
    invoice_expired: bool = ABSENT
    qr_expires_at: Zulu | None = None
    invoice_expires_at: Zulu | None = None
    can_proceed: bool = ABSENT
    can_start_charging: bool = ABSENT
    last_status_check_at: Zulu | None = None
    needs_callback_check: bool = ABSENT
    error: Text | None = None

    def is_paid(self) -> bool:
        return self.status == 1


class Balance(Read):
    success: Yes
    balance: Number
    client_id: Text = ABSENT
    currency: Text | None = None
    last_topup_at: Text | None = None
    total_spent: Number | None = None


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

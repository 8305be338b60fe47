"""The answers of the app's admin pages, as the OpenAPI document shows them.

A member with a default may be absent; none is null.
"""

from typing import Annotated, Final, Literal

from pydantic import BaseModel, Field

from evpower.foundation.openapi import Responses, json_response

_Som = Annotated[float, Field(description="som")]
_Kwh = Annotated[float, Field(description="kWh")]
_Kw = Annotated[float, Field(description="kW")]
_Time = Annotated[str, Field(description="UTC, ends in Z")]


class AdminAnswer(BaseModel):
    """An answer; each route has its own `data`."""

    success: Literal[True]
    message: Annotated[str, Field(description="For a person; empty where nothing was changed")]


class StationCounts(BaseModel):
    """How many stations there are; `error`: with a faulted connector."""

    total: int
    online: int
    offline: int
    error: int


class AdminSessionCounts(BaseModel):
    """How many sessions are open, and began today."""

    active: int
    today: int


class Brought(BaseModel):
    """What some days brought."""

    energy_kwh: _Kwh
    revenue_som: _Som


class PeriodBrought(Brought):
    """What a period brought, and when it was: days of Asia/Bishkek."""

    begins: Annotated[str, Field(alias="from")]
    to: _Time


class Stats(BaseModel):
    """The figures."""

    stations: StationCounts
    sessions: AdminSessionCounts
    today: Brought
    period: PeriodBrought


class AdminConnector(BaseModel):
    """A connector of a station."""

    id: int
    connector_number: int
    connector_type: str
    power_kw: _Kw
    status: str
    error_code: str = ""


class AdminStation(BaseModel):
    """A station."""

    id: str
    serial_number: str
    model: str
    manufacturer: str
    location_id: str
    location_name: str
    location_address: str
    status: Literal["active", "inactive", "maintenance"]
    is_available: bool
    is_online: bool
    power_capacity: _Kw
    price_per_kwh: _Som
    session_fee: _Som
    currency: str
    connectors_count: int
    connectors: list[AdminConnector]
    last_heartbeat_at: _Time = ""
    firmware_version: str = ""
    created_at: _Time
    updated_at: _Time


class AdminStationPage(BaseModel):
    """A page of stations."""

    stations: list[AdminStation]
    total: int
    limit: int
    offset: int


class AdminChangedStation(BaseModel):
    """A station after a change."""

    id: str
    status: Literal["active", "inactive", "maintenance"]
    is_available: bool
    price_per_kwh: _Som
    session_fee: _Som


class AdminSession(BaseModel):
    """A session; `state` is the finer word."""

    id: str
    station_id: str
    station_name: str
    location_name: str = ""
    location_address: str = ""
    client_id: str
    client_email: str = ""
    client_phone: str = ""
    status: Literal["started", "stopped", "error"]
    state: str
    energy_kwh: _Kwh
    amount_som: _Som
    duration_minutes: int
    limit_type: Literal["energy", "amount", "none"]
    limit_value: Annotated[float, Field(description="kWh or som; 0 for none")]
    start_time: _Time
    stop_time: _Time = ""
    created_at: _Time


class AdminSessionPage(BaseModel):
    """A page of sessions."""

    sessions: list[AdminSession]
    limit: int
    offset: int
    has_more: bool


class AdminClient(BaseModel):
    """A client with its money; a closed one is `blocked` and `anonymized`."""

    id: str
    name: str
    email: str
    phone: str
    balance: _Som
    status: Literal["active", "blocked"]
    sessions_count: int
    total_energy_kwh: _Kwh
    total_spent_som: _Som
    anonymized: bool
    created_at: _Time
    updated_at: _Time


class ClientPage(BaseModel):
    """A page of clients."""

    clients: list[AdminClient]
    total: int
    limit: int
    offset: int


class ClientWithSessions(AdminClient):
    """A client with its newest sessions."""

    recent_sessions: list[AdminSession]


class CreditedBalance(BaseModel):
    """A balance before and after a credit; `adjustment` is 0 for a receipt of before."""

    client_id: str
    old_balance: _Som
    new_balance: _Som
    adjustment: _Som
    reason: Annotated[str, Field(description="The receipt's number")]


class ChangedStatus(BaseModel):
    """A client's status before and after a change."""

    client_id: str
    old_status: Literal["active", "blocked"]
    new_status: Literal["active", "blocked"]


class StatsAnswer(AdminAnswer):
    """The figures."""

    data: Stats


class StationsAnswer(AdminAnswer):
    """A page of stations."""

    data: AdminStationPage


class StationAnswer(AdminAnswer):
    """One station."""

    data: AdminStation


class StationChangeAnswer(AdminAnswer):
    """A changed station."""

    data: AdminChangedStation


class SessionsAnswer(AdminAnswer):
    """A page of sessions."""

    data: AdminSessionPage


class SessionAnswer(AdminAnswer):
    """One session."""

    data: AdminSession


class ClientsAnswer(AdminAnswer):
    """A page of clients."""

    data: ClientPage


class ClientAnswer(AdminAnswer):
    """One client."""

    data: ClientWithSessions


class CreditAnswer(AdminAnswer):
    """A credited balance."""

    data: CreditedBalance


class StatusAnswer(AdminAnswer):
    """A changed status."""

    data: ChangedStatus


def _of(model: type[AdminAnswer]) -> Responses:
    return {200: json_response("The data", model)}


STATS: Final = _of(StatsAnswer)
STATIONS: Final = _of(StationsAnswer)
STATION: Final = _of(StationAnswer)
STATION_CHANGE: Final = _of(StationChangeAnswer)
SESSIONS: Final = _of(SessionsAnswer)
SESSION: Final = _of(SessionAnswer)
CLIENTS: Final = _of(ClientsAnswer)
CLIENT: Final = _of(ClientAnswer)
CREDIT: Final = _of(CreditAnswer)
STATUS: Final = _of(StatusAnswer)

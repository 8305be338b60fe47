"""The old charging calls in the OpenAPI document; the routes themselves build bytes."""

from datetime import datetime
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from evpower.charging import CostPartRow
from evpower.foundation.openapi import Responses, json_response, json_schema, problem

_Money = Annotated[float, Field(description="som, at most 2 decimals")]
_Energy = Annotated[float, Field(description="kWh, at most 3 decimals")]
_Time = Annotated[datetime, Field(description="UTC, ending in Z")]
_Minutes = Annotated[int, Field(ge=0, description="Whole minutes")]
_Percent = Annotated[float, Field(ge=0, le=100)]
_Plate = Annotated[
    str, Field(min_length=1, max_length=16, description="Of the vehicle", default_factory=str)
]
_LimitType = Literal["energy", "amount", "none"]
_State = Annotated[
    Literal[
        "requested", "starting", "charging", "stopping", "finished", "settled",
        "expired", "refused", "cancelled", "failed",
    ],
    Field(description="The finer word"),
]  # fmt: skip
_Status = Literal["started", "stopped"]


class StartBody(BaseModel):
    """The request; `charging_request` parses it, with exact numbers."""

    station_id: Annotated[
        str,
        Field(
            min_length=1,
            max_length=255,
            description="Any of the station's names: OCPP id, old id, serial number, post code",
            json_schema_extra={"example": "EVP-001-01"},
        ),
    ]
    connector_id: Annotated[int, Field(ge=1, le=1000)]
    energy_kwh: Annotated[float | None, Field(gt=0, le=200, description="Stop at this energy")] = (
        None
    )
    amount_som: Annotated[
        float | None, Field(gt=0, le=100_000, description="Stop at this cost; caps the bill")
    ] = None
    soc_percent: Annotated[
        int | None, Field(ge=1, le=100, description="Stop at this charge of the car")
    ] = None
    vehicle_plate: _Plate
    client_id: Annotated[
        str | None, Field(description="Optional; the token's subject, or an old id")
    ] = None


class Pricing(BaseModel):
    """The price frozen for the session, as it applies at its start."""

    rate_per_kwh: _Money
    rate_per_minute: _Money
    session_fee: _Money
    parking_fee_per_minute: _Money
    currency: str
    active_rule: Annotated[str, Field(description="The tariff's name")]
    rule_details: dict[str, str]
    time_based: bool
    tariff_plan_id: Annotated[str, Field(description="The plan's code")]
    tariff_version: int
    discount_percent: Annotated[
        float,
        Field(description="The client's own, off `energy` and `time` unless it names other parts"),
    ] = 0
    parking_grace_minutes: Annotated[
        int, Field(description="How long the car may stay free of charge when it is done")
    ] = 0
    parking_maximum: Annotated[_Money, Field(description="Of a session's parking")] = 0
    next_rate_change: Annotated[_Time, Field(default_factory=datetime.now)]


class Started(BaseModel):
    """A session that begins as soon as the car is plugged in."""

    success: Literal[True]
    session_id: UUID
    station_id: str
    client_id: UUID
    connector_id: int
    status: Literal["started"]
    state: _State
    limit_type: _LimitType
    limit_value: Annotated[float, Field(description="kWh or som; 0 of none")]
    rate_per_kwh: _Money
    session_fee: _Money
    pricing: Pricing
    estimated_cost: _Money
    reserved_amount: Annotated[_Money, Field(description="som on hold for this session")]
    required_amount: _Money
    current_balance: _Money
    new_balance: Annotated[_Money, Field(description="som: the balance less what is on hold")]
    cost_parts: Annotated[list[CostPartRow], Field(description="What it costs already")]
    station_online: bool
    message: str
    energy_kwh: _Energy = 0
    amount_som: _Money = 0
    soc_percent: int = 0
    limit_soc_percent: int = 0


class StopBody(BaseModel):
    """The request."""

    session_id: Annotated[str, Field(min_length=1, max_length=100)]


class Stopped(BaseModel):
    """A session that was stopped: its bill, or the cost so far while `final` is false."""

    success: Literal[True]
    session_id: UUID
    station_id: str
    client_id: UUID
    connector_id: int
    status: Literal["stopped"]
    state: _State
    start_time: _Time
    stop_time: _Time
    duration_minutes: _Minutes
    energy_consumed: _Energy
    rate_per_kwh: _Money
    session_fee: _Money
    reserved_amount: _Money
    actual_cost: _Money
    final_cost: _Money
    refund_amount: Annotated[_Money, Field(description="The part of the hold that is free again")]
    refunded_amount: _Money
    additional_charge: Annotated[_Money, Field(description="The cost beyond the hold")]
    new_balance: _Money
    station_online: bool
    is_estimated: bool
    final: Annotated[
        bool,
        Field(description="False: the station's reading is not there yet, or is being checked"),
    ]
    cost_parts: Annotated[list[CostPartRow], Field(description="They add up to the cost")]
    message: str


class Temperatures(BaseModel):
    """Degrees Celsius; what the station does not report is absent."""

    station_body: int = 0
    station_outlet: int = 0
    station_inlet: int = 0


class _Flat(BaseModel):
    success: Literal[True]
    session_id: UUID
    station_id: str
    client_id: UUID
    status: _Status
    state: _State
    connector_id: int
    start_time: Annotated[_Time, Field(description="When it was requested, until it starts")]
    duration_minutes: _Minutes
    energy_consumed: _Energy
    energy_consumed_kwh: _Energy
    current_energy: _Energy
    cost: _Money
    current_cost: _Money
    current_amount: _Money
    final_amount_som: _Money
    amount_charged_som: Annotated[
        float,
        Field(description="som: the cost so far; once the bill is there what the wallet paid"),
    ]
    limit_type: _LimitType
    limit_value: float
    limit_reached: bool
    limit_percentage: _Percent
    progress_percent: _Percent
    charging_power: Annotated[float, Field(description="kW")]
    station_current: Annotated[float, Field(description="A")]
    station_voltage: Annotated[float, Field(description="V")]
    ev_battery_soc: Annotated[int, Field(description="Percent; absent while unknown")] = 0
    ev_current: Annotated[float, Field(description="A")] = 0
    ev_voltage: Annotated[float, Field(description="V")] = 0
    temperatures: Temperatures
    meter_start: Annotated[int, Field(description="Wh")]
    meter_current: Annotated[int, Field(description="Wh")]
    has_meter_data: bool
    station_online: bool
    rate_per_kwh: _Money
    session_fee: _Money
    reserved_amount: _Money
    is_estimated: bool
    message: str
    cost_parts: Annotated[list[CostPartRow], Field(description="They add up to the cost")]
    parked_since: Annotated[
        datetime,
        Field(description="Since when the car takes nothing", default_factory=datetime.now),
    ]
    parking_fee_from: Annotated[
        datetime, Field(description="From when on that costs", default_factory=datetime.now)
    ]
    limit_soc_percent: Annotated[int, Field(description="The requested charge of the car")] = 0
    stop_time: Annotated[_Time, Field(default_factory=datetime.now)]
    last_update: Annotated[_Time, Field(default_factory=datetime.now)]
    transaction_id: str = ""
    ocpp_transaction_id: str = ""
    ocpp_status: Literal["Started", "Stopped"] = "Started"
    start_failure: Annotated[str, Field(description="The code of why it did not start")] = ""
    end_reason: Annotated[str, Field(description="The code of why it ended")] = ""
    vehicle_plate: _Plate


class ActiveSession(_Flat):
    """A client's open session. What is unknown is absent, never null."""

    model_config = ConfigDict(title="ActiveSession")


class NestedSession(BaseModel):
    """The same session for older apps."""

    id: UUID
    session_id: UUID
    status: _Status
    station_id: str
    client_id: UUID
    connector_id: int
    start_time: _Time
    stop_time: Annotated[_Time, Field(default_factory=datetime.now)]
    energy_consumed: _Energy
    energy_kwh: _Energy
    current_cost: _Money
    current_amount: _Money
    power_kw: float
    charging_duration_minutes: _Minutes
    duration_seconds: int
    reserved_amount: _Money
    rate_per_kwh: _Money
    session_fee: _Money
    limit_type: _LimitType
    limit_value: float
    limit_reached: bool
    limit_percentage: _Percent
    progress_percent: _Percent
    ocpp_transaction_id: int = 0
    meter_start: int
    meter_current: int
    ev_battery_soc: int = 0
    station_online: bool


class ChargingStatus(_Flat):
    """A session, flat and under `session`."""

    session: NestedSession


def _body(model: type[BaseModel]) -> dict[str, Any]:
    return {
        "security": [{"supabaseToken": []}],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": json_schema(model)}},
        },
    }


_TOKEN: Final = problem("`missing_token`, `invalid_token`, `token_expired`")
START_BODY: Final = _body(StartBody)
STOP_BODY: Final = _body(StopBody)
CLIENT_ONLY: Final[dict[str, Any]] = {"security": [{"supabaseToken": []}]}
START_RESPONSES: Final[Responses] = {
    200: json_response("The session; the same request within 60 s gets the same one", Started),
    401: _TOKEN,
    402: problem("`insufficient_balance` (also with a debt), `zero_balance`, "
                 "`amount_exceeds_balance`"),
    403: problem("`forbidden`, `client_blocked`, `client_deleted`"),
    404: problem("`station_not_found`, `connector_not_found`, `client_not_found`"),
    409: problem(
        "`station_offline`, `station_unavailable`, `station_free`, `connector_occupied`, "
        "`unplug_first`, `plug_in_first`, `session_already_active`, `tariff_missing`"
    ),
    422: problem("`invalid_request`, `invalid_energy`, `invalid_amount`"),
}  # fmt: skip
STOP_RESPONSES: Final[Responses] = {
    200: json_response("The bill, after at most 7 s; again for a session that ended", Stopped),
    401: _TOKEN,
    403: problem("`forbidden`: another client's session"),
    404: problem("`session_not_found`"),
    409: problem("`session_not_ours`: another system runs it"),
    422: problem("`invalid_request`"),
}
STATUS_RESPONSES: Final[Responses] = {
    200: json_response("The session", ChargingStatus),
    401: _TOKEN,
    403: problem("`forbidden`: another client's session"),
    404: problem("`session_not_found`"),
}
ACTIVE_RESPONSES: Final[Responses] = {
    200: json_response("The open session", ActiveSession),
    401: _TOKEN,
    403: problem("`forbidden`"),
    404: problem("`no_active_session`"),
}

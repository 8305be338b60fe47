"""The calls of the older family `/api/...` in the OpenAPI document; null where it sent null."""

from datetime import datetime
from typing import Annotated, Final, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from evpower.api.legacy.payment_schemas import TopUpBegun
from evpower.api.legacy.station_schemas import StationPage
from evpower.foundation.openapi import Responses, json_response, problem

_Money = Annotated[float, Field(description="som, at most 2 decimals")]
_Energy = Annotated[float, Field(description="kWh, at most 3 decimals")]
_Time = Annotated[datetime, Field(description="UTC, ending in Z")]


class MobileRefusal(BaseModel):
    """Why the call was refused; some codes have further members."""

    model_config = ConfigDict(extra="allow")

    success: Literal[False]
    error: Annotated[str, Field(description="The code that the old API had")]
    message: Annotated[str, Field(description="For a person")]
    error_code: Annotated[str, Field(description="The finer code")]


class MobileStarted(BaseModel):
    """A session that begins as soon as the car is plugged in."""

    success: Literal[True]
    session_id: UUID
    station_id: str
    client_id: UUID
    connector_id: int
    energy_kwh: _Energy | None
    rate_per_kwh: _Money
    estimated_cost: _Money
    reserved_amount: _Money
    new_balance: _Money
    message: str
    station_online: bool


class MobileStopped(BaseModel):
    """A session that was stopped: its bill, or the cost so far while `final` is false."""

    success: Literal[True]
    session_id: UUID
    station_id: str
    client_id: UUID
    start_time: _Time
    stop_time: _Time
    energy_consumed: _Energy
    rate_per_kwh: _Money
    reserved_amount: _Money
    actual_cost: _Money
    refund_amount: _Money
    new_balance: _Money
    message: str
    station_online: bool
    final: bool


class MobileTemperatures(BaseModel):
    """Degrees Celsius; 0 while unknown."""

    station_body: int
    station_outlet: int
    station_inlet: int


class MobileStatus(BaseModel):
    """A session as it stands, flat."""

    success: Literal[True]
    session_id: UUID
    station_id: str
    client_id: UUID
    status: Literal["started", "stopped"]
    start_time: _Time
    stop_time: _Time | None
    duration_minutes: int
    energy_consumed: _Energy
    energy_consumed_kwh: _Energy
    current_energy: _Energy
    cost: _Money
    final_amount_som: _Money
    amount_charged_som: Annotated[
        float,
        Field(description="som: the cost so far; once the bill is there what the wallet paid"),
    ]
    current_amount: _Money
    limit_type: Literal["energy", "amount", "none"]
    limit_value: float
    progress_percent: float
    charging_power: float
    station_current: float
    station_voltage: float
    ev_battery_soc: int
    ev_current: float
    ev_voltage: float
    temperatures: MobileTemperatures
    meter_start: int
    meter_current: int
    station_online: bool
    last_update: _Time | None
    transaction_id: str | None
    ocpp_transaction_id: int | None
    ocpp_status: Literal["Started", "Stopped"] | None
    rate_per_kwh: _Money
    has_meter_data: bool
    message: str


class MobileBalance(BaseModel):
    """A client's balance."""

    client_id: UUID
    balance: _Money
    currency: str
    last_topup_at: datetime | None
    total_spent: _Money


class MobileTopUp(TopUpBegun):
    """An invoice to pay."""

    error: None


class MobilePayment(BaseModel):
    """A payment as the app polls it."""

    success: Literal[True]
    status: Annotated[int, Field(ge=0, le=4)]
    status_text: Literal["processing", "approved", "canceled", "refunded", "partial_refund"]
    amount: _Money
    paid_amount: _Money | None
    invoice_id: str
    can_proceed: bool
    can_start_charging: Literal[False]
    qr_expired: bool
    invoice_expired: bool
    qr_expires_at: _Time
    invoice_expires_at: _Time
    last_status_check_at: _Time | None
    needs_callback_check: bool
    error: None


class MobileH2hStatus(BaseModel):
    """A payment in the words of card payments."""

    success: Literal[True]
    status: Literal["pending", "approved", "canceled", "refunded"]
    final: bool
    detail: str


class MobileCheck(BaseModel):
    """The provider is asked within seconds."""

    success: Literal[True]
    message: str
    invoice_id: str
    check_type: Literal["manual"]
    estimated_completion_seconds: int


class MobileCanceled(BaseModel):
    """A payment that was canceled."""

    success: Literal[True]
    message: str
    invoice_id: str
    client_id: UUID
    amount: _Money
    previous_status: Literal["processing"]
    new_status: Literal["canceled"]
    provider: str


_TOKEN: Final = problem("`unauthorized`: no token, or one that is not valid")
_OTHER: Final = problem("`forbidden`, `client_blocked`, `client_deleted`")
_SHAPE: Final = problem("The body has another shape")


def _responses(description: str, *models: type[BaseModel]) -> Responses:
    return {200: json_response(description, *models, MobileRefusal), 401: _TOKEN, 403: _OTHER}


START_RESPONSES: Final[Responses] = {
    **_responses(
        "The session, or why there is none: `client_not_found`, `station_unavailable`, "
        "`zero_balance`, `insufficient_balance`, `amount_exceeds_balance`, `connector_not_found`, "
        "`connector_occupied`, `session_already_active`",
        MobileStarted,
    ),
    422: _SHAPE,
}
STOP_RESPONSES: Final[Responses] = {
    **_responses("The bill, or why not: `session_not_found`", MobileStopped),
    422: _SHAPE,
}
STATUS_RESPONSES: Final = _responses("The session, or `session_not_found`", MobileStatus)
STATION_RESPONSES: Final[Responses] = {
    200: json_response("The station, or `station_not_found`", StationPage, MobileRefusal)
}
BALANCE_RESPONSES: Final[Responses] = {
    200: json_response("The balance now", MobileBalance),
    401: _TOKEN,
    403: _OTHER,
    404: problem("`client_not_found`"),
}
TOP_UP_RESPONSES: Final[Responses] = {
    **_responses(
        "The invoice, or why there is none: `client_not_found`, `payment_provider_error`, "
        "`minimum_amount_required`",
        MobileTopUp,
    ),
    422: _SHAPE,
    429: problem("`too_many_requests`; `too_many_unpaid`"),
}
PAYMENT_RESPONSES: Final = _responses(
    "The payment, or `payment_not_found` with status 0", MobilePayment
)
CHECK_RESPONSES: Final = _responses(
    "It is asked; or `payment_not_found`, `payment_expired`, `payment_completed`", MobileCheck
)
CANCEL_RESPONSES: Final = _responses(
    "The payment; or `payment_not_found`, `cannot_cancel`", MobileCanceled
)
H2H_RESPONSES: Final = _responses("The payment, or `payment_not_found`", MobileH2hStatus)
REFUSED_RESPONSES: Final[Responses] = {
    200: json_response(
        "`card_not_available`, `h2h_not_available` or `token_not_available`, always", MobileRefusal
    )
}

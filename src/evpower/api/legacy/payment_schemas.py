"""The old payment calls in the OpenAPI document; the routes themselves build bytes."""

from datetime import datetime
from typing import Annotated, Any, Final, Literal
from uuid import UUID, uuid4

from pydantic import BaseModel, Field

from evpower.foundation.openapi import Responses, json_response, json_schema, problem

_Money = Annotated[float, Field(description="som, at most 2 decimals")]
_Time = Annotated[datetime, Field(description="UTC, ending in Z")]


class TopUpBegun(BaseModel):
    """An invoice to pay."""

    success: Literal[True]
    invoice_id: str
    order_id: str
    qr_code: Annotated[str, Field(description="What the QR says")]
    qr_code_url: Annotated[str, Field(description="A picture of it")]
    app_link: Annotated[str, Field(description="Opens the bank's page or app")]
    payment_url: Annotated[str, Field(description="The same, for older apps")]
    amount: _Money
    client_id: UUID
    current_balance: _Money
    qr_expires_at: _Time
    invoice_expires_at: _Time
    qr_lifetime_seconds: int
    invoice_lifetime_seconds: int


class TopUpBody(BaseModel):
    """The request; `top_up_request` parses it, with exact numbers."""

    amount: Annotated[
        float,
        Field(gt=0, description="som, at most 2 decimals", json_schema_extra={"example": 500}),
    ]
    currency: Literal["KGS"] | None = None
    description: Annotated[str, Field(max_length=500)] | None = None
    client_id: (
        Annotated[str, Field(description="Optional; the token's subject, or an old id")] | None
    ) = None


class PolledPayment(BaseModel):
    """A payment as the app polls it."""

    success: Literal[True]
    status: Annotated[int, Field(ge=0, le=4)]
    status_text: Literal["processing", "approved", "canceled", "refunded", "partial_refund"]
    amount: _Money
    paid_amount: Annotated[_Money, Field(description="Absent until it is paid")] = 0
    invoice_id: str
    can_proceed: bool
    can_start_charging: bool
    qr_expired: bool
    invoice_expired: bool
    qr_expires_at: _Time
    invoice_expires_at: _Time
    last_status_check_at: Annotated[_Time, Field(default_factory=datetime.now)]
    needs_callback_check: bool


class UnknownPayment(BaseModel):
    """The caller has no payment of this id: answered as canceled, so that the app stops polling."""

    success: Literal[True]
    status: Literal[2]
    status_text: Literal["canceled"]
    amount: _Money
    invoice_id: str
    can_proceed: Literal[False]
    can_start_charging: Literal[False]
    qr_expired: Literal[True]
    invoice_expired: Literal[True]
    needs_callback_check: Literal[False]
    error_code: Literal["payment_not_found"]
    message: str


TOP_UP_BODY: Final[dict[str, Any]] = {
    "security": [{"supabaseToken": []}],
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": json_schema(TopUpBody)}},
    },
}
TOP_UP_RESPONSES: Final[Responses] = {
    200: json_response("The invoice", TopUpBegun),
    401: problem("`missing_token`, `invalid_token`, `token_expired`"),
    403: problem("`forbidden`, `client_blocked`, `client_deleted`"),
    404: problem("`client_not_found`"),
    409: problem("`payment_provider_error`: the provider refused; `idempotency_conflict`"),
    413: problem("`too_large`"),
    422: problem(
        "`invalid_amount`, `minimum_amount_required`, `maximum_amount_exceeded`, `invalid_request`"
    ),
    429: problem(
        "`too_many_requests`; `too_many_unpaid`: 50 top-ups begun within a day wait for payment, "
        "or 5 begun without a token"
    ),
    503: problem(
        "`payment_provider_error`: it is not known whether an invoice was made; its id is "
        "`invoice_id`, the same Idempotency-Key resumes it"
    ),
}


class H2hStatus(BaseModel):
    """A payment in the words of card payments."""

    success: Literal[True]
    transaction_id: str
    invoice_id: str
    status: Literal["pending", "approved", "canceled", "refunded"]
    client_id: Annotated[UUID, Field(description="Absent without a token", default_factory=uuid4)]
    amount: _Money


class CheckBegun(BaseModel):
    """The provider is asked within seconds."""

    success: Literal[True]
    message: str
    invoice_id: str


class CanceledPayment(BaseModel):
    """A payment that was canceled."""

    success: Literal[True]
    message: str
    invoice_id: str
    status: Literal["canceled"]


_UNAUTHENTICATED: Final = problem("`missing_token`, `invalid_token`, `token_expired`")
CLIENT_ONLY: Final[dict[str, Any]] = {"security": [{"supabaseToken": []}]}
_NO_CLIENT: Final = problem("`forbidden`: only the payment's client may do this")
CHECK_RESPONSES: Final[Responses] = {
    200: json_response("It is asked", CheckBegun),
    401: _UNAUTHENTICATED,
    403: _NO_CLIENT,
    404: problem("`payment_not_found`"),
    409: problem("`payment_not_processing`, with `status`"),
}
CANCEL_RESPONSES: Final[Responses] = {
    200: json_response("The payment", CanceledPayment),
    401: _UNAUTHENTICATED,
    403: _NO_CLIENT,
    404: problem("`payment_not_found`"),
    409: problem("`payment_not_cancellable`, with `status`"),
    503: problem("`payment_provider_error`: the provider did not answer, it may still be paid"),
}
H2H_RESPONSES: Final[Responses] = {
    200: json_response("The payment", H2hStatus),
    401: problem("`missing_token`, `invalid_token`, `token_expired`"),
    404: problem("`payment_not_found`"),
}
STATUS_RESPONSES: Final[Responses] = {
    200: json_response(
        "The payment; one that the caller does not have is answered as canceled",
        PolledPayment,
        UnknownPayment,
    ),
    401: problem("`missing_token`, `invalid_token`, `token_expired`"),
}

"""The old payment calls in the OpenAPI document; the routes themselves build bytes."""

from datetime import datetime
from typing import Annotated, Any, Final, Literal
from uuid import UUID

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
    amount: _Money
    client_id: UUID
    current_balance: _Money
    qr_expires_at: _Time
    invoice_expires_at: _Time
    qr_lifetime_seconds: int
    invoice_lifetime_seconds: int


class TopUpNotBegun(BaseModel):
    """No invoice was made, or it is not known whether it was."""

    success: Literal[False]
    error: Literal["client_not_found", "payment_provider_error"]
    message: str
    client_id: UUID
    invoice_id: str = ""
    amount: _Money = 0
    current_balance: _Money = 0


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
    paid_amount: _Money | None
    invoice_id: str
    can_proceed: bool
    can_start_charging: bool
    qr_expired: bool
    invoice_expired: bool
    qr_expires_at: _Time
    invoice_expires_at: _Time
    last_status_check_at: _Time | None
    needs_callback_check: bool
    error: None


class UnknownPayment(BaseModel):
    """No payment has this id."""

    success: Literal[False]
    status: Literal[0]
    status_text: Literal["processing"]
    invoice_id: str
    can_proceed: Literal[False]
    can_start_charging: Literal[False]
    error: Literal["payment_not_found"]
    message: str


TOP_UP_BODY: Final[dict[str, Any]] = {
    "security": [{"supabaseToken": []}],
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": json_schema(TopUpBody)}},
    },
}
TOP_UP_RESPONSES: Final[Responses] = {
    200: json_response(
        "The invoice, or `success: false` with `client_not_found`, `payment_provider_error`",
        TopUpBegun,
        TopUpNotBegun,
    ),
    401: problem("`missing_token`, `invalid_token`, `token_expired`"),
    403: problem("`forbidden`, `client_blocked`, `client_closed`, `client_deleted`"),
    413: problem("`too_large`"),
    422: problem(
        "`invalid_amount`, `minimum_amount_required`, `maximum_amount_exceeded`, `invalid_request`"
    ),
    429: problem(
        "`too_many_requests`; `too_many_unpaid`: 50 top-ups begun within a day wait for payment"
    ),
}
STATUS_RESPONSES: Final[Responses] = {
    200: json_response(
        "The payment, or `success: false` with `payment_not_found`", PolledPayment, UnknownPayment
    ),
    401: problem("`missing_token`, `invalid_token`, `token_expired`"),
    403: problem("`forbidden`: another client's payment"),
}

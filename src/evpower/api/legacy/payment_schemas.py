"""What the OpenAPI document says of the old payment calls; the routes themselves build bytes."""

from typing import Any, Final

OldResponses = dict[int | str, dict[str, Any]]

_MONEY: Final = {"type": "number", "description": "som, at most 2 decimals"}
_TIME: Final = {"type": "string", "format": "date-time", "description": "UTC, ending in Z"}


def _nullable(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}]}


def _object(required: list[str], properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "required": required, "properties": properties}


def _answer(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _problem(description: str) -> dict[str, Any]:
    return {"description": description}


_BEGUN: Final = _object(
    [
        "success", "invoice_id", "order_id", "qr_code", "qr_code_url", "app_link", "amount",
        "client_id", "current_balance", "qr_expires_at", "invoice_expires_at",
        "qr_lifetime_seconds",
        "invoice_lifetime_seconds",
    ],
    {
        "success": {"type": "boolean", "const": True},
        "invoice_id": {"type": "string"},
        "order_id": {"type": "string"},
        "qr_code": {"type": "string", "description": "What the QR says"},
        "qr_code_url": {"type": "string", "description": "A picture of it"},
        "app_link": {"type": "string", "description": "Opens the bank's page or app"},
        "amount": _MONEY,
        "client_id": {"type": "string", "format": "uuid"},
        "current_balance": _MONEY,
        "qr_expires_at": _TIME,
        "invoice_expires_at": _TIME,
        "qr_lifetime_seconds": {"type": "integer"},
        "invoice_lifetime_seconds": {"type": "integer"},
    },
)  # fmt: skip
_NOT_BEGUN: Final = _object(
    ["success", "error", "message", "client_id"],
    {
        "success": {"type": "boolean", "const": False},
        "error": {"type": "string", "enum": ["client_not_found", "payment_provider_error"]},
        "message": {"type": "string"},
        "client_id": {"type": "string", "format": "uuid"},
        "invoice_id": {"type": "string"},
        "amount": _MONEY,
        "current_balance": _MONEY,
    },
)
TOP_UP_BODY: Final[dict[str, Any]] = {
    "security": [{"supabaseToken": []}],
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": _object(
                    ["amount"],
                    {
                        "amount": {
                            "type": "number",
                            "exclusiveMinimum": 0,
                            "description": "som, at most 2 decimals",
                            "example": 500,
                        },
                        "currency": _nullable({"type": "string", "const": "KGS"}),
                        "description": _nullable({"type": "string", "maxLength": 500}),
                        "client_id": _nullable(
                            {
                                "type": "string",
                                "description": "Optional; the token's subject, or an old id",
                            }
                        ),
                    },
                )
            }
        },
    },
}
TOP_UP_RESPONSES: Final[OldResponses] = {
    200: _answer(
        "The invoice, or `success: false` with `client_not_found`, `payment_provider_error`",
        {"anyOf": [_BEGUN, _NOT_BEGUN]},
    ),
    401: _problem("`missing_token`, `invalid_token`, `token_expired`"),
    403: _problem("`forbidden`, `client_blocked`, `client_closed`, `client_deleted`"),
    413: _problem("`too_large`"),
    422: _problem(
        "`invalid_amount`, `minimum_amount_required`, `maximum_amount_exceeded`, `invalid_request`"
    ),
    429: _problem(
        "`too_many_requests`; `too_many_unpaid`: 50 top-ups begun within a day wait for payment"
    ),
}

_STATUS: Final = _object(
    [
        "success", "status", "status_text", "amount", "paid_amount", "invoice_id", "can_proceed",
        "can_start_charging", "qr_expired", "invoice_expired", "qr_expires_at",
        "invoice_expires_at", "last_status_check_at", "needs_callback_check", "error",
    ],
    {
        "success": {"type": "boolean", "const": True},
        "status": {"type": "integer", "minimum": 0, "maximum": 4},
        "status_text": {
            "type": "string",
            "enum": ["processing", "approved", "canceled", "refunded", "partial_refund"],
        },
        "amount": _MONEY,
        "paid_amount": _nullable(_MONEY),
        "invoice_id": {"type": "string"},
        "can_proceed": {"type": "boolean"},
        "can_start_charging": {"type": "boolean"},
        "qr_expired": {"type": "boolean"},
        "invoice_expired": {"type": "boolean"},
        "qr_expires_at": _TIME,
        "invoice_expires_at": _TIME,
        "last_status_check_at": _nullable(_TIME),
        "needs_callback_check": {"type": "boolean"},
        "error": {"type": "null"},
    },
)  # fmt: skip
_UNKNOWN: Final = _object(
    ["success", "status", "error", "message", "invoice_id"],
    {
        "success": {"type": "boolean", "const": False},
        "status": {"type": "integer", "const": 0},
        "error": {"type": "string", "const": "payment_not_found"},
        "message": {"type": "string"},
        "invoice_id": {"type": "string"},
    },
)
STATUS_RESPONSES: Final[OldResponses] = {
    200: _answer(
        "The payment, or `success: false` with `payment_not_found`", {"anyOf": [_STATUS, _UNKNOWN]}
    ),
    401: _problem("`missing_token`, `invalid_token`, `token_expired`"),
    403: _problem("`forbidden`: another client's payment"),
}

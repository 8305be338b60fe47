"""OpenAPI descriptions of the webhook's request and responses; the route itself builds bytes."""

from typing import Any, Final

Responses = dict[int | str, dict[str, Any]]


def _object(required: list[str], properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "required": required, "properties": properties}


def _response(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _problem(description: str) -> dict[str, Any]:
    return {"description": description}


WEBHOOK_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "description": "As the provider signs it; at most 256 KB.",
        "content": {"application/json": {"schema": {"type": "object"}}},
    }
}
WEBHOOK_RESPONSES: Final[Responses] = {
    200: _response(
        "Taken: what is answered is durable",
        _object(
            ["status", "provider", "outcome"],
            {
                "status": {"type": "string", "enum": ["received", "payment_not_found"]},
                "provider": {"type": "string"},
                "invoice_id": {"type": "string"},
                "outcome": {
                    "type": "string",
                    "enum": [
                        "confirmed", "refunded", "canceled", "repeated", "ignored", "review",
                        "event_reused", "unknown_payment",
                    ],
                },
            },
        ),
    ),
    401: _problem("`invalid_signature`, `stale_webhook`"),
    404: _problem("`provider_not_found`"),
    413: _problem("`too_large`"),
    422: _problem("`invalid_webhook`: authentic, but it makes no sense"),
}  # fmt: skip

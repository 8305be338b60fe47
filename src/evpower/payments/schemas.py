"""OpenAPI descriptions of the webhook's request and responses; the route itself builds bytes."""

from typing import Any, Final, Literal

from pydantic import BaseModel

from evpower.foundation.openapi import Responses, json_response, problem


class WebhookResponse(BaseModel):
    """What became of a provider's event."""

    status: Literal["received", "payment_not_found"]
    provider: str
    invoice_id: str = ""
    outcome: Literal[
        "confirmed", "refunded", "canceled", "repeated", "ignored", "review", "event_reused",
        "unknown_payment",
    ]  # fmt: skip


WEBHOOK_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "description": "As the provider signs it; at most 256 KB.",
        "content": {"application/json": {"schema": {"type": "object"}}},
    }
}
WEBHOOK_RESPONSES: Final[Responses] = {
    200: json_response("Taken: what is answered is durable", WebhookResponse),
    401: problem("`invalid_signature`, `stale_webhook`"),
    404: problem("`provider_not_found`"),
    413: problem("`too_large`"),
    422: problem("`invalid_webhook`: authentic, but it makes no sense"),
}

"""POST /api/v1/webhooks/supabase."""

from typing import Any, Final, Literal

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict

from evpower.foundation.body import read_body
from evpower.foundation.openapi import Responses, json_response, problem
from evpower.sync.webhook.receive import SupabaseWebhooks

MAX_BYTES: Final = 256 * 1024
_NEW: Final = b'{"success":true,"accepted":true}'
_KNOWN: Final = b'{"success":true,"accepted":false}'

PREFIX: Final = "/api/v1/webhooks"


class NotificationResponse(BaseModel):
    """What became of a change notification."""

    model_config = ConfigDict(extra="forbid")

    success: Literal[True]
    accepted: bool


def webhook_router(webhooks: SupabaseWebhooks) -> APIRouter:
    """Returns the route Supabase calls when something changed there."""
    routes = APIRouter(prefix=PREFIX)

    @routes.post(
        "/supabase",
        tags=["sync"],
        summary="Supabase says that something changed",
        responses=_RESPONSES,
        openapi_extra=_REQUEST,
    )
    async def supabase_webhook(request: Request) -> Response:  # pyright: ignore[reportUnusedFunction]
        """Take a signed call and look in Supabase: what the body says is not believed.

        Database Webhooks of `public.clients` and `auth.users`, and Auth hooks; other tables are
        answered `accepted: false`. Signed with Standard Webhooks headers (the signature may come in
        `X-Supabase-Signature` too), or with the hex HMAC-SHA256 of the raw body in
        `X-Supabase-Signature` alone.
        """
        new = await webhooks.receive(request.headers, lambda: read_body(request, MAX_BYTES))
        return Response(_NEW if new else _KNOWN, media_type="application/json")

    return routes


def _header(name: str, description: str) -> dict[str, Any]:
    return {
        "name": name,
        "in": "header",
        "required": False,
        "description": description,
        "schema": {"type": "string"},
    }


_REQUEST: Final[dict[str, Any]] = {
    "parameters": [
        _header("webhook-id", "The message's id: letters, digits and `_-:+/=`"),
        _header("webhook-timestamp", "Unix seconds, within 300 s of now"),
        _header(
            "webhook-signature",
            "`v1,<base64 HMAC-SHA256 of id.timestamp.body>`, several with a space or `, ` between",
        ),
        _header(
            "X-Supabase-Signature",
            "The same value, or the hex HMAC-SHA256 of the raw body; the key is the bytes that the "
            "secret's base64 after `whsec_` means",
        ),
    ],
    "requestBody": {
        "required": True,
        "description": "As Supabase signs it; at most 256 KB. Unknown members are ignored.",
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "type": {"type": "string", "enum": ["INSERT", "UPDATE", "DELETE"]},
                        "table": {"type": "string"},
                        "schema": {"type": "string"},
                        "record": {"type": ["object", "null"]},
                        "old_record": {"type": ["object", "null"]},
                    },
                }
            }
        },
    },
}
_RESPONSES: Final[Responses] = {
    200: json_response(
        "Authentic. `accepted` is false when it is known already or of no interest",
        NotificationResponse,
    ),
    401: problem("`invalid_signature`"),
    413: problem("`too_large`"),
    422: problem("`invalid_webhook`: authentic, but not a JSON object"),
}

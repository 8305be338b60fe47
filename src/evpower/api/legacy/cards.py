"""Calls that took a card's number or its token: refused, and their bodies are never read."""

from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import Response

from evpower.api.legacy import mobile_schemas
from evpower.api.legacy.families import PREFIXES, Family
from evpower.api.legacy.old_routes import CARD_TAILS
from evpower.api.legacy.respond import refused
from evpower.foundation.errors import Conflict
from evpower.foundation.openapi import Responses, problem

_CODES: Final = {
    "topup-card": "card_not_available",
    "h2h-payment": "h2h_not_available",
    "token-payment": "token_not_available",
    "create-token": "token_not_available",
}
_PUBLIC: Final[dict[str, Any]] = {"security": []}
_V1: Final[Responses] = {
    409: problem("`card_not_available`, `h2h_not_available` or `token_not_available`, always")
}


def cards_router() -> APIRouter:
    """Returns the routes. The gateway drops their bodies: see `Module.unread_bodies`."""
    routes = APIRouter(tags=["payment"])
    for family in PREFIXES:
        for tail in CARD_TAILS:
            _add(routes, family, tail)
    return routes


def _add(routes: APIRouter, family: Family, tail: str) -> None:
    code = _CODES[tail.rpartition("/")[2]]

    @routes.post(
        f"{PREFIXES[family]}{tail}",
        summary="Refused: EvPower never takes a card's number",
        responses=_V1 if family == "v1" else mobile_schemas.REFUSED_RESPONSES,
        openapi_extra=_PUBLIC,
    )
    async def card_call(request: Request) -> Response:  # pyright: ignore[reportUnusedFunction]
        """Refuse, with the code of what is not available. Nothing of the body is read or stored."""
        return refused(Conflict(code, "use a top-up by QR"), request, family=family)

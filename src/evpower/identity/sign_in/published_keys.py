"""`GET /.well-known/jwks.json`: the public keys that verify EvPower's access tokens (RFC 7517)."""

from typing import Any, Final

import orjson
from fastapi import APIRouter
from fastapi.responses import Response
from pydantic import BaseModel

from evpower.foundation.clock import Clock
from evpower.foundation.db import Database
from evpower.foundation.openapi import Responses, json_response
from evpower.identity.issued_tokens import FRESH_S, verifying
from evpower.identity.sign_in import store_keys
from evpower.identity.sign_in.signing_keys import public_jwk

JWKS_PATH: Final = "/.well-known/jwks.json"
# As long as EvPower itself goes on with a key that was revoked.
_CACHED: Final = {"Cache-Control": f"public, max-age={int(FRESH_S)}"}
_FOR_EVERYONE: Final[dict[str, Any]] = {"security": []}


class PublishedKey(BaseModel):
    """A public key of P-256 (RFC 7518 6.2)."""

    kty: str
    crv: str
    x: str
    y: str
    kid: str
    alg: str
    use: str


class KeySet(BaseModel):
    """The key that signs and those that verify for an hour more, the newest first."""

    keys: list[PublishedKey]


_RESPONSES: Final[Responses] = {200: json_response("The keys", KeySet)}


def published_keys_router(db: Database, clock: Clock) -> APIRouter:
    """Returns the route."""
    routes = APIRouter(tags=["auth"])

    @routes.get(
        JWKS_PATH,
        summary="Public keys of EvPower's access tokens",
        responses=_RESPONSES,
        openapi_extra=_FOR_EVERYONE,
    )
    async def published() -> Response:  # pyright: ignore[reportUnusedFunction]
        """Answer the public keys, for systems that verify the tokens themselves."""
        async with db.connection() as connection:
            stored = await store_keys.usable_keys(connection)
        keys = [dict(public_jwk(key)) for key in verifying(stored, clock())]
        return Response(
            orjson.dumps({"keys": keys}), media_type="application/json", headers=_CACHED
        )

    return routes

"""`GET /api/balance/{client_id}`, of the older family; the newer one is a route of the wallet."""

from typing import Annotated, Final

import orjson
from fastapi import APIRouter, Path, Request
from fastapi.responses import Response

from evpower import wallet
from evpower.api.legacy import mobile_answers, mobile_schemas
from evpower.api.legacy.callers import OldCallers
from evpower.api.legacy.respond import refused
from evpower.foundation.db import Database
from evpower.foundation.errors import NotFound
from evpower.foundation.json_reader import as_object, read_stored_json
from evpower.foundation.segments import SegmentRoute
from evpower.identity import may_read

_PATH: Final = "/api/balance/{client_id}"
_MAX_ID: Final = 200


def balance_router(db: Database, callers: OldCallers) -> APIRouter:
    """Returns the route."""
    routes = APIRouter(tags=["balance"], route_class=SegmentRoute)

    @routes.get(_PATH, summary="A client's balance", responses=mobile_schemas.BALANCE_RESPONSES)
    async def client_balance(  # pyright: ignore[reportUnusedFunction]
        request: Request, client_id: Annotated[str, Path(max_length=_MAX_ID)]
    ) -> Response:
        """Answer the balance; an unknown client is 404, as it was."""
        caller = await callers.reader(request, "mobile", client_id)
        owner_id = await callers.access.resolve(caller, client_id)
        may_read(caller, owner_id)
        async with db.connection() as connection:
            body = await wallet.balance(connection, owner_id)
        if body is None:
            error = NotFound("client_not_found", "there is no such client")
            response = refused(error, request, family="mobile")
            response.status_code = error.http_status
            return response
        answer = mobile_answers.balance(as_object(read_stored_json(body)))
        return Response(orjson.dumps(answer), media_type="application/json")

    return routes

"""Requests and responses of the sandbox bank: JSON bodies, amounts, refusals."""

from http import HTTPStatus
from typing import Any, cast

import orjson
from starlette.requests import Request
from starlette.responses import Response

from evpower.foundation.errors import Invalid
from evpower.foundation.json_reader import NotJson, read_object
from evpower.foundation.money import amount_from_json


class BadRequest(Exception):
    """The bank refuses: a status and a code."""

    def __init__(self, status: HTTPStatus, code: str) -> None:
        super().__init__(code)
        self.status = status
        self.code = code


async def read_body(request: Request) -> dict[str, Any]:
    """Returns the JSON object of a request, {} without a body. Raises BadRequest."""
    raw = await request.body()
    if not raw:
        return {}
    try:
        return read_object(raw)
    except NotJson as error:
        raise BadRequest(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid_json") from error


def to_tyiyn(amount: object) -> int:
    """Converts som (a number, at most 2 decimals) to tyiyn."""
    try:
        minor = amount_from_json(None if isinstance(amount, str) else amount)
    except Invalid as error:
        raise BadRequest(HTTPStatus.UNPROCESSABLE_ENTITY, error.code) from error
    if minor <= 0:
        raise BadRequest(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid_amount")
    return minor


def number(body: dict[str, Any], name: str, default: float, most: float) -> float:
    """Returns a member of the body from 0 to `most`. Raises BadRequest."""
    value = body.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
        raise BadRequest(HTTPStatus.UNPROCESSABLE_ENTITY, f"invalid_{name}")
    return value


def respond(body: object) -> Response:
    """Returns a response in JSON."""
    return Response(orjson.dumps(body), media_type="application/json")


async def refuse(_: Request, error: Exception) -> Response:
    """Returns the response to a BadRequest."""
    refused = cast("BadRequest", error)
    return Response(
        orjson.dumps({"success": False, "error": refused.code}),
        refused.status,
        media_type="application/json",
    )

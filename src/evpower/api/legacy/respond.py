"""Responses of the old API: JSON with a sentence in the language of the request."""

from collections.abc import Mapping
from typing import Any

import orjson
from fastapi import Request
from fastapi.responses import Response

from evpower.api import errors, messages
from evpower.foundation.errors import EvPowerError


def language_of(request: Request) -> str:
    """Returns the language in which the caller reads."""
    return messages.choose_language(request.headers.get("accept-language", ""))


def spoken(answer: Mapping[str, Any], language: str) -> Response:
    """Returns an answer that holds a sentence."""
    return Response(
        orjson.dumps(answer),
        media_type="application/json",
        headers={"Content-Language": language, "Vary": "Accept-Language"},
    )


def refused(
    error: EvPowerError, request: Request, members: Mapping[str, Any] | None = None
) -> Response:
    """Returns a refusal with members of its own beside those that every one has."""
    problem = errors.render(error, request.headers.get("accept-language", ""), members, plain=True)
    response = Response(problem.body, problem.status)
    response.raw_headers = problem.headers
    return response

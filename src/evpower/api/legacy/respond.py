"""Responses of the old API: JSON with a sentence in the language of the request."""

from collections.abc import Mapping
from typing import Any

import orjson
from fastapi import Request
from fastapi.responses import Response

from evpower.api import errors, messages
from evpower.api.legacy.families import Family
from evpower.foundation import idempotency
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


def explained(sentence: str, family: Family) -> dict[str, str]:
    """Returns the members that hold a sentence of its own in a refusal."""
    return {"message": sentence} if family == "mobile" else {"error": sentence, "message": sentence}


def refused(
    error: EvPowerError,
    request: Request,
    members: Mapping[str, Any] | None = None,
    *,
    family: Family = "v1",
) -> Response:
    """Returns a refusal with members of its own beside those that every one has."""
    form: errors.ErrorForm = "sentence" if family == "v1" else "code"
    state: idempotency.KeyState = request.scope.setdefault("state", {})
    # A refusal that is 200 has had no effect, and a repeat runs again.
    idempotency.set_outcome(state, idempotency.outcome_of(state, error.http_status))
    problem = errors.render(error, request.headers.get("accept-language", ""), members, form=form)
    response = Response(problem.body, problem.status)
    response.raw_headers = problem.headers
    return response

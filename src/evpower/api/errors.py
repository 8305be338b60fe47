"""Errors as RFC 9457 problems with the members the apps already read; rendered only here.

At the paths of the old API they are plain JSON instead. Apps of the newer family show `error` to
the driver as it is, so it is a sentence there, and the code is in `error_code`. Those of the older
family read a code in `error`, and take any status but 200 for a broken connection.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, Literal

import asyncpg
import orjson
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import Scope

from evpower.api import messages
from evpower.foundation import idempotency
from evpower.foundation.errors import EvPowerError, Invalid, Unauthenticated
from evpower.foundation.segments import pattern_of

PROBLEM: Final = "application/problem+json"
PLAIN: Final = "application/json"
# Starlette's own errors, by status: code and status of ours.
_HTTP_CODES: Final = {
    400: ("invalid_request", 422),
    401: ("unauthorized", 401),
    403: ("forbidden", 403),
    404: ("not_found", 404),
    405: ("method_not_allowed", 405),
    413: ("too_large", 413),
    422: ("invalid_request", 422),
    429: ("too_many_requests", 429),
    503: ("service_unavailable", 503),
}
# RFC 9110 renamed these; Python's name depends on its version.
_TITLES: Final = {413: "Content Too Large", 422: "Unprocessable Content"}
_MAX_FIELDS: Final = 20
_METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")
# problem: RFC 9457. sentence: the newer family of the old API. code: the older one.
ErrorForm = Literal["problem", "sentence", "code"]
# What the older family's apps read from the status; all other refusals are 200 there.
_KEPT_STATUSES: Final = frozenset({401, 403, 405, 408, 413, 422, 429})
_SERVER_FAULT: Final = 500


@dataclass(frozen=True, slots=True)
class Problem:
    """One rendered error: status, headers, body."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


class ErrorForms:
    """The form of the errors of each path, from the templates of the old API's paths."""

    def __init__(self, sentence: Iterable[str] = (), code: Iterable[str] = ()) -> None:
        self._sentence = pattern_of(sentence)
        self._code = pattern_of(code)

    def of(self, path: str) -> ErrorForm:
        """Returns the form of errors at this path."""
        if self._sentence.fullmatch(path) is not None:
            return "sentence"
        return "problem" if self._code.fullmatch(path) is None else "code"

    def of_request(self, scope: Scope) -> ErrorForm:
        """Returns the form of a request's errors; an encoded slash ends no segment."""
        raw: bytes = scope.get("raw_path") or b""
        return self.of(raw.decode("latin-1") if b"%2f" in raw.lower() else scope["path"])


def render(
    error: EvPowerError,
    accept_language: str = "",
    extra: Mapping[str, Any] | None = None,
    *,
    form: ErrorForm = "problem",
) -> Problem:
    """Returns the rendered error. `extra` comes last."""
    language = messages.choose_language(accept_language)
    params = {"retry_after_s": error.retry_after_s or 1, **error.params}
    status = error.http_status
    sentence = messages.text(error.code, status, language, params)
    members = _MEMBERS[form](error, sentence)
    is_limited = status == HTTPStatus.TOO_MANY_REQUESTS
    if is_limited and form != "problem" and error.retry_after_s is not None:
        members["retry_after_seconds"] = error.retry_after_s  # of which the apps count down
    body = orjson.dumps({**members, **(extra or {})})
    shown = status
    if form == "code" and status < _SERVER_FAULT and status not in _KEPT_STATUSES:
        shown = 200
    headers = [
        (b"content-type", (PROBLEM if form == "problem" else PLAIN).encode()),
        (b"content-length", str(len(body)).encode()),
        (b"content-language", language.encode()),
        (b"vary", b"Accept-Language"),
    ]
    if error.retry_after_s is not None:
        headers.append((b"retry-after", str(error.retry_after_s).encode()))
    if status == Unauthenticated.status:
        headers.append((b"www-authenticate", b"Bearer"))
    return Problem(shown, headers, body)


def _problem_members(error: EvPowerError, sentence: str) -> dict[str, Any]:
    status = error.http_status
    return {
        "type": f"urn:evpower:problem:{error.code}",
        "title": _TITLES.get(status) or HTTPStatus(status).phrase,
        "status": status,
        "detail": error.detail,
        "success": False,
        "error": error.code,
        "message": sentence,
    }


def _sentence_members(error: EvPowerError, sentence: str) -> dict[str, Any]:
    return {
        "success": False,
        "error": sentence,
        "message": sentence,
        "error_code": error.code,
        "detail": _old_detail(error),
    }


def _code_members(error: EvPowerError, sentence: str) -> dict[str, Any]:
    code = "unauthorized" if error.http_status == Unauthenticated.status else error.code
    return {
        "success": False,
        "error": code,
        "message": sentence,
        "error_code": error.code,
        "detail": _old_detail(error),
    }


def _old_detail(error: EvPowerError) -> str | list[dict[str, Any]]:
    """Returns the detail; of a misshaped request in the form that the old API's validation had."""
    if error.http_status != Invalid.status:
        return error.detail
    return [{"loc": ["body"], "msg": error.detail, "type": "value_error"}]


_MEMBERS: Final = {
    "problem": _problem_members,
    "sentence": _sentence_members,
    "code": _code_members,
}


def internal_error(
    accept_language: str, request_id: str, *, form: ErrorForm = "problem"
) -> Problem:
    """Returns the error for a fault of EvPower: all it shows is the id to report it by."""
    error = EvPowerError("internal_error", "the request failed unexpectedly")
    return render(error, accept_language, {"request_id": request_id}, form=form)


def install(app: FastAPI, forms: ErrorForms) -> None:
    """Renders every error of the routes, in the form of its path."""
    app.state.error_forms = forms

    async def known(request: Request, error: Exception) -> Response:
        assert isinstance(error, EvPowerError)  # noqa: S101 - Starlette's own promise
        request.scope.setdefault("state", {})["is_expected"] = error.is_expected
        return _respond(request, error)

    async def refused_by_starlette(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101
        if error.status_code == HTTPStatus.NOT_FOUND and _is_socket(app, request):
            return _upgrade_required(request)
        code, status = _HTTP_CODES.get(error.status_code, ("internal_error", 500))
        response = _respond(
            request,
            EvPowerError(code, str(error.detail) if status != 500 else "", status=status),  # noqa: PLR2004
        )
        if status == HTTPStatus.METHOD_NOT_ALLOWED:
            return _with_allowed_methods(app, request, response)
        return response

    async def misshaped(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)  # noqa: S101
        fields = _fields(error.errors())
        detail = "; ".join(
            f"{field['field'] or 'body'}: {field['problem']}" for field in fields[:3]
        )
        return _respond(
            request, Invalid("invalid_request", detail), {"errors": fields}, error.errors()
        )

    async def unstorable(request: Request, error: Exception) -> Response:
        """Refuses a value that no column can store: a NUL, a number out of range."""
        del error
        return _respond(request, Invalid("invalid_request", "a value cannot be stored"))

    async def disconnected(request: Request, error: Exception) -> Response:
        """Returns a response that is never read: the caller closed the connection while sending."""
        del error
        return _respond(request, Invalid("invalid_request", "the request ended early"))

    app.add_exception_handler(EvPowerError, known)
    app.add_exception_handler(HTTPException, refused_by_starlette)
    app.add_exception_handler(RequestValidationError, misshaped)
    app.add_exception_handler(asyncpg.DataError, unstorable)
    app.add_exception_handler(ClientDisconnect, disconnected)


def _respond(
    request: Request,
    error: EvPowerError,
    extra: Mapping[str, Any] | None = None,
    misshaped: Sequence[Any] = (),
) -> Response:
    forms: ErrorForms = request.app.state.error_forms
    form = forms.of_request(request.scope)
    if misshaped and form != "problem":
        extra = {**(extra or {}), "detail": _old_fields(misshaped)}
    problem = render(error, request.headers.get("accept-language", ""), extra, form=form)
    if form == "code":  # a refusal that is 200 has had no effect, and a repeat runs again
        state: idempotency.KeyState = request.scope.setdefault("state", {})
        idempotency.set_outcome(state, idempotency.outcome_of(state, error.http_status))
    response = Response(problem.body, problem.status)
    response.raw_headers = problem.headers
    return response


def _fields(errors: Sequence[Any]) -> list[dict[str, str]]:
    """Returns which fields are wrong and how; never the value, it may be a password."""
    return [
        {
            "field": ".".join(
                str(part) for part in error["loc"] if part not in ("body", "query", "path")
            ),
            "problem": str(error["msg"]),
        }
        for error in errors[:_MAX_FIELDS]
    ]


def _old_fields(errors: Sequence[Any]) -> list[dict[str, Any]]:
    """Returns the same in the form of the old API: place, message, type."""
    return [
        {"loc": list(error["loc"]), "msg": str(error["msg"]), "type": str(error["type"])}
        for error in errors[:_MAX_FIELDS]
    ]


def _is_socket(app: FastAPI, request: Request) -> bool:
    """Returns whether a WebSocket is served at this path."""
    scope = {**request.scope, "type": "websocket"}
    return any(route.matches(scope)[0] is Match.FULL for route in app.routes)


def _upgrade_required(request: Request) -> Response:
    error = EvPowerError(
        "upgrade_required", "a WebSocket is served here: send a WebSocket handshake", status=426
    )
    response = _respond(request, error)
    response.headers["Upgrade"] = "websocket"
    response.headers["Connection"] = "Upgrade"
    return response


def _with_allowed_methods(app: FastAPI, request: Request, refused: Response) -> Response:
    """Adds the methods of all routes of the path; Starlette names the first route's only."""
    allowed = allowed_methods(app, request)
    if request.method == "OPTIONS":
        return Response(status_code=204, headers={"Allow": allowed})
    refused.headers["Allow"] = allowed
    return refused


def allowed_methods(app: FastAPI, request: Request) -> str:
    """Returns the Allow header of a path."""
    scope = dict(request.scope)
    methods = {"OPTIONS"}
    for method in _METHODS:
        scope["method"] = method
        if any(route.matches(scope)[0] is Match.FULL for route in app.routes):
            methods.add(method)
    if "GET" in methods:
        methods.add("HEAD")
    return ", ".join(sorted(methods))

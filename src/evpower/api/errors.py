"""Errors as RFC 9457 problems with the members the apps already read; rendered only here.

At the paths of the old API they are plain JSON instead: apps show `error` to the driver as it is,
so it is a sentence there, and the code is in `error_code`.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

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
from evpower.foundation.errors import EvPowerError, Invalid, Unauthenticated

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


@dataclass(frozen=True, slots=True)
class Problem:
    """One rendered error: status, headers, body."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


class PlainPaths:
    """The paths whose errors have the form of the old API, from their templates."""

    def __init__(self, templates: Iterable[str] = ()) -> None:
        segments = [re.sub(r"\\{[^}]*\\}", "[^/]+", re.escape(template)) for template in templates]
        self._pattern = re.compile("|".join(segments) or "(?!)")

    def has(self, path: str) -> bool:
        """Returns whether errors at this path are plain."""
        return self._pattern.fullmatch(path) is not None

    def has_request(self, scope: Scope) -> bool:
        """Returns whether errors of a request are plain; an encoded slash ends no segment."""
        raw: bytes = scope.get("raw_path") or b""
        return self.has(raw.decode("latin-1") if b"%2f" in raw.lower() else scope["path"])


def render(
    error: EvPowerError,
    accept_language: str = "",
    extra: Mapping[str, Any] | None = None,
    *,
    plain: bool = False,
) -> Problem:
    """Returns the rendered error, in the form of the old API if `plain`. `extra` comes last."""
    language = messages.choose_language(accept_language)
    params = {"retry_after_s": error.retry_after_s or 1, **error.params}
    status = error.http_status
    sentence = messages.text(error.code, status, language, params)
    members = _plain_members(error, sentence) if plain else _problem_members(error, sentence)
    body = orjson.dumps({**members, **(extra or {})})
    headers = [
        (b"content-type", (PLAIN if plain else PROBLEM).encode()),
        (b"content-length", str(len(body)).encode()),
        (b"content-language", language.encode()),
        (b"vary", b"Accept-Language"),
    ]
    if error.retry_after_s is not None:
        headers.append((b"retry-after", str(error.retry_after_s).encode()))
    if status == Unauthenticated.status:
        headers.append((b"www-authenticate", b"Bearer"))
    return Problem(status, headers, body)


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


def _plain_members(error: EvPowerError, sentence: str) -> dict[str, Any]:
    return {
        "success": False,
        "error": sentence,
        "message": sentence,
        "error_code": error.code,
        "detail": error.detail,
    }


def internal_error(accept_language: str, request_id: str, *, plain: bool = False) -> Problem:
    """Returns the error for a fault of EvPower: all it shows is the id to report it by."""
    error = EvPowerError("internal_error", "the request failed unexpectedly")
    return render(error, accept_language, {"request_id": request_id}, plain=plain)


def install(app: FastAPI, plain_paths: PlainPaths) -> None:
    """Renders every error of the routes, in the form of its path."""
    app.state.plain_paths = plain_paths

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
        return _respond(request, Invalid("invalid_request", detail), {"errors": fields})

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
    request: Request, error: EvPowerError, extra: Mapping[str, Any] | None = None
) -> Response:
    plain_paths: PlainPaths = request.app.state.plain_paths
    plain = plain_paths.has_request(request.scope)
    problem = render(error, request.headers.get("accept-language", ""), extra, plain=plain)
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

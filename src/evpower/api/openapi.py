"""The OpenAPI document: the responses that every call has are added here once."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.requests import Request
from starlette.responses import Response

from evpower.api.errors import ErrorForm, ErrorForms

_PROBLEM: Final = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
_PROBLEM_SCHEMA: Final = {
    "title": "Problem",
    "type": "object",
    "description": "RFC 9457, with the members the apps read.",
    "required": ["type", "title", "status", "detail", "success", "error", "message"],
    "properties": {
        "type": {"type": "string", "example": "urn:evpower:problem:client_not_found"},
        "title": {"type": "string", "example": "Not Found"},
        "status": {"type": "integer", "example": 404},
        "detail": {"type": "string", "description": "For developers, in English."},
        "success": {"type": "boolean", "const": False},
        "error": {
            "type": "string",
            "description": "Stable snake_case code.",
            "example": "client_not_found",
        },
        "message": {
            "type": "string",
            "description": "For a person, in the language of Accept-Language.",
        },
        "errors": {
            "type": "array",
            "description": "With invalid_request: which fields, and why.",
            "items": {
                "type": "object",
                "required": ["field", "problem"],
                "properties": {"field": {"type": "string"}, "problem": {"type": "string"}},
            },
        },
        "request_id": {"type": "string"},
    },
}
_OLD_DETAIL: Final = {
    "description": "For developers, in English; of a misshaped request (422) a list as the old "
    "API's validation made it.",
    "anyOf": [
        {"type": "string"},
        {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["loc", "msg", "type"],
                "properties": {
                    "loc": {
                        "type": "array",
                        "items": {"anyOf": [{"type": "string"}, {"type": "integer"}]},
                    },
                    "msg": {"type": "string"},
                    "type": {"type": "string"},
                },
            },
        },
    ],
}
_REFUSAL: Final = {"application/json": {"schema": {"$ref": "#/components/schemas/Refusal"}}}
_REFUSAL_SCHEMA: Final = {
    "title": "Refusal",
    "type": "object",
    "description": "An error at a path of the old API: phones show `error` as it is.",
    "required": ["success", "error", "message", "error_code", "detail"],
    "properties": {
        "success": {"type": "boolean", "const": False},
        "error": {
            "type": "string",
            "description": "For a person, in the language of Accept-Language.",
        },
        "message": {"type": "string", "description": "The same."},
        "error_code": {
            "type": "string",
            "description": "Stable snake_case code.",
            "example": "insufficient_balance",
        },
        "detail": _OLD_DETAIL,
    },
}
_CODED: Final = {"application/json": {"schema": {"$ref": "#/components/schemas/CodedRefusal"}}}
_CODED_SCHEMA: Final = {
    "title": "CodedRefusal",
    "type": "object",
    "description": "An error at a path of the older family `/api/`: apps read the code in `error`. "
    "Refusals of a call are 200; only 401, 403, 405, 408, 413, 422, 429 and 5xx are statuses.",
    "required": ["success", "error", "message", "error_code", "detail"],
    "properties": {
        "success": {"type": "boolean", "const": False},
        "error": {
            "type": "string",
            "description": "The code that the old API had.",
            "example": "insufficient_balance",
        },
        "message": {
            "type": "string",
            "description": "For a person, in the language of Accept-Language.",
        },
        "error_code": {"type": "string", "description": "Stable snake_case code."},
        "detail": _OLD_DETAIL,
    },
}
_BODIES: Final[Mapping[ErrorForm, Mapping[str, Any]]] = {
    "problem": _PROBLEM,
    "sentence": _REFUSAL,
    "code": _CODED,
}
_SECURITY_SCHEMES: Final = {
    "supabaseToken": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "A Supabase access token; its subject is the client_id.",
    },
    "serviceKey": {
        "type": "apiKey",
        "in": "header",
        "name": "X-Service-Key",
        "description": "Another system's key; it may also come as a bearer token.",
    },
}
_TAGS: Final = [
    {"name": "auth", "description": "Registration"},
    {"name": "balance", "description": "Prepaid money: balance, history, top-ups"},
    {"name": "payment", "description": "Payments and their providers' webhooks"},
    {"name": "charging", "description": "Charging sessions and their history"},
    {"name": "favorites", "description": "Locations that a driver has marked"},
    {"name": "notifications", "description": "Where a driver gets messages"},
    {"name": "operator", "description": "Clients, as operators find and block them"},
    {"name": "operator stations", "description": "Stations, their logs, what tries to connect"},
    {"name": "operator commands", "description": "What stations are asked, and what they answered"},
    {"name": "operator sessions", "description": "Sessions, bills, quarantine, the export"},
    {"name": "operator cards", "description": "Cards of technicians, and cards that no client has"},
    {"name": "operator tariffs", "description": "Plans, versions, and what they price"},
    {"name": "operator staff", "description": "Roles, and who did what"},
    {"name": "admin", "description": "The app's own pages for operators"},
    {"name": "sync", "description": "What Supabase tells us"},
    {"name": "service", "description": "Health, metrics"},
]
_EVERYWHERE: Final = {
    "422": "The request makes no sense",
    "429": "Too many requests: see Retry-After",
    "500": "Our mistake: tell us the request id",
    "503": "A part we need does not answer: try again",
}
_WITH_BODY: Final = ("post", "put", "patch")
_WITH_KEY: Final = ("post", "put")
_ON_POST: Final = {
    "408": "The body did not come in time",
    "409": "The state says otherwise, or the Idempotency-Key came with another request",
    "413": "The body is too large",
}
_IDEMPOTENCY_KEY: Final = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "One per intent, for 72 hours. What was done is stored: a repeat gets the same "
    "response with `Idempotent-Replayed: true`. A refusal (any 4xx, or `success: false` that made "
    "nothing) is not stored: a repeat is worked out anew. After a 5xx, a lost connection or "
    "`payment_provider_error` the outcome is unknown: repeat with the same key and body, which "
    "resumes the same payment and never makes a second one; another body is then 409 "
    "`idempotency_conflict`.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
}
_METHODS: Final = ("get", "post", "put", "patch", "delete")


def install(
    app: FastAPI, *, version: str, server_url: str, forms: ErrorForms, signed: Sequence[str] = ()
) -> None:
    """Makes app.openapi() return our document, and serves it; it is built and encoded once.

    `signed`: beginnings of the paths that other systems call with a signature.
    """
    written: list[bytes] = []

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _build(app, version, server_url, forms, tuple(signed))
        return app.openapi_schema

    async def document(_: Request) -> Response:
        if not written:
            written.append(orjson.dumps(openapi()))
        return Response(written[0], media_type="application/json")

    app.openapi = openapi  # type: ignore[method-assign]
    app.add_route("/openapi.json", document, include_in_schema=False)


def _build(
    app: FastAPI, version: str, server_url: str, forms: ErrorForms, signed: tuple[str, ...]
) -> dict[str, Any]:
    document = get_openapi(
        title="EvPower API",
        version=version,
        description=(
            "Backend of an EV-charging operator. Money is a JSON number in som with at most "
            "2 decimals; times are UTC ending in Z. Errors are `application/problem+json`; "
            "key on `error`. At the paths of the old API they are `application/json`; key on "
            "`error_code`."
        ),
        routes=app.routes,
        servers=[{"url": server_url}] if server_url else [{"url": "/"}],
        tags=_TAGS,
    )
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    schemas["Problem"] = _PROBLEM_SCHEMA
    schemas["Refusal"] = _REFUSAL_SCHEMA
    schemas["CodedRefusal"] = _CODED_SCHEMA
    components["securitySchemes"] = _SECURITY_SCHEMES
    for path, methods in document["paths"].items():
        for method in _METHODS:
            if method in methods:
                error_body = _BODIES[forms.of(path)]
                is_signed = path.startswith(signed)
                _complete(path, method, methods[method], error_body, is_signed=is_signed)
    return document


def _complete(
    path: str,
    method: str,
    operation: dict[str, Any],
    error_body: Mapping[str, Any],
    *,
    is_signed: bool,
) -> None:
    responses: dict[str, Any] = operation.setdefault("responses", {})
    if path.startswith("/api/"):
        for status, description in (
            _EVERYWHERE | (_ON_POST if method in _WITH_BODY else {})
        ).items():
            responses.setdefault(status, {"description": description})
        if not is_signed and operation.get("security") != []:  # a route may need no token
            responses.setdefault("401", {"description": "No valid token or key"})
            operation.setdefault("security", [{"supabaseToken": []}, {"serviceKey": []}])
        if method in _WITH_KEY and not is_signed:
            operation.setdefault("parameters", []).append(_IDEMPOTENCY_KEY)
    for status, response in responses.items():
        if status >= "400" and _is_left_open(response):
            response["content"] = error_body
        if status == "429" or (status == "503" and path.startswith("/api/")):
            response.setdefault(
                "headers",
                {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds"}},
            )
    operation["responses"] = dict(sorted(responses.items()))


def _is_left_open(response: Mapping[str, Any]) -> bool:
    """Returns whether the route declares no body, or FastAPI put its own error there."""
    content = response.get("content")
    return not content or "HTTPValidationError" in str(content)

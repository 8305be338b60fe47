"""Calls functions of the Supabase project over PostgREST and classifies every failure."""

import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final, Protocol, cast

from evpower.foundation import http as outgoing
from evpower.foundation.http import HttpClient, HttpError, HttpResponse
from evpower.foundation.json_reader import NotJson, read_stored_json
from evpower.sync import metrics
from evpower.sync.errors import (
    SyncResponseTooLarge,
    TargetBusy,
    TargetRefuses,
    TargetUnavailable,
    TooLarge,
)

_TRANSIENT_STATUS: Final = frozenset(
    {
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.CONFLICT,
        HTTPStatus.TOO_EARLY,
        HTTPStatus.TOO_MANY_REQUESTS,
    }
)
# lock_not_available, query_canceled, deadlock_detected, serialization_failure: they concern one
# call, not the whole of Supabase.
_BUSY_CODES: Final = frozenset({"55P03", "57014", "40P01", "40001"})
# SQLSTATE classes of transient failures, and PostgREST's "no connection" and "pool is busy".
_TRANSIENT_CODES: Final = (
    "08",
    "40",
    "53",
    "55",
    "57",
    "58",
    "XX",
    "PGRST000",
    "PGRST001",
    "PGRST003",
)
# Characters; names a remedy for each of an older backend's tables.
_LONGEST_HINT: Final = 1_000


class Rpc(Protocol):
    """Calls one function of the Supabase project."""

    async def call(self, function: str, body: bytes) -> object:
        """Returns the parsed JSON. Raises TargetUnavailable, TargetRefuses, TooLarge."""
        ...


class SupabaseRpc:
    """`POST {url}/rest/v1/rpc/{function}` with the project's secret key."""

    def __init__(
        self, http: HttpClient, url: str, secret_key: str, *, timeout_s: float = 10.0
    ) -> None:
        self._http = http
        self._base = f"{url.rstrip('/')}/rest/v1/rpc/"
        self._timeout_s = timeout_s
        self._headers = {
            **secret_key_headers(secret_key),
            "Content-Type": "application/json",
            "Accept": "application/json",
        }

    async def call(self, function: str, body: bytes) -> object:
        """Sends one request without a retry: only the caller knows what may be sent twice."""
        started = time.perf_counter()
        outcome = "unavailable"
        try:
            response = await self._http.fetch(
                "supabase_rest",
                "POST",
                self._base + function,
                content=body,
                headers=self._headers,
                timeout_s=self._timeout_s,
            )
            result = read_response(function, response)
            outcome = "ok"
        except outgoing.ResponseTooLarge as error:
            raise SyncResponseTooLarge(f"{function}: {error}") from error
        except HttpError as error:
            raise TargetUnavailable(str(error)) from error
        except TargetRefuses:
            outcome = "refused"
            raise
        else:
            return result
        finally:
            metrics.RPC_SECONDS.labels(function, outcome).observe(time.perf_counter() - started)


def read_response(function: str, response: HttpResponse) -> object:
    """Returns the parsed JSON of a function's response. Raises SyncError."""
    status = response.status_code
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        raise TooLarge(f"{function}: 413")
    if status < HTTPStatus.OK or status >= HTTPStatus.MULTIPLE_CHOICES:
        code, message, hint = _problem(response)
        failure = f"{function}: HTTP {status} {code} {message}".rstrip()
        if code in _BUSY_CODES:
            raise TargetBusy(failure)
        if (
            status >= HTTPStatus.INTERNAL_SERVER_ERROR
            or status in _TRANSIENT_STATUS
            or code.startswith(_TRANSIENT_CODES)
        ):
            raise TargetUnavailable(failure)
        raise TargetRefuses(failure, hint)
    try:
        parsed = read_stored_json(response.content)
        # Some gateways return jsonb as text, some wrap the single row in a list.
        while isinstance(parsed, str):
            parsed = read_stored_json(parsed)
    except NotJson as error:
        raise TargetUnavailable(f"{function}: the response is not JSON") from error
    return _unwrap(function, parsed)


def _unwrap(function: str, value: object) -> object:
    """Returns the value in a one-row list, or in a row whose only column is the function."""
    if isinstance(value, list):
        rows = cast("list[object]", value)
        return _unwrap(function, rows[0]) if len(rows) == 1 else rows
    if isinstance(value, Mapping):
        row = cast("Mapping[str, object]", value)
        return row[function] if set(row) == {function} else row
    return value


def _problem(response: HttpResponse) -> tuple[str, str, str]:
    """Returns code, message and our function's hint, shortened; empty when there is no object.

    A hint of PostgREST itself guesses at names, and is left out.
    """
    try:
        body = read_stored_json(response.content)
    except NotJson:
        return "", "", ""
    if not isinstance(body, Mapping):
        return "", "", ""
    fields = cast("Mapping[str, object]", body)
    code, message, hint = (str(fields.get(name) or "") for name in ("code", "message", "hint"))
    return code[:20], message[:200], "" if code.startswith("PGRST") else hint[:_LONGEST_HINT]


def secret_key_headers(secret_key: str) -> dict[str, str]:
    """Returns the headers that authenticate the server to Supabase's gateway and PostgREST."""
    is_jwt = secret_key.startswith("eyJ") and secret_key.count(".") == 2  # noqa: PLR2004
    # The legacy service_role key is a JWT; an sb_secret_ key is no bearer token.
    return {"apikey": secret_key} | ({"Authorization": f"Bearer {secret_key}"} if is_jwt else {})

"""A thin client of Supabase's RPC: bytes out, bytes in, every failure sorted."""

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
# lock_not_available, query_canceled, deadlock_detected, serialization_failure: of one call alone.
_BUSY_CODES: Final = frozenset({"55P03", "57014", "40P01", "40001"})
# SQLSTATE classes that pass by themselves, and PostgREST's "no connection" and "pool is busy".
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


class Rpc(Protocol):
    """Calls one function of the Supabase project."""

    async def call(self, function: str, body: bytes) -> object:
        """Answer the parsed JSON. Raises TargetUnavailable, TargetRefuses, TooLarge."""
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
        """One request, no retry: whoever asks knows what may be sent twice."""
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
            answer = read_answer(function, response)
            outcome = "ok"
        except outgoing.ResponseTooLarge as error:
            raise SyncResponseTooLarge(f"{function}: {error}") from error
        except HttpError as error:
            raise TargetUnavailable(str(error)) from error
        except TargetRefuses:
            outcome = "refused"
            raise
        else:
            return answer
        finally:
            metrics.RPC_SECONDS.labels(function, outcome).observe(time.perf_counter() - started)


def read_answer(function: str, response: HttpResponse) -> object:
    """The parsed JSON of a function's answer. Raises the SyncErrors."""
    status = response.status_code
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        raise TooLarge(f"{function}: 413")
    if status < HTTPStatus.OK or status >= HTTPStatus.MULTIPLE_CHOICES:
        code, message = _problem(response)
        said = f"{function}: HTTP {status} {code} {message}".rstrip()
        if code in _BUSY_CODES:
            raise TargetBusy(said)
        if (
            status >= HTTPStatus.INTERNAL_SERVER_ERROR
            or status in _TRANSIENT_STATUS
            or code.startswith(_TRANSIENT_CODES)
        ):
            raise TargetUnavailable(said)
        raise TargetRefuses(said)
    try:
        answer = read_stored_json(response.content)
        # Some gateways hand jsonb over as text, some wrap the one row in a list.
        while isinstance(answer, str):
            answer = read_stored_json(answer)
    except NotJson as error:
        raise TargetUnavailable(f"{function}: the answer is not JSON") from error
    return _unwrap(function, answer)


def _unwrap(function: str, answer: object) -> object:
    """A one-row list, or a row with the function's name as its column, is the answer inside."""
    if isinstance(answer, list):
        rows = cast("list[object]", answer)
        return _unwrap(function, rows[0]) if len(rows) == 1 else rows
    if isinstance(answer, Mapping):
        row = cast("Mapping[str, object]", answer)
        return row[function] if set(row) == {function} else row
    return answer


def _problem(response: HttpResponse) -> tuple[str, str]:
    """PostgREST's code and message, cut; a gateway's page is not worth quoting."""
    try:
        body = read_stored_json(response.content)
    except NotJson:
        return "", ""
    if not isinstance(body, Mapping):
        return "", ""
    fields = cast("Mapping[str, object]", body)
    return str(fields.get("code") or "")[:20], str(fields.get("message") or "")[:200]


def secret_key_headers(secret_key: str) -> dict[str, str]:
    """Returns what tells Supabase's gateway and PostgREST that the server is asking."""
    is_jwt = secret_key.startswith("eyJ") and secret_key.count(".") == 2  # noqa: PLR2004
    # The legacy service_role key is a JWT; an sb_secret_ key is no bearer token.
    return {"apikey": secret_key} | ({"Authorization": f"Bearer {secret_key}"} if is_jwt else {})

"""Old routes: their metric, and what responses of deprecated ones say (RFC 9745, RFC 8594)."""

import re
from collections.abc import Iterable
from datetime import datetime
from email.utils import format_datetime
from typing import Any, Final, NamedTuple

from starlette.types import Scope

from evpower.api import metrics
from evpower.foundation.module import OldRoute
from evpower.foundation.segments import pattern_of

_MEMBER: Final = re.compile(r"\{([^}]*)\}")
_HEAD: Final = "HEAD"


class _Known(NamedTuple):
    route: OldRoute
    pattern: re.Pattern[str]
    headers: list[tuple[bytes, bytes]]


class OldRoutes:
    """The old routes of all slices, found by their template or, before routing, by path."""

    def __init__(self, routes: Iterable[OldRoute] = ()) -> None:
        self._known = {
            (route.method, route.path): _Known(route, pattern_of([route.path]), _dates(route))
            for route in routes
        }
        self._counts: dict[tuple[str, str, bool], Any] = {}

    def headers(self, scope: Scope, method: str, request_id: bytes) -> list[tuple[bytes, bytes]]:
        """Returns the headers that a response of this request has beside all others."""
        known = self._find(scope, method)
        if known is None:
            return []
        headers = [(b"x-correlation-id", request_id), *known.headers]
        if known.route.successor and known.route.deprecated_at:
            link = f'<{_successor(known, scope)}>; rel="successor-version"'
            headers.append((b"link", link.encode("latin-1")))
        return headers

    def count(self, scope: Scope, method: str, *, has_credential: bool) -> None:
        """Counts a request of an old route."""
        known = self._find(scope, method)
        if known is None:
            return
        key = (known.route.method, known.route.path, has_credential)
        counter = self._counts.get(key)
        if counter is None:
            counter = self._counts[key] = metrics.OLD_REQUESTS.labels(
                known.route.family, *key[:2], "yes" if has_credential else "no"
            )
        counter.inc()

    def _find(self, scope: Scope, method: str) -> _Known | None:
        method = "GET" if method == _HEAD else method
        template: str | None = getattr(scope.get("route"), "path", None)
        if template is not None:
            return self._known.get((method, template))
        path = _raw_path(scope)
        return next(
            (
                known
                for known in self._known.values()
                if known.route.method == method and known.pattern.fullmatch(path)
            ),
            None,
        )


def _raw_path(scope: Scope) -> str:
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    return raw.decode("latin-1")


def _dates(route: OldRoute) -> list[tuple[bytes, bytes]]:
    headers: list[tuple[bytes, bytes]] = []
    if route.deprecated_at is not None:
        headers.append((b"deprecation", f"@{int(route.deprecated_at.timestamp())}".encode()))
    if route.sunset_at is not None:
        headers.append((b"sunset", _http_date(route.sunset_at)))
    return headers


def _http_date(at: datetime) -> bytes:
    return format_datetime(at, usegmt=True).encode()


def _successor(known: _Known, scope: Scope) -> str:
    """Returns the address of the successor for this request, as it came percent-encoded."""
    match = known.pattern.fullmatch(_raw_path(scope))
    values = iter(match.groups() if match else ())
    return _MEMBER.sub(lambda _: next(values, ""), known.route.successor or "")

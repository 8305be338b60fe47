"""Who may read /metrics: it shows turnover, and a scrape costs queries."""

import hmac
import ipaddress
from typing import Final

from starlette.requests import Request

from evpower.foundation.errors import Unauthenticated

# Any of them: there is a proxy between, so that the caller is not this machine.
_FORWARDED: Final = ("x-forwarded-for", "forwarded", "x-real-ip", "via")


class MetricsGuard:
    """Requires the token if there is one, else (`only_here`) a caller on this machine."""

    def __init__(self, token: str, *, only_here: bool) -> None:
        self._expected = f"Bearer {token}".encode() if token else b""
        self._only_here = only_here

    def check(self, request: Request) -> None:
        """Returns for callers that may read. Raises Unauthenticated("unauthorized")."""
        if self._expected:
            sent = request.headers.get("authorization", "").encode()
            if not hmac.compare_digest(sent, self._expected):
                raise Unauthenticated("unauthorized", "the metrics token is missing or wrong")
        elif self._only_here and not _is_here(request):
            raise Unauthenticated(
                "unauthorized", "set EVPOWER_METRICS_TOKEN to read metrics from another machine"
            )


def _is_here(request: Request) -> bool:
    if request.client is None or any(name in request.headers for name in _FORWARDED):
        return False
    try:
        peer = ipaddress.ip_address(request.client.host)
    except ValueError:
        return False
    if isinstance(peer, ipaddress.IPv6Address):
        peer = peer.ipv4_mapped or peer
    return peer.is_loopback

"""Everything around a request before a route is chosen: limits, ids, callers, metrics."""

from evpower.api.gateway.callers import Caller, Identify
from evpower.api.gateway.gateway import Gateway, GatewayOptions
from evpower.api.gateway.http_protocol import ConnectionBounds, HttpProtocol
from evpower.api.gateway.places import Places
from evpower.api.gateway.waiting import WaitingLimit

__all__ = [
    "Caller",
    "ConnectionBounds",
    "Gateway",
    "GatewayOptions",
    "HttpProtocol",
    "Identify",
    "Places",
    "WaitingLimit",
]

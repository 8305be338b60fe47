"""The HTTP edge: everything around a request before and after the slices."""

from evpower.api.app import create_app
from evpower.api.gateway import Caller, ConnectionBounds, HttpProtocol, Identify, WaitingLimit
from evpower.api.health import Overdue
from evpower.api.module import module

__all__ = [
    "Caller",
    "ConnectionBounds",
    "HttpProtocol",
    "Identify",
    "Overdue",
    "WaitingLimit",
    "create_app",
    "module",
]

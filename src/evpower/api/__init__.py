"""The HTTP edge: what every request meets before and after the slices."""

from evpower.api.app import create_app
from evpower.api.gateway import Caller, ConnectionBounds, HttpProtocol, Identify, WaitingLimit
from evpower.api.health import Collector, Overdue, Probe

__all__ = [
    "Caller",
    "Collector",
    "ConnectionBounds",
    "HttpProtocol",
    "Identify",
    "Overdue",
    "Probe",
    "WaitingLimit",
    "create_app",
]

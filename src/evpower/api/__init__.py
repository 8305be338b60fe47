"""The HTTP edge: what every request meets before and after the slices."""

from evpower.api.app import create_app
from evpower.api.edge import Caller, Identify
from evpower.api.heads import HeadProtocol
from evpower.api.health import Collector, Overdue, Probe

__all__ = ["Caller", "Collector", "HeadProtocol", "Identify", "Overdue", "Probe", "create_app"]

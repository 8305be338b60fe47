"""The old API, for apps and tools that still use it. Only bootstrap imports it."""

from evpower.api.legacy.location_feed import LocationFeed
from evpower.api.legacy.location_socket import router
from evpower.api.legacy.module import PLAIN_ERRORS, module
from evpower.api.legacy.payments import payments_router

__all__ = ["PLAIN_ERRORS", "LocationFeed", "module", "payments_router", "router"]

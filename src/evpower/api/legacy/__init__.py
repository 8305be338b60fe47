"""The old contract, for apps and tools that still speak it. Nothing imports it but bootstrap."""

from evpower.api.legacy.location_feed import LocationFeed
from evpower.api.legacy.location_socket import router
from evpower.api.legacy.module import module
from evpower.api.legacy.payments import payments_router

__all__ = ["LocationFeed", "module", "payments_router", "router"]

"""The old contract, for apps and tools that still speak it. Nothing imports it but bootstrap."""

from evpower.api.old.location_feed import LocationFeed
from evpower.api.old.location_socket import router

__all__ = ["LocationFeed", "router"]

"""The old API as a slice."""

from typing import Final

from evpower.api.legacy.location_feed import LocationFeed
from evpower.api.legacy.location_socket import router
from evpower.api.legacy.payments import (
    BALANCE_PATH,
    PAYMENT_PATH,
    TOP_UP_PATH,
    TOP_UP_PATHS,
    payments_router,
)
from evpower.config import Settings
from evpower.foundation.addresses import parse_networks
from evpower.foundation.connection_limits import parse_origins
from evpower.foundation.module import Job, Limit, Module, Shared
from evpower.foundation.roles import SERVING
from evpower.identity import Access
from evpower.payments import Providers

_MINUTE_S: Final = 60.0
# Errors here have the form of the old API.
PLAIN_ERRORS: Final = (BALANCE_PATH, TOP_UP_PATH, PAYMENT_PATH)


def module(settings: Settings, shared: Shared, *, access: Access, providers: Providers) -> Module:
    """Returns the slice."""
    feed = LocationFeed()
    return Module(
        "legacy",
        routers=[
            payments_router(
                shared.db,
                access,
                providers,
                min_som=settings.topup_min_som,
                max_som=settings.topup_max_som,
            ),
            router(
                feed,
                cors_origins=parse_origins(settings.cors_origins),
                trusted_proxies=parse_networks(settings.trusted_proxies),
            ),
        ],
        jobs=[Job(feed.loop, SERVING)],
        route_limits=[
            Limit("money", "also", TOP_UP_PATHS, settings.rate_money_per_minute, _MINUTE_S)
        ],
        plain_errors=PLAIN_ERRORS,
    )

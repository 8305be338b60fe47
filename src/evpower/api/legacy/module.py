"""The old API as a slice."""

from typing import Final

from evpower.api.legacy.charging import (
    START_PATH,
    STATUS_PATH,
    STOP_PATH,
    ChargingCalls,
    charging_fast_paths,
    charging_router,
)
from evpower.api.legacy.favorites import FAVORITE_PATH, FAVORITES_PATH, favorites_router
from evpower.api.legacy.location_changes import LocationChanges
from evpower.api.legacy.location_feed import LocationFeed
from evpower.api.legacy.location_socket import router
from evpower.api.legacy.payments import (
    BALANCE_PATH,
    PAYMENT_PATH,
    TOP_UP_PATH,
    TOP_UP_PATHS,
    payments_router,
)
from evpower.api.legacy.session_changes import SessionChanges
from evpower.api.legacy.station_board import StationBoard
from evpower.api.legacy.stations import (
    LOCATION_PATH,
    LOCATIONS_PATH,
    REFRESH_PATH,
    STATION_PATH,
    STATION_PREFIX,
    StationCalls,
    stations_fast_paths,
    stations_router,
)
from evpower.charging import SESSION_CHANGED, configured_rules
from evpower.config import Settings
from evpower.foundation.addresses import parse_networks
from evpower.foundation.connection_limits import parse_origins
from evpower.foundation.key_watch import KeyWatch
from evpower.foundation.module import Job, Limit, Module, Shared
from evpower.foundation.roles import SERVING
from evpower.identity import Access
from evpower.payments import Confirmer, Providers

_MINUTE_S: Final = 60.0
# Errors here have the form of the old API.
PLAIN_ERRORS: Final = (
    START_PATH, STOP_PATH, STATUS_PATH, BALANCE_PATH, TOP_UP_PATH, PAYMENT_PATH,
    LOCATIONS_PATH, LOCATION_PATH, REFRESH_PATH, STATION_PATH,
    FAVORITES_PATH, FAVORITE_PATH,
)  # fmt: skip


def module(
    settings: Settings,
    shared: Shared,
    *,
    access: Access,
    providers: Providers,
    confirmer: Confirmer,
) -> Module:
    """Returns the slice."""
    feed = LocationFeed()
    board = StationBoard(shared.db, shared.clock)
    changes = LocationChanges(feed, board, shared.bus, shared.clock)
    sessions = SessionChanges(feed, board, shared.db, access, shared.bus, shared.clock)
    charging = ChargingCalls(
        shared.db,
        shared.bus,
        access,
        KeyWatch(shared.bus, SESSION_CHANGED),
        configured_rules(settings),
        shared.clock,
    )
    stations = StationCalls(board, old_hosts(settings))
    money = (*TOP_UP_PATHS, START_PATH)
    public = (LOCATIONS_PATH, STATION_PREFIX)
    return Module(
        "legacy",
        routers=[
            charging_router(charging),
            stations_router(stations),
            favorites_router(shared.db, access, shared.clock),
            payments_router(
                shared.db,
                access,
                providers,
                confirmer,
                min_som=settings.topup_min_som,
                max_som=settings.topup_max_som,
            ),
            router(
                feed,
                sessions.sign_in,
                cors_origins=parse_origins(settings.cors_origins),
                trusted_proxies=parse_networks(settings.trusted_proxies),
                old_hosts=old_hosts(settings),
            ),
        ],
        fast_paths=[*charging_fast_paths(charging), *stations_fast_paths(stations)],
        jobs=[
            Job(feed.loop, SERVING),
            Job(changes.loop, SERVING),
            Job(sessions.loop, SERVING),
        ],
        route_limits=[
            Limit("money", "also", money, settings.rate_money_per_minute, _MINUTE_S),
            Limit("public", "public", public, settings.rate_public_per_minute, _MINUTE_S),
        ],
        plain_errors=PLAIN_ERRORS,
    )


def old_hosts(settings: Settings) -> frozenset[str]:
    """Returns the hosts whose apps call a free station active."""
    names = (name.strip().lower() for name in settings.old_app_hosts.split(","))
    return frozenset(name for name in names if name)

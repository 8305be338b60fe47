"""The old API as a slice."""

from collections.abc import Sequence
from typing import Final

from evpower import __version__
from evpower.api.legacy.account import account_router
from evpower.api.legacy.admin import AdminCalls, SumDays
from evpower.api.legacy.admin_clients import clients_routes
from evpower.api.legacy.admin_sessions import sessions_routes
from evpower.api.legacy.admin_stations import stations_routes
from evpower.api.legacy.balance import balance_router
from evpower.api.legacy.callers import Allowed, OldCallers
from evpower.api.legacy.cards import cards_router
from evpower.api.legacy.charging import (
    START_TAIL,
    ChargingCalls,
    charging_fast_paths,
    charging_router,
)
from evpower.api.legacy.families import PREFIXES, Operation
from evpower.api.legacy.favorites import favorites_router
from evpower.api.legacy.health import HEALTH_PATH, health_router
from evpower.api.legacy.location_changes import LocationChanges
from evpower.api.legacy.location_feed import LocationFeed
from evpower.api.legacy.location_socket import router
from evpower.api.legacy.old_routes import CARD_PATHS, CODED_ERRORS, PLAIN_ERRORS, old_routes
from evpower.api.legacy.payment_calls import payment_calls_router
from evpower.api.legacy.payments import TOP_UP_TAIL, PaymentCalls, payments_router
from evpower.api.legacy.session_changes import SessionChanges
from evpower.api.legacy.sign_in import (
    CODE_PATHS,
    TOKEN_PATHS,
    SignInRoutes,
    sign_in_router,
)
from evpower.api.legacy.station_board import StationBoard
from evpower.api.legacy.stations import (
    LOCATIONS_PATH,
    STATION_PREFIXES,
    StationCalls,
    stations_fast_paths,
    stations_router,
)
from evpower.charging import SESSION_CHANGED, SessionStatuses, configured_rules
from evpower.config import Settings
from evpower.foundation.addresses import parse_networks
from evpower.foundation.connection_limits import parse_origins
from evpower.foundation.key_watch import KeyWatch
from evpower.foundation.module import Job, Limit, Module, Shared
from evpower.foundation.roles import SERVING
from evpower.identity import Access, AccountDeletion, PhoneSignIn
from evpower.payments import Confirmer, Providers
from evpower.stations import Carrier

_MINUTE_S: Final = 60.0
# By address, and a carrier's network address translation is one: the limits that count for a phone
# are in the database.
_CODES_PER_MINUTE: Final = 120
_TOKENS_PER_MINUTE: Final = 1200
# Where a switch lets calls without a token pass, they are counted by the id that they name.
_NAMED: Final[dict[Operation, tuple[tuple[str, str], ...]]] = {
    "read": (
        ("GET", "/charging/status/{session_id}"), ("GET", "/balance/{client_id}"),
        ("GET", "/payment/status/{invoice_id}"), ("GET", "/payment/h2h-status/{transaction_id}"),
        ("POST", "/payment/status-check/{invoice_id}"),
    ),
    "stop": (("POST", "/charging/stop"),),
    "start": (("POST", START_TAIL),),
    "top-up": (("POST", TOP_UP_TAIL), ("POST", "/payment/cancel/{invoice_id}")),
}  # fmt: skip
_OTHERS: Final = ("GET /api/v1/balance/get",)  # routes that look like one of these


def allowed_operations(settings: Settings) -> Allowed:
    """Returns the operations that each family allows without a token."""
    return {
        "mobile": settings.without_token_mobile_operations,
        "v1": settings.without_token_v1_operations,
    }


def named_limit(settings: Settings, allowed: Allowed) -> Limit:
    """Returns the limit of calls without a token, which the slice counts."""
    paths = tuple(
        f"{method} {PREFIXES[family]}{tail}"
        for family, operations in allowed.items()
        for operation in sorted(operations)
        for method, tail in _NAMED[operation]
    )
    return Limit("without a token", "by_slice", paths, settings.rate_per_minute, _MINUTE_S, _OTHERS)


def old_callers(settings: Settings, shared: Shared, access: Access) -> OldCallers:
    """Returns who may make old calls."""
    return OldCallers(
        shared.db,
        access,
        allowed=allowed_operations(settings),
        per_id=settings.rate_without_token_per_minute,
        per_address=settings.rate_per_minute,
        top_ups_per_address=settings.rate_money_per_minute,
        trusted_proxies=parse_networks(settings.trusted_proxies),
    )


def module(  # noqa: PLR0913 - what the groups of old routes need of other slices
    settings: Settings,
    shared: Shared,
    *,
    access: Access,
    providers: Providers,
    confirmer: Confirmer,
    phones: PhoneSignIn,
    deletion: AccountDeletion,
    period_totals: SumDays,
    station_paths: Sequence[str],
    callers: OldCallers | None = None,
    carrier: Carrier | None = None,
) -> Module:
    """Returns the slice; `period_totals` sums up days for the admin pages.

    `station_paths`: templates of the paths of stations' sockets.
    """
    callers = callers or old_callers(settings, shared, access)
    feed = LocationFeed()
    board = StationBoard(shared.db, shared.clock)
    changes = LocationChanges(feed, board, shared.bus, shared.clock)
    sessions = SessionChanges(feed, board, shared.db, access, shared.bus, shared.clock)
    charging = ChargingCalls(
        shared.db,
        SessionStatuses(shared.db),
        shared.bus,
        callers,
        KeyWatch(shared.bus, SESSION_CHANGED),
        configured_rules(settings),
        shared.clock,
        carrier,
    )
    stations = StationCalls(board, old_hosts(settings))
    bounds_minor = (settings.topup_min_som * 100, settings.topup_max_som * 100)
    payments = PaymentCalls(shared.db, callers, providers, confirmer, bounds_minor, shared.clock)
    admin = AdminCalls(shared.db, shared.bus, access, board, period_totals, shared.clock)
    return Module(
        "legacy",
        routers=[
            charging_router(charging),
            stations_router(stations),
            favorites_router(shared.db, access, shared.clock),
            stations_routes(admin),
            sessions_routes(admin),
            clients_routes(admin),
            payments_router(payments),
            payment_calls_router(payments),
            cards_router(),
            balance_router(shared.db, callers),
            health_router(
                shared.db, shared.clock, version=__version__, station_paths=station_paths
            ),
            account_router(deletion, access),
            sign_in_router(
                SignInRoutes(shared.db, access, phones, parse_networks(settings.trusted_proxies))
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
        route_limits=_limits(settings),
        plain_errors=PLAIN_ERRORS,
        coded_errors=CODED_ERRORS,
        old_routes=old_routes(settings.old_api_sunset),
        unread_bodies=CARD_PATHS,
        unlimited=[HEALTH_PATH],
        about={"health_check": HEALTH_PATH},
    )


def _limits(settings: Settings) -> list[Limit]:
    prefixes = PREFIXES.values()
    money = tuple(f"{prefix}{tail}" for prefix in prefixes for tail in (TOP_UP_TAIL, START_TAIL))
    public = (LOCATIONS_PATH, *STATION_PREFIXES)
    return [
        Limit("money", "also", money, settings.rate_money_per_minute, _MINUTE_S),
        Limit("public", "public", public, settings.rate_public_per_minute, _MINUTE_S),
        Limit("sign_in", "instead", CODE_PATHS, _CODES_PER_MINUTE, _MINUTE_S),
        Limit("sign_in_tokens", "instead", TOKEN_PATHS, _TOKENS_PER_MINUTE, _MINUTE_S),
        Limit("cards", "instead", CARD_PATHS, settings.rate_per_minute, _MINUTE_S),
        named_limit(settings, allowed_operations(settings)),
    ]


def old_hosts(settings: Settings) -> frozenset[str]:
    """Returns the hosts whose apps call a free station active."""
    names = (name.strip().lower() for name in settings.old_app_hosts.split(","))
    return frozenset(name for name in names if name)

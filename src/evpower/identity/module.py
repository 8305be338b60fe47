"""The module of identity: routes, jobs, metrics, limits, topics."""

from typing import TYPE_CHECKING, Final

from evpower.config import Settings
from evpower.foundation.http import HttpClient
from evpower.foundation.loops import Round, every
from evpower.foundation.module import Job, Limit, Module, Shared
from evpower.foundation.purge import purging
from evpower.identity.access import Access
from evpower.identity.confirmations import measure_confirmations, send_confirmations
from evpower.identity.issued_tokens import OwnKeys
from evpower.identity.jobs import converge_registrations, purge_registrations
from evpower.identity.model import CLIENT_CHANGED
from evpower.identity.operator_calls import OperatorCalls
from evpower.identity.sign_in.upkeep import measure_signing_key, purge_sign_ins
from evpower.identity.supabase_admin import SupabaseAdmin

if TYPE_CHECKING:
    from evpower.identity.tokens import TokenVerifier

_CONVERGE_S: Final = 5.0
_CONFIRMATIONS_S: Final = 10.0
_PURGE_S: Final = 600.0
_HOUR_S: Final = 3600.0
_MINUTE_S: Final = 60.0


def configured_admin(settings: Settings, shared: Shared) -> SupabaseAdmin:
    """Returns the client of the settings' Supabase Auth."""
    return SupabaseAdmin(
        http=shared.http,
        url=settings.supabase_url,
        secret_key=settings.supabase_secret_key,
        publishable_key=settings.supabase_publishable_key,
    )


def configured_verifier(
    settings: Settings, http: HttpClient, own: OwnKeys | None = None
) -> "TokenVerifier":
    """Returns the verifier of the settings' project, and of EvPower's `own` tokens.

    Raises ValueError for a short HS256 secret.
    """
    from evpower.identity.tokens import TokenVerifier  # only a server verifies tokens

    return TokenVerifier(
        issuer_url=f"{settings.supabase_url.rstrip('/')}/auth/v1",
        http=http,
        hs256_secret=settings.supabase_jwt_secret,
        previous_hs256_secrets=[settings.supabase_jwt_secret_previous],
        allow_anonymous=settings.anonymous_clients,
        own=own,
        old_secret=settings.old_token_secret,
    )


def configured_access(settings: Settings, shared: Shared, admin: SupabaseAdmin) -> Access:
    """Returns the settings' Access. Raises ValueError for a short HS256 secret."""
    return Access(
        shared.db,
        configured_verifier(settings, shared.http, OwnKeys(shared.db, shared.clock)),
        introspect_with=admin if settings.auth_introspect == "money" else None,
    )


def module(settings: Settings, shared: Shared, *, access: Access, admin: SupabaseAdmin) -> Module:
    """Returns the module of identity."""
    from evpower.identity import endpoints
    from evpower.identity.operator_endpoints import operator_router
    from evpower.identity.phone_review_endpoints import phone_reviews_router
    from evpower.identity.sign_in.published_keys import JWKS_PATH, published_keys_router
    from evpower.identity.staff_endpoints import staff_router

    db, bus, clock = shared.db, shared.bus, shared.clock

    async def converge(current: Round) -> None:
        await converge_registrations(db, admin, clock, progress=current.progress)

    async def confirm(current: Round) -> None:
        await send_confirmations(db, admin, clock, current)

    return Module(
        "identity",
        routers=[
            endpoints.router(db, admin, bus, confirm=settings.register_confirm),
            operator_router(access, db, bus),
            staff_router(OperatorCalls(access, db, bus, clock)),
            phone_reviews_router(OperatorCalls(access, db, bus, clock), admin),
            published_keys_router(db, clock),
        ],
        jobs=[
            Job(lambda: every(_CONVERGE_S, "converge_registrations", converge)),
            Job(lambda: every(_CONFIRMATIONS_S, "send_confirmations", confirm)),
            Job(
                lambda: every(
                    _PURGE_S, "purge_registrations", purging(db, clock, purge_registrations)
                )
            ),
            Job(lambda: every(_PURGE_S, "purge_sign_ins", purging(db, clock, purge_sign_ins))),
        ],
        collectors=[
            lambda: measure_confirmations(db),
            lambda: measure_signing_key(db, clock),
        ],
        route_limits=[
            Limit(
                "register", "instead", (endpoints.REGISTER_PATH,),
                settings.rate_register_per_hour, _HOUR_S,
            ),
            Limit("keys", "instead", (JWKS_PATH,), settings.rate_per_minute, _MINUTE_S),
        ],
        topics=[CLIENT_CHANGED],
        start=access.prefetch,
    )  # fmt: skip

"""Builds the slice: its routes, jobs, limits, metrics and readiness check."""

import asyncio
from typing import Final

from evpower.config import Settings
from evpower.foundation.http import HttpClient
from evpower.foundation.loops import every
from evpower.foundation.module import Job, Limit, Module, Readiness, Shared
from evpower.foundation.roles import WORKING
from evpower.sync.alarms import alarms_loop
from evpower.sync.inbound.pull import Puller
from evpower.sync.model import SUPABASE_CHANGED
from evpower.sync.outbound.presence import Presence
from evpower.sync.outbound.relay import Relay
from evpower.sync.reconciliation.scheduler import ReconciliationScheduler
from evpower.sync.status import status
from evpower.sync.supabase_rpc import SupabaseRpc, secret_key_headers
from evpower.sync.webhook.receive import SupabaseWebhooks

_PRUNE_S: Final = 3600.0
_PURGE_S: Final = 600.0
_MINUTE_S: Final = 60.0
_PROBE_S: Final = 2.0  # /readyz waits as long
_PROBE_BYTES: Final = 65_536


def module(settings: Settings, shared: Shared) -> Module:
    """Returns the slice."""
    from evpower.sync.webhook.endpoints import PREFIX, webhook_router

    db, bus, clock = shared.db, shared.bus, shared.clock
    rpc = SupabaseRpc(
        shared.http,
        settings.supabase_url,
        settings.supabase_secret_key.get_secret_value(),
        timeout_s=settings.supabase_timeout_s,
    )
    webhooks = SupabaseWebhooks(db, bus, settings.supabase_webhook_secrets.get_secret_value())
    puller = Puller(db, rpc, settings, clock, bus)

    async def measure() -> None:
        async with db.connection() as connection:
            await status(connection)

    return Module(
        "sync",
        routers=[webhook_router(webhooks)],
        # Every process pulls when notified; worker processes also poll.
        jobs=[
            Job(lambda: puller.loop(periodic=True), WORKING),
            Job(lambda: puller.loop(periodic=False), frozenset({"api"})),
            Job(lambda: every(_PRUNE_S, "prune_changes", puller.prune)),
            Job(lambda: Relay(db, rpc, settings, clock, bus).loop()),
            Job(lambda: Presence(db, clock).loop()),
            Job(lambda: alarms_loop(db, clock)),
            Job(lambda: ReconciliationScheduler(db, rpc, settings, clock).loop()),
            Job(lambda: every(_PURGE_S, "purge_webhook_inbox", webhooks.purge)),
        ],
        collectors=[measure],
        route_limits=[
            Limit("webhook", "signed", (f"{PREFIX}/",), settings.rate_webhook_per_minute, _MINUTE_S)
        ],
        topics=[SUPABASE_CHANGED],
        readiness=[Readiness("supabase", lambda: supabase_answers(settings, shared.http))],
        close=webhooks.close,
    )


async def supabase_answers(settings: Settings, http: HttpClient) -> bool:
    """Returns whether Supabase Auth responds, and PostgREST with a row of the database."""
    base = settings.supabase_url.rstrip("/")
    keys, rows = await asyncio.gather(
        http.fetch(
            "supabase_keys",
            "GET",
            f"{base}/auth/v1/.well-known/jwks.json",
            timeout_s=_PROBE_S,
            max_bytes=_PROBE_BYTES,
        ),
        http.fetch(
            "supabase_rest",
            "GET",
            f"{base}/rest/v1/clients?select=id&limit=1",
            headers=secret_key_headers(settings.supabase_secret_key.get_secret_value()),
            timeout_s=_PROBE_S,
            max_bytes=_PROBE_BYTES,
        ),
    )
    return keys.is_success and rows.is_success

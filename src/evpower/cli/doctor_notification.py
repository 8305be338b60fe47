"""Whether a change notification of Supabase arrives: one is sent and waited for."""

import time
from typing import Final

import asyncpg

from evpower import sync
from evpower.cli.finding import Finding
from evpower.cli.supabase import describe, what_is_wrong
from evpower.config import Settings
from evpower.foundation.db import Database
from evpower.foundation.errors import EvPowerError
from evpower.foundation.http import HttpClient

WAIT_S: Final = 15.0
_NAME: Final = "change notification"
_ROTATE: Final = "evpower supabase secret rotate"
_EXTENSION: Final = "switch pg_net on under Database > Extensions"
_REACH: Final = (
    "Supabase must reach EvPower there: EVPOWER_PUBLIC_URL (its name in public DNS, a certificate"
    " of a public authority, the proxy passing /api/v1/webhooks/), then evpower supabase secret"
    " rotate"
)
_OK: Final = 200
_UNAUTHORIZED: Final = 401


async def examine_notifications(
    settings: Settings, http: HttpClient, *, may_write: bool
) -> list[Finding]:
    """Returns what both sides have configured, and with `may_write` the result of a real call."""
    rpc = sync.SupabaseRpc(
        http, settings.supabase_url, settings.supabase_secret_key.get_secret_value()
    )
    try:
        database = await Database.open(settings.database_url.get_secret_value(), size=2)
        try:
            now = await sync.webhook_status(
                database, rpc, settings.supabase_webhook_secrets.get_secret_value()
            )
        finally:
            await database.close()
    except (EvPowerError, asyncpg.PostgresError, OSError, ValueError) as error:
        return [Finding(_NAME, None, f"not examined: EvPower's database: {error}")]
    except sync.SyncError as error:
        return [Finding(_NAME, None, f"not examined: {error}")]
    if wrong := what_is_wrong(now):
        return [Finding(_NAME, False, wrong, _ROTATE if now.pg_net else _EXTENSION)]
    if now.url is None or not may_write:
        return [Finding(_NAME, True, describe(now))]
    return [await send_one(rpc, now.url)]


async def send_one(rpc: sync.SupabaseRpc, url: str) -> Finding:
    """Lets Supabase call `url` now. Returns the result."""
    began = time.monotonic()
    try:
        result = await sync.send_notification(rpc, wait_s=WAIT_S)
    except sync.SyncError as error:
        return Finding(_NAME, None, f"not examined: {error}")
    took_ms = (time.monotonic() - began) * 1000
    return judge(result, url, took_ms)


def judge(result: sync.NotificationResult | None, url: str, took_ms: float) -> Finding:
    """Returns what the response that Supabase got for its call means."""
    if result is None:
        return Finding(
            _NAME,
            False,
            f"pg_net did not send a call in {WAIT_S:g} s: its worker does not run, or is held up by"
            " the slow webhook of another",
            "in Supabase's SQL editor: select net.worker_restart();",
        )
    if result.error:
        return Finding(_NAME, False, f"the call of {url} failed: {result.error}", _REACH)
    if result.status == _UNAUTHORIZED:
        return Finding(_NAME, False, f"{url} refused the signature (401)", _ROTATE)
    if result.status != _OK or not result.is_ours:
        detail = f"{url} answered {result.status}, and not as EvPower does"
        return Finding(_NAME, False, detail, _REACH)
    return Finding(_NAME, True, f"arrived at {url} after {took_ms:.0f} ms")

"""Commands that need the database and Supabase at once."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from evpower import sync
from evpower.cli.out import fail
from evpower.cli.settings import load_checked, logs_to_stderr, outgoing_http
from evpower.foundation.db import Database
from evpower.foundation.errors import EvPowerError

T = TypeVar("T")
_ASK_DOCTOR: Final = "evpower doctor names the cause."


def with_supabase(work: Callable[[Database, sync.SupabaseRpc], Awaitable[T]]) -> T:
    """Runs `work` on both; an expected error becomes one line and exit 1."""
    settings = load_checked()

    async def run() -> T:
        database = await Database.open(settings.database_url.get_secret_value(), size=4)
        try:
            async with outgoing_http(settings) as http:
                secret = settings.supabase_secret_key.get_secret_value()
                rpc = sync.SupabaseRpc(http, settings.supabase_url, secret, timeout_s=30)
                return await work(database, rpc)
        finally:
            await database.close()

    try:
        with logs_to_stderr():
            return asyncio.run(run())
    except EvPowerError as error:
        fail(error.for_operators)
    except sync.TargetRefuses as error:
        fail(f"Supabase: {error}", error.hint or _ASK_DOCTOR)
    except sync.SyncError as error:
        fail(f"Supabase: {error}", _ASK_DOCTOR)

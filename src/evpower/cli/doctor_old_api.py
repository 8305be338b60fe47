"""What `evpower doctor` says of the old API: which of its calls need no token."""

from typing import Final

import asyncpg

from evpower import identity
from evpower.cli.finding import Finding
from evpower.config import OldOperation, Settings
from evpower.foundation.db import connect

_NAME: Final = "old calls without a token"
_TIMEOUT_S: Final = 5.0
# What a client has to be listed for.
_BY_CLIENT: Final = frozenset[OldOperation]({"start", "top-up"})


async def look_at_old_api(settings: Settings) -> list[Finding]:
    """Tells the switches, and how many clients are listed."""
    mobile = settings.without_token_mobile_operations
    v1 = settings.without_token_v1_operations
    if not mobile and not v1:
        return [Finding(_NAME, ok=True, detail="refused: every call needs a token")]
    allowed = f"allowed: /api {_words(mobile)}; /api/v1 {_words(v1)}"
    listed = await _count(settings.database_url.get_secret_value())
    if listed is None:
        return [Finding(_NAME, None, f"{allowed}; the list of clients was not read")]
    detail = f"{allowed}; {listed} clients listed"
    fix = "evpower clients without-token add FILE, or take start and top-up out of the settings"
    return [Finding(_NAME, listed > 0 or not (mobile | v1) & _BY_CLIENT, detail, fix)]


def _words(operations: frozenset[OldOperation]) -> str:
    return ", ".join(sorted(operations)) or "none"


async def _count(dsn: str) -> int | None:
    if not dsn:
        return None
    try:
        async with connect(dsn, timeout_s=_TIMEOUT_S, command_timeout_s=_TIMEOUT_S) as connection:
            return await identity.count_without_token(connection)
    except (OSError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError):
        return None

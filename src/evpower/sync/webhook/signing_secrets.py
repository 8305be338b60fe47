"""The secrets that may sign webhooks: from the settings, and from the database as it is now."""

import asyncio
import time
from collections.abc import Callable
from datetime import datetime
from typing import Final

import structlog

from evpower.foundation.clock import Clock
from evpower.foundation.db import Database
from evpower.foundation.errors import Unavailable
from evpower.sync.webhook import store_inbox
from evpower.sync.webhook.signatures import parse_secret, parse_secrets

_CACHE_TTL_S: Final = 30.0
_RETRY_S: Final = 1.0  # forged calls cause at most one read in this time
_READ_S: Final = 2.0
_log = structlog.get_logger()


class WebhookSecrets:
    """A cache of the keys, at most 30 s old; `now_s` is a monotonic clock."""

    def __init__(
        self,
        db: Database,
        configured: str,
        clock: Clock,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._db = db
        try:
            self._configured = parse_secrets(configured)
        except ValueError as error:
            raise ValueError(f"EVPOWER_SUPABASE_WEBHOOK_SECRETS: {error}") from error
        self._clock = clock
        self._now_s = now_s
        self._stored: tuple[tuple[bytes, datetime | None], ...] = ()
        self._tried_at = self._read_at = float("-inf")
        self._reading: asyncio.Task[None] | None = None

    @property
    def known(self) -> bool:
        """Whether the database was read at least once."""
        return self._read_at > float("-inf")

    async def current(self) -> tuple[bytes, ...]:
        """Returns every key that is valid now."""
        if self._now_s() - self._read_at >= _CACHE_TTL_S:
            await self._read()
        return self._valid()

    async def newer_than(self, tried: tuple[bytes, ...]) -> tuple[bytes, ...]:
        """Returns valid keys that are not in `tried`; reads the database at most once a second."""
        await self._read()
        return tuple(key for key in self._valid() if key not in tried)

    def _valid(self) -> tuple[bytes, ...]:
        now = self._clock()
        stored = (key for key, end in self._stored if end is None or end > now)
        return tuple(dict.fromkeys((*self._configured, *stored)))

    async def _read(self) -> None:
        """Reads once for all concurrent callers; if the read fails, the known keys stay."""
        if self._reading is None:
            if self._now_s() - self._tried_at < _RETRY_S:
                return
            self._tried_at = self._now_s()
            self._reading = asyncio.create_task(self._load())
            self._reading.add_done_callback(self._ended)
        await asyncio.shield(self._reading)

    def _ended(self, _: "asyncio.Task[None]") -> None:
        self._reading = None

    async def _load(self) -> None:
        began = self._now_s()
        try:
            async with asyncio.timeout(_READ_S), self._db.connection() as connection:
                rows = await store_inbox.secrets(connection)
        except (Unavailable, TimeoutError):
            _log.warning("webhook_secrets_read_failed")
            return
        stored: list[tuple[bytes, datetime | None]] = []
        for secret_id, secret, not_after in rows:
            try:
                stored.append((parse_secret(secret), not_after))
            except ValueError as error:
                _log.error("webhook_secret_rejected", id=secret_id, error=str(error))
        self._stored = tuple(stored)
        self._read_at = began

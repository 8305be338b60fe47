"""Names that tried to connect and were refused; written a moment later, many at once."""

from dataclasses import replace
from datetime import datetime
from typing import Final

from evpower import stations
from evpower.foundation.db import Database
from evpower.foundation.loops import Loop, Round

_FLUSH_S: Final = 1.0
_NAME_CHARS: Final = 255


class UnknownNames:
    """Attempts since the last write."""

    def __init__(self, db: Database, *, most: int = stations.MOST_UNKNOWN) -> None:
        """`most`: names that wait to be written; more are counted when they try again."""
        self._db = db
        self._most = most
        self._attempts: dict[str, stations.UnknownStation] = {}

    def add(
        self,
        name: str,
        address: str,
        at: datetime,
        reason: stations.ConnectRefusal = "station_not_found",
    ) -> None:
        """Counts an attempt; one without a name is counted by its address."""
        name = name.strip()[:_NAME_CHARS]
        key = stations.key_of(name) or f" {address}"
        known = self._attempts.get(key)
        if known is not None:
            self._attempts[key] = stations.UnknownStation(
                name, address, known.attempts + 1, known.first_seen_at, at, reason
            )
        elif len(self._attempts) < self._most:
            self._attempts[key] = stations.UnknownStation(name, address, 1, at, at, reason)

    def loop(self) -> Loop:
        """Returns the loop that writes them."""

        async def flush(_: Round) -> None:
            await self.flush()

        return Loop("ocpp_unknown", flush, period_s=_FLUSH_S)

    async def flush(self) -> None:
        """Writes the attempts; after a failure they are written with the next ones."""
        attempts, self._attempts = self._attempts, {}
        if not attempts:
            return
        try:
            async with self._db.transaction() as connection:
                await stations.record_attempts(connection, attempts.values())
        except BaseException:
            for key, known in attempts.items():
                newer = self._attempts.get(key)
                if newer is not None:
                    newer = replace(
                        newer,
                        attempts=newer.attempts + known.attempts,
                        first_seen_at=known.first_seen_at,
                    )
                self._attempts[key] = newer or known
            raise

"""Counts what stations do off the protocol, by kind; written once a minute."""

from dataclasses import replace
from datetime import datetime
from typing import Final

from evpower import stations
from evpower.foundation.db import Database
from evpower.foundation.loops import Loop, Round
from evpower.ocpp import metrics

_FLUSH_S: Final = 60.0
_SAMPLE_CHARS: Final = 4000
_MOST: Final = 50_000  # kinds of all stations


class Deviations:
    """Deviations counted since the last write."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._counts: dict[tuple[str, str], stations.Deviation] = {}

    def add(self, station_id: str, kinds: set[str], sample: str, at: datetime) -> None:
        """Counts kinds of deviations in one frame."""
        for kind in kinds:
            metrics.DEVIATIONS.labels(kind).inc()
            key = (station_id, kind)
            known = self._counts.get(key)
            if known is not None:
                self._counts[key] = replace(known, count=known.count + 1, at=at)
            elif len(self._counts) < _MOST:
                self._counts[key] = stations.Deviation(
                    station_id, kind, 1, sample[:_SAMPLE_CHARS], at
                )

    def loop(self) -> Loop:
        """Returns the loop that writes them."""

        async def flush(_: Round) -> None:
            await self.flush()

        return Loop("ocpp_deviations", flush, period_s=_FLUSH_S)

    async def flush(self) -> None:
        """Writes the counts; after a failure they are written with the next ones."""
        counts, self._counts = self._counts, {}
        if not counts:
            return
        try:
            async with self._db.transaction() as connection:
                ordered = [counts[key] for key in sorted(counts)]
                await stations.count_deviations(connection, ordered)
        except BaseException:
            for key, known in counts.items():
                newer = self._counts.get(key)
                more = 0 if newer is None else newer.count
                self._counts[key] = replace(known, count=known.count + more)
            raise

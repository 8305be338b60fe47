"""Stores meter values of several stations in one transaction, each answered after its commit.

A frame waits for no other: what came in while the previous transactions ran goes into the next one.
A frame that fails, that does more than store values, that has no time, or whose station another
transaction has locked, gets a transaction of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

from evpower import charging, stations
from evpower.charging import Changes, SharedValues, StationReadings
from evpower.foundation.batching import Batcher, is_database_down
from evpower.foundation.clock import Clock
from evpower.foundation.db import Connection, Database
from evpower.ocpp import metrics, store
from evpower.ocpp.model import FrameRow

_MOST: Final = 128  # in one transaction, whose stations stay locked until it commits
_IN_FLIGHT: Final = 3


class FrameOutcome(NamedTuple):
    """What became of a frame that is committed."""

    changes: Changes
    is_repeated: bool


@dataclass(slots=True, eq=False)
class ValuesFrame:
    """Meter values, read, with the key and the text of their answer, and both raw frames."""

    event: StationReadings
    key: bytes
    answer: str
    rows: tuple[FrameRow, FrameRow]

    @property
    def is_timed(self) -> bool:
        """Whether each value has a time; without one equal values may be news."""
        return all(reading.time.at is not None for reading in self.event.readings)


class SharedFrames:
    """Takes the meter values of all sockets of this node; close it."""

    def __init__(self, db: Database, clock: Clock, rules: charging.Rules) -> None:
        self._db = db
        self._clock = clock
        self._rules = rules
        self._values = SharedValues(rules)
        self._batcher = Batcher[ValuesFrame, FrameOutcome | None](
            self._run,
            max_size=_MOST,
            in_flight=_IN_FLIGHT,
            is_fatal=is_database_down,
            on_batch=metrics.count_shared,
        )

    async def take(self, frame: ValuesFrame) -> FrameOutcome:
        """Stores a frame's values; committed when this returns. Raises Unavailable."""
        outcome = await self._batcher(frame)
        return await self._alone(frame) if outcome is None else outcome

    async def close(self) -> None:
        """Accepts no more frames and finishes the pending ones."""
        await self._batcher.close()

    async def _run(self, frames: list[ValuesFrame]) -> dict[ValuesFrame, FrameOutcome | None]:
        """Returns what became of each frame; None: it needs a transaction of its own."""
        if len(frames) == 1:
            return {frames[0]: await self._alone(frames[0], is_usual=True)}
        outcomes: dict[ValuesFrame, FrameOutcome | None] = dict.fromkeys(frames)
        # Of a station with two sockets the later frame is stored alone, after the first one.
        first = {frame.event.station_id: frame for frame in reversed(frames) if frame.is_timed}
        if not first:
            return outcomes
        async with self._db.transaction() as connection:
            free = await stations.lock_free_stations(connection, [*first])
            listed = [first[station_id] for station_id in free]
            outcomes |= await self._share(connection, listed, [*free.values()], self._clock())
        return outcomes

    async def _share(
        self,
        connection: Connection,
        frames: Sequence[ValuesFrame],
        paid_only: Sequence[bool],
        now: datetime,
    ) -> dict[ValuesFrame, FrameOutcome]:
        """Stores those of the frames that only add values; their stations are locked."""
        drafts = await self._values.draft(
            connection, [frame.event for frame in frames], paid_only=paid_only, now=now
        )
        drafted = {
            frame: draft for frame, draft in zip(frames, drafts, strict=True) if draft is not None
        }
        if not drafted:
            return {}
        new = await store.claim_answers(
            connection,
            [store.AnsweredCall(frame.key, frame.answer, frame.rows) for frame in drafted],
        )
        written = [draft for frame, draft in drafted.items() if frame.key in new]
        if written:
            await self._values.write(connection, written)
        return {
            frame: FrameOutcome(draft.changes, is_repeated=False)
            if frame.key in new
            else FrameOutcome(Changes(), is_repeated=True)
            for frame, draft in drafted.items()
        }

    async def _alone(self, frame: ValuesFrame, *, is_usual: bool = False) -> FrameOutcome:
        """Stores one frame, whatever it does. `is_usual`: it may do no more than add values."""
        now = self._clock()
        async with self._db.transaction() as connection:
            # Before its answer is claimed: a shared transaction has locked the station by then.
            station = await stations.lock_station(connection, frame.event.station_id)
            if is_usual and frame.is_timed:
                shared = await self._share(connection, [frame], [station.paid_only], now)
                if shared:
                    return shared[frame]
            is_new = await store.claim_answer(connection, frame.key, frame.answer, frame.rows)
            if not is_new and frame.is_timed:
                return FrameOutcome(Changes(), is_repeated=True)
            changes = await charging.meter_values(
                connection, frame.event, now=now, rules=self._rules, is_like_earlier=not is_new
            )
        return FrameOutcome(changes, is_repeated=not is_new)

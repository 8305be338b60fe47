"""Background loops: each repeats a round of work until the process stops, and records its rounds.

Every loop of the process is a `Loop`: a test refuses any other loop that waits.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import structlog
from prometheus_client import Counter, Gauge

from evpower.foundation.backoff import Backoff
from evpower.foundation.clock import Clock, utc_now
from evpower.foundation.errors import Unavailable

OVERDUE_S: Final = 60.0
_FIRST_PAUSE_S: Final = 1.0  # after a round that crashed
log: Final = structlog.get_logger()

LAST_ROUND: Final = Gauge(
    "evpower_loop_last_round_timestamp_seconds", "When a loop last finished a round", ("loop",)
)
OVERDUE: Final = Gauge(
    "evpower_loop_overdue",
    "1 while a loop stands still: for 60 s, or two of its periods",
    ("loop",),
)
FAILURES: Final = Counter(
    "evpower_loop_failures_total", "Rounds of a loop that failed, or parts of one", ("loop", "code")
)


@dataclass(frozen=True, slots=True)
class Pause:
    """The pause before a loop's next round; `wakeable`: a notification ends it."""

    seconds: float
    wakeable: bool = True


AT_ONCE: Final = Pause(0)


class Wakeup:
    """Wakes one loop: notifications are merged, and one that comes during work is not lost."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    @property
    def is_set(self) -> bool:
        """Whether the next wait returns at once."""
        return self._event.is_set()

    def notify(self) -> None:
        """Wakes the waiting loop, or makes the next wait return at once."""
        self._event.set()

    async def wait(self, timeout_s: float) -> bool:
        """Waits for a notification, at most `timeout_s`. Returns whether one came."""
        if not self._event.is_set():
            try:
                await asyncio.wait_for(self._event.wait(), timeout_s)
            except TimeoutError:
                return False
        self._event.clear()
        return True


def is_overdue(period_s: float, idle_s: float, running_s: float | None) -> bool:
    """Returns whether no round ended for two periods (60 s at least), or one runs for 60 s."""
    if running_s is not None and running_s > OVERDUE_S:
        return True
    return idle_s > max(OVERDUE_S, 2 * period_s)


class Record:
    """The record of a loop's rounds; `error` is the code of the last failure, "" after none."""

    def __init__(
        self, name: str, period_s: float, now_s: Callable[[], float], clock: Clock
    ) -> None:
        self.name = name
        self.period_s = period_s
        self.finished_at: datetime | None = None
        self.running_since: datetime | None = None
        self.error = ""
        self._now_s = now_s
        self._clock = clock
        self._finished_s = self._began_s = now_s()

    @property
    def idle_s(self) -> float:
        """Seconds since a round, or part of a long one, was finished; first since the start."""
        return self._now_s() - self._finished_s

    @property
    def running_s(self) -> float | None:
        """Seconds since the present round began or finished a part; None between rounds."""
        if self.running_since is None:
            return None
        return self._now_s() - max(self._began_s, self._finished_s)

    @property
    def overdue(self) -> bool:
        """Whether the loop stands still: in a round, between rounds, or as every round fails."""
        return is_overdue(self.period_s, self.idle_s, self.running_s)

    def start(self) -> None:
        """The loop starts."""
        self._finished_s = self._now_s()

    def begin(self) -> None:
        """A round begins."""
        self.running_since = self._clock()
        self._began_s = self._now_s()

    def progress(self, error: str) -> None:
        """A part of the present round is finished; `error` is one that the work handled itself."""
        self.finished_at = self._clock()
        self._finished_s = self._now_s()
        self.error = error

    def finish(self, error: str) -> None:
        """The round is finished."""
        self.progress(error)
        self.running_since = None

    def fail(self, error: str) -> None:
        """The round was aborted: it does not count as finished."""
        self.running_since = None
        self.error = error


class Round:
    """One round of a loop, as its work sees it. Without arguments nothing stops it."""

    def __init__(self, stop: asyncio.Event | None = None, record: Record | None = None) -> None:
        self._stop = stop or asyncio.Event()
        self._record = record
        self.error = ""

    @property
    def stopping(self) -> bool:
        """Whether the process is stopping: long work returns early."""
        return self._stop.is_set()

    def progress(self) -> None:
        """Records that a part of a long round is finished."""
        if self._record is not None:
            self._record.progress(self.error)

    def failed(self, code: str) -> None:
        """Records an error that the work handled itself; the round counts as finished."""
        self.error = code

    async def pause(self, seconds: float) -> None:
        """Waits this long, or until the process stops."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), seconds)

    async def first_of(self, tasks: Collection["asyncio.Task[Any]"]) -> None:
        """Waits until one of the tasks is done, or the process stops."""
        stopping = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait({*tasks, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()


RoundWork = Callable[[Round], Awaitable[Pause | None]]


class Loop:
    """Repeats a round of work: `period_s` seconds after the last one, or sooner when notified.

    The work returns the pause until the next round, None for `period_s`. An exception is logged and
    recorded; the next round then starts after `retry_s` seconds (Unavailable), or after a back-off
    that doubles (any other). `around` is entered while the loop runs.
    """

    def __init__(  # noqa: PLR0913 - what differs between loops is named where each is made
        self,
        name: str,
        work: RoundWork,
        *,
        period_s: float,
        wakeup: Wakeup | None = None,
        around: Callable[[], AbstractAsyncContextManager[object]] = nullcontext,
        retry_s: float | None = None,
        longest_retry_s: float = 30.0,
        now_s: Callable[[], float] = time.monotonic,
        clock: Clock = utc_now,
    ) -> None:
        self.name = name
        self.record = Record(name, period_s, now_s, clock)
        self._work = work
        self._period_s = period_s
        self._wakeup = wakeup or Wakeup()
        self._around = around
        self._retry_s = min(period_s, longest_retry_s) if retry_s is None else retry_s
        self._backoff = Backoff(_FIRST_PAUSE_S, longest_retry_s)
        self._failures = 0

    async def run(self, stop: asyncio.Event) -> None:
        """Runs rounds until `stop` is set. The present round is not interrupted."""
        stopping = asyncio.create_task(stop.wait())
        stopping.add_done_callback(lambda _: self._wakeup.notify())
        self.record.start()
        try:
            async with self._around():
                while not stop.is_set():
                    await self._wait(await self._run_once(stop), stopping)
        finally:
            stopping.cancel()

    async def _run_once(self, stop: asyncio.Event) -> Pause:
        current = Round(stop, self.record)
        self.record.begin()
        try:
            pause = await self._work(current)
        except Unavailable as error:
            log.warning("job_delayed", job=self.name, code=error.code, error=error.for_operators)
            self._fail(error.code)
            return Pause(self._retry_s, wakeable=False)
        except Exception as error:
            log.exception("job_failed", job=self.name)
            self._fail(type(error).__name__)
            self._failures += 1
            return Pause(self._backoff.pause_s(self._failures), wakeable=False)
        self._failures = 0
        self.record.finish(current.error)
        return Pause(self._period_s) if pause is None else pause

    def _fail(self, code: str) -> None:
        self.record.fail(code)
        FAILURES.labels(self.name, code).inc()

    async def _wait(self, pause: Pause, stopping: "asyncio.Task[Any]") -> None:
        if pause.seconds <= 0:
            await asyncio.sleep(0)
        elif pause.wakeable:
            await self._wakeup.wait(pause.seconds)
        else:
            await asyncio.wait({stopping}, timeout=pause.seconds)


def every(period_s: float, name: str, work: Callable[[Round], Awaitable[object]]) -> Loop:
    """Returns a loop with a constant pause; the result of the work is ignored."""

    async def run_once(current: Round) -> None:
        await work(current)

    return Loop(name, run_once, period_s=period_s)


class Loops:
    """All loops of one process."""

    def __init__(self, loops: Iterable[Loop], *, also: Iterable[Loop] = ()) -> None:
        """`also` are loops that run elsewhere and are only reported here."""
        self._loops: Sequence[Loop] = tuple(loops)
        self._also: Sequence[Loop] = tuple(also)
        self._stop = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def records(self) -> list[Record]:
        """The records of every loop."""
        return [loop.record for loop in (*self._loops, *self._also)]

    def overdue(self) -> dict[str, str]:
        """Returns the loops that stand still, each with the code of its last error."""
        return {record.name: record.error for record in self.records if record.overdue}

    async def measure(self) -> None:
        """Refreshes the gauges."""
        for record in self.records:
            OVERDUE.labels(record.name).set(record.overdue)
            if record.finished_at is not None:
                LAST_ROUND.labels(record.name).set(record.finished_at.timestamp())

    def start(self) -> None:
        """Starts every loop."""
        self._tasks = [
            asyncio.create_task(loop.run(self._stop), name=f"loop-{loop.name}")
            for loop in self._loops
        ]

    async def stop(self, within_s: float) -> None:
        """Lets every round end; after `within_s` the remaining ones are cancelled."""
        self._stop.set()
        if not self._tasks:
            return
        _, late = await asyncio.wait(self._tasks, timeout=within_s)
        for task in late:
            log.warning("job_cancelled", job=task.get_name())
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

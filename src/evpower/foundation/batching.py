"""Concurrent calls of one process grouped into one batch call. Nobody waits for a batch to fill."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping
from contextvars import Context
from typing import Generic, TypeAlias, TypeVar

from evpower.foundation.errors import Unavailable

K = TypeVar("K", bound=Hashable)
R = TypeVar("R")

_Waiters: TypeAlias = list[asyncio.Future[R]]


class Batcher(Generic[K, R]):
    """Calls `run` with the keys that gathered while the batches before it ran.

    `run` answers a result, or an exception, for each key. When it raises, the batch had no effect
    and each key is tried once alone, so that a poisoned key fails only itself; unless `is_fatal`
    says that trying again is no use. For whom no time is left it is Unavailable: what failed may
    be another's. A key asked for several times in one batch runs once: the
    first caller gets its result, the others `repeat(result)`. Calls that come one at a time run in
    their caller's own task: cancelled there, `run` is cancelled too, with that one key.
    """

    def __init__(
        self,
        run: Callable[[list[K]], Awaitable[Mapping[K, R | Exception]]],
        *,
        max_size: int = 256,
        in_flight: int = 2,
        max_waiting: int = 20_000,
        retry_budget_s: float = 5.0,
        is_fatal: Callable[[Exception], bool] = lambda _: False,
        repeat: Callable[[R], R] = lambda result: result,
        on_batch: Callable[[int, bool], None] = lambda _size, _retried: None,
    ) -> None:
        self._run = run
        self._max_size = max_size
        self._in_flight = in_flight
        self._max_waiting = max_waiting
        self._retry_budget_s = retry_budget_s
        self._is_fatal = is_fatal
        self._repeat = repeat
        self._on_batch = on_batch
        self._waiting: dict[K, _Waiters[R]] = {}
        self._batches: set[asyncio.Task[None]] = set()
        self._lone: asyncio.Future[R] | None = None
        # Until a batch was a lone one, its callers may come together: a task lets them gather.
        self._came_alone = False
        self._closed = False

    async def __call__(self, key: K) -> R:
        """Answer the result for `key`, or raise what was answered for it.

        Raises Unavailable when closed or full. A cancelled caller leaves alone: its key may run.
        """
        if self._closed:
            raise Unavailable("shutting_down", "this process is stopping", retry_after_s=1)
        if self._came_alone and self._lone is None and not self._batches and not self._waiting:
            return await self._run_alone(key)
        waiters = self._waiting.get(key)
        if waiters is None:
            if len(self._waiting) >= self._max_waiting:
                raise Unavailable("overloaded", "too many calls are waiting", retry_after_s=1)
            self._waiting[key] = waiters = []
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        waiters.append(future)
        self._start_if_free()
        return await future

    async def close(self) -> None:
        """Take no more, and wait until everything taken is answered."""
        self._closed = True
        while running := [*self._batches, *([] if self._lone is None else [self._lone])]:
            await asyncio.wait(running)

    async def _run_alone(self, key: K) -> R:
        """Serve one call without a task between: others come meanwhile and are served after."""
        self._lone = future = asyncio.get_running_loop().create_future()
        try:
            await self._serve({key: [future]})
        finally:
            future.cancel()  # no effect once answered
            self._lone = None
            if self._waiting:
                self._start_if_free()
        return future.result()

    def _start_if_free(self) -> None:
        if len(self._batches) + (self._lone is not None) >= self._in_flight:
            return
        # A context of its own: a batch belongs to no single request, neither do its logs.
        task = asyncio.get_running_loop().create_task(self._work(), context=Context())
        self._batches.add(task)
        task.add_done_callback(self._batches.discard)  # when it is cancelled before it began

    async def _work(self) -> None:
        try:
            while batch := self._take():
                try:
                    await self._serve(batch)
                except BaseException:
                    for waiters in batch.values():
                        for waiter in waiters:
                            waiter.cancel()
                    raise
        finally:
            # In this very step: a caller who comes next must see that nobody works for him.
            task = asyncio.current_task()
            if task is not None:
                self._batches.discard(task)

    def _take(self) -> dict[K, _Waiters[R]]:
        """The oldest keys somebody still waits for."""
        batch: dict[K, _Waiters[R]] = {}
        count = 0
        for key, waiters in self._waiting.items():
            if len(batch) == self._max_size:
                break
            count += 1
            if not all(waiter.done() for waiter in waiters):
                batch[key] = waiters
        if count == len(self._waiting):
            self._waiting = {}
        else:
            for key in list(self._waiting)[:count]:
                del self._waiting[key]
        return batch

    async def _serve(self, batch: dict[K, _Waiters[R]]) -> None:
        keys = list(batch)
        self._came_alone = len(keys) == 1 and not self._waiting
        try:
            results = await self._run(keys)
        except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to the callers
            self._on_batch(len(keys), True)
            await self._serve_one_by_one(batch, error)
            return
        self._on_batch(len(keys), False)
        for key, waiters in batch.items():
            self._answer(waiters, results.get(key, _unanswered(key)))

    async def _serve_one_by_one(self, batch: dict[K, _Waiters[R]], error: Exception) -> None:
        deadline = time.monotonic() + self._retry_budget_s
        for key, waiters in batch.items():
            if self._is_fatal(error):
                result = error
            elif time.monotonic() < deadline:
                try:
                    result = (await self._run([key])).get(key, _unanswered(key))
                except Exception as own:  # noqa: BLE001
                    result = error = own
            else:
                result = error if len(batch) == 1 else _untried()
            self._answer(waiters, result)

    def _answer(self, waiters: Iterable[asyncio.Future[R]], result: R | Exception) -> None:
        for waiter in waiters:
            if waiter.done():
                continue
            if isinstance(result, Exception):
                waiter.set_exception(result)
            else:
                waiter.set_result(result)
                result = self._repeat(result)


def _untried() -> Exception:
    return Unavailable("overloaded", "there was no time to try it alone", retry_after_s=1)


def _unanswered(key: object) -> Exception:
    return LookupError(f"the batch answered nothing for {key!r}")

"""Groups concurrent calls of one process into one batch call; no call waits for a batch to fill."""

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
    """Calls `run` with the keys that arrived while earlier batches ran.

    `run` returns a result, or an exception, for each key. When it raises, the batch had no effect
    and each key is retried alone, so that a key that breaks the batch fails only itself; with
    `is_fatal` the error is final and nothing is retried. If the retry budget runs out, the
    remaining callers get Unavailable, because another key may have caused the failure. Duplicate
    keys of a batch run once: the first caller gets the result, the others `repeat(result)`. A
    single call runs in its caller's own task: if the caller is cancelled, `run` is cancelled too,
    with that one key.
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
        self._single_call: asyncio.Future[R] | None = None
        # After a batch of several keys, callers probably arrive together: a task lets them gather.
        self._was_single = False
        self._closed = False

    async def __call__(self, key: K) -> R:
        """Returns the result for `key`, or raises the exception returned for it.

        Raises Unavailable when closed or full. If a caller is cancelled, its key may still run.
        """
        if self._closed:
            raise Unavailable("shutting_down", "this process is stopping", retry_after_s=1)
        if (
            self._was_single
            and self._single_call is None
            and not self._batches
            and not self._waiting
        ):
            return await self._run_single(key)
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
        """Accepts no more calls, and waits until every accepted one has its result."""
        self._closed = True
        while running := [
            *self._batches,
            *([] if self._single_call is None else [self._single_call]),
        ]:
            await asyncio.wait(running)

    async def _run_single(self, key: K) -> R:
        """Serves a single call in its caller's task; calls that arrive meanwhile come after it."""
        self._single_call = future = asyncio.get_running_loop().create_future()
        try:
            await self._serve({key: [future]})
        finally:
            future.cancel()  # no effect once answered
            self._single_call = None
            if self._waiting:
                self._start_if_free()
        return future.result()

    def _start_if_free(self) -> None:
        if len(self._batches) + (self._single_call is not None) >= self._in_flight:
            return
        # A context of its own: neither the batch nor its logs belong to one request.
        task = asyncio.get_running_loop().create_task(self._work(), context=Context())
        self._batches.add(task)
        task.add_done_callback(self._batches.discard)  # if it is cancelled before it starts

    async def _work(self) -> None:
        try:
            while batch := self._next_batch():
                try:
                    await self._serve(batch)
                except BaseException:
                    for waiters in batch.values():
                        for waiter in waiters:
                            waiter.cancel()
                    raise
        finally:
            # In this very step: the next caller must see that no task runs any more.
            task = asyncio.current_task()
            if task is not None:
                self._batches.discard(task)

    def _next_batch(self) -> dict[K, _Waiters[R]]:
        """Returns the oldest keys whose callers still wait, and removes them from the queue."""
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
        self._was_single = len(keys) == 1 and not self._waiting
        try:
            results = await self._run(keys)
        except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to the callers
            self._on_batch(len(keys), True)
            await self._serve_one_by_one(batch, error)
            return
        self._on_batch(len(keys), False)
        for key, waiters in batch.items():
            result = results[key] if key in results else _no_result(key)
            self._set_result(waiters, result)

    async def _serve_one_by_one(self, batch: dict[K, _Waiters[R]], error: Exception) -> None:
        deadline = time.monotonic() + self._retry_budget_s
        for key, waiters in batch.items():
            if self._is_fatal(error):
                result = error
            elif time.monotonic() < deadline:
                try:
                    result = (await self._run([key])).get(key, _no_result(key))
                except Exception as own:  # noqa: BLE001
                    result = error = own
            else:
                result = error if len(batch) == 1 else _out_of_time()
            self._set_result(waiters, result)

    def _set_result(self, waiters: Iterable[asyncio.Future[R]], result: R | Exception) -> None:
        for waiter in waiters:
            if waiter.done():
                continue
            if isinstance(result, Exception):
                waiter.set_exception(result)
            else:
                waiter.set_result(result)
                result = self._repeat(result)


def is_database_down(error: Exception) -> bool:
    """Returns whether the database is down, so that to retry the keys one by one is useless."""
    return isinstance(error, Unavailable) and error.code == "database_unavailable"


def _out_of_time() -> Exception:
    return Unavailable("overloaded", "there was no time to try it alone", retry_after_s=1)


def _no_result(key: object) -> Exception:
    return LookupError(f"the batch returned nothing for {key!r}")

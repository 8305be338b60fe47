"""The caches of one process: values by key that expire, and one value that is read again."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Final, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

READING: Final = "read-cached-value"  # the name of the task that reads a CachedValue anew


class TtlCache(Generic[K, V]):
    """At most `size` values, each until its own time; the least recently used one is dropped."""

    def __init__(self, size: int, now_s: Callable[[], float]) -> None:
        """`now_s` is the clock that expiry times are compared with."""
        self._size = size
        self._now_s = now_s
        self._entries: OrderedDict[K, tuple[float, V]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: K) -> V | None:
        """Returns the value; None when there is none, or it has expired."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        expires_at, value = entry
        if self._now_s() >= expires_at:
            del self._entries[key]
            return None
        self._entries.move_to_end(key)
        return value

    def put(self, key: K, value: V, *, expires_at: float) -> None:
        """Stores a value until a time of the clock `now_s`."""
        self._entries[key] = (expires_at, value)
        self._entries.move_to_end(key)
        if len(self._entries) > self._size:
            self._entries.popitem(last=False)

    def clear(self) -> None:
        """Drops every value."""
        self._entries.clear()


class CachedValue(Generic[V]):
    """One value, read again by the first caller after `ttl_s` seconds; the others wait for it.

    With `renew_s` the first caller after that time makes it be read in the background, and callers
    are given the present value until it expires: none waits, unless the reading takes longer.
    """

    def __init__(
        self,
        read: Callable[[], Awaitable[V]],
        *,
        ttl_s: float,
        now_s: Callable[[], float],
        renew_s: float | None = None,
    ) -> None:
        self._read = read
        self._ttl_s = ttl_s
        self._renew_s = ttl_s if renew_s is None else renew_s
        self._now_s = now_s
        self._entry: tuple[float, V] | None = None  # when it was read
        self._reading: asyncio.Task[V] | None = None

    async def get(self) -> V:
        """Returns the value. Raises what reading it raises, and keeps no value then."""
        entry = self._entry
        if entry is None or (age_s := self._now_s() - entry[0]) >= self._ttl_s:
            return await asyncio.shield(self._start())
        if age_s >= self._renew_s:
            self._start()
        return entry[1]

    def peek(self) -> V | None:
        """Returns the value that was read last, without reading it; None before the first."""
        return None if self._entry is None else self._entry[1]

    def replace(self, value: V) -> None:
        """Sets another value, which expires when the present one does."""
        if self._entry is not None:
            self._entry = (self._entry[0], value)

    def expire(self) -> None:
        """Makes the next caller read: what is being read now may be older."""
        self._entry = None
        self._reading = None

    def _start(self) -> asyncio.Task[V]:
        """Returns the reading under way, or begins one."""
        if self._reading is None:
            self._reading = asyncio.create_task(self._read_once(), name=READING)
            self._reading.add_done_callback(self._ended)
        return self._reading

    async def _read_once(self) -> V:
        this = asyncio.current_task()
        value = await self._read()
        if self._reading is this:
            self._entry = (self._now_s(), value)
        return value

    def _ended(self, reading: asyncio.Task[V]) -> None:
        if self._reading is reading:
            self._reading = None
        if not reading.cancelled():
            reading.exception()  # whoever waits has it; a renewal is tried again by the next caller

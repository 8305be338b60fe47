"""Reads by key: keys that are requested while others are read share the next statement."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from typing import Final, Generic, TypeAlias, TypeVar

from evpower.foundation.batching import Batcher, is_database_down
from evpower.foundation.db import Connection, Database
from evpower.foundation.errors import Unavailable

K = TypeVar("K", bound=Hashable)
R = TypeVar("R")
ReadMany: TypeAlias = Callable[[Connection, Sequence[K]], Awaitable[Mapping[K, R | Exception]]]

_KEYS: Final = 16  # in one statement: the first of them waits for the last
_STATEMENTS: Final = 4  # at a time: keys that are not in memory wait for the disk side by side


class SharedReads(Generic[K, R]):
    """A statement begins after every key in it was requested: it has all committed before."""

    def __init__(
        self,
        db: Database,
        read_many: ReadMany[K, R],
        *,
        max_size: int = _KEYS,
        in_flight: int = _STATEMENTS,
    ) -> None:
        """`read_many` returns a result, or an exception, for each key."""
        self._db = db
        self._read_many = read_many
        self._batched = Batcher[K, R](
            self._read, max_size=max_size, in_flight=in_flight, is_fatal=is_database_down
        )

    async def __call__(self, key: K) -> R:
        """Returns what was read, or raises the exception returned for the key.

        Raises Unavailable, twice the database's wait limit later at most.
        """
        try:
            async with asyncio.timeout(2 * self._db.wait_limit_s):  # for the line, and in it
                return await self._batched(key)
        except TimeoutError as error:
            raise Unavailable(
                "database_busy", "too many reads wait for the database", retry_after_s=1
            ) from error

    async def _read(self, keys: Sequence[K]) -> Mapping[K, R | Exception]:
        async with self._db.connection() as connection:
            return await self._read_many(connection, keys)

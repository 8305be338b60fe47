"""Reads first pages of lists: those asked for while others are read share the next statement."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, TypeAlias, TypeVar
from uuid import UUID

from evpower.foundation.batching import Batcher
from evpower.foundation.db import Connection, Database
from evpower.foundation.errors import Unavailable

P = TypeVar("P")
PageRequest: TypeAlias = tuple[UUID, int]  # whose list, and the most rows of its page
ReadMany: TypeAlias = Callable[[Connection, Sequence[PageRequest]], Awaitable[Sequence[P]]]

_PAGES: Final = 16  # in one statement: the first of them waits for the last
_STATEMENTS: Final = 4  # at a time: pages that are not in memory wait for the disk side by side
_MOST_ROWS: Final = 50  # a longer page is read alone, so that no other waits for it


class FirstPages(Generic[P]):
    """A statement begins after every page in it was asked for: it has all committed before."""

    def __init__(self, db: Database, read_many: ReadMany[P]) -> None:
        """`read_many` returns a page for each that was asked for, in their order."""
        self._db = db
        self._read_many = read_many
        self._batched = Batcher[PageRequest, P](
            self._read,
            max_size=_PAGES,
            in_flight=_STATEMENTS,
            is_fatal=lambda error: isinstance(error, Unavailable),
        )

    async def __call__(self, owner_id: UUID, limit: int) -> P:
        """Returns a page. Raises Unavailable."""
        request = (owner_id, limit)
        if limit <= _MOST_ROWS:
            return await self._batched(request)
        return (await self._read([request]))[request]

    async def _read(self, requested: Sequence[PageRequest]) -> dict[PageRequest, P]:
        async with self._db.connection() as connection:
            pages = await self._read_many(connection, requested)
        return dict(zip(requested, pages, strict=True))

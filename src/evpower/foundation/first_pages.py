"""Reads first pages of lists: those requested while others are read share the next statement."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, Generic, TypeAlias, TypeVar
from uuid import UUID

from evpower.foundation.db import Connection, Database
from evpower.foundation.shared_reads import SharedReads

P = TypeVar("P")
PageRequest: TypeAlias = tuple[UUID, int]  # whose list, and the most rows of its page
ReadPages: TypeAlias = Callable[[Connection, Sequence[PageRequest]], Awaitable[Sequence[P]]]

_MOST_ROWS: Final = 50  # a longer page is read alone, so that no other waits for it


class FirstPages(Generic[P]):
    """A page has all that was committed before it was requested."""

    def __init__(self, db: Database, read_pages: ReadPages[P]) -> None:
        """`read_pages` returns a page for each that was requested, in their order."""
        self._db = db
        self._read_pages = read_pages
        self._shared = SharedReads[PageRequest, P](db, self._read)

    async def __call__(self, owner_id: UUID, limit: int) -> P:
        """Returns a page. Raises Unavailable."""
        request = (owner_id, limit)
        if limit <= _MOST_ROWS:
            return await self._shared(request)
        async with self._db.connection() as connection:
            return (await self._read(connection, [request]))[request]

    async def _read(
        self, connection: Connection, requested: Sequence[PageRequest]
    ) -> Mapping[PageRequest, P]:
        pages = await self._read_pages(connection, requested)
        return dict(zip(requested, pages, strict=True))

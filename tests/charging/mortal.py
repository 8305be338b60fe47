"""A process that dies at a commit: before it, or after it with the answer not given."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Literal, TypeVar

from evpower.foundation.db import Connection, Database

T = TypeVar("T")
Death = Literal["before", "after"]


class Died(Exception):
    """The process died; PostgreSQL rolled back what was not committed."""


class MortalDatabase(Database):
    """Dies at the next commit, if it is asked to."""

    death: Death | None = None

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[Connection]:
        death, self.death = self.death, None
        async with super().transaction() as connection:
            yield connection
            if death == "before":
                raise Died
        if death == "after":
            raise Died

    async def until_done(self, work: Callable[[], Awaitable[T]], death: Death | None) -> T:
        """Does the work; who gets no answer because the process died sends the same again."""
        self.death = death
        try:
            return await work()
        except Died:
            return await work()
        finally:
            self.death = None

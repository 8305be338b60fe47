"""First pages that are asked for at the same time share statements, and none of them is stale."""

import asyncio
from collections.abc import Sequence
from uuid import UUID, uuid4

from evpower.foundation.db import Connection, Database
from evpower.foundation.first_pages import FirstPages, PageRequest
from tests.waiting import WAIT_LIMIT_S

Page = tuple[UUID, int, int]  # whose, how long, and what was committed when it was read


class Lists:
    """Lists that change; a read holds its result back until it is let go."""

    def __init__(self) -> None:
        self.committed = 0
        self.reads: list[list[PageRequest]] = []
        self.began = asyncio.Event()
        self.release = asyncio.Event()

    async def read(self, _: Connection, requested: Sequence[PageRequest]) -> list[Page]:
        self.reads.append(list(requested))
        pages = [(owner_id, limit, self.committed) for owner_id, limit in requested]
        self.began.set()
        await asyncio.wait_for(self.release.wait(), WAIT_LIMIT_S)
        return pages


async def test_pages_asked_for_at_once_share_statements(db: Database) -> None:
    lists = Lists()
    lists.release.set()
    pages = FirstPages(db, lists.read)
    requested = [(uuid4(), 1 + number % 50) for number in range(200)]
    results = await asyncio.gather(*(pages(owner_id, limit) for owner_id, limit in requested))
    assert results == [(owner_id, limit, 0) for owner_id, limit in requested]
    assert sorted(request for read in lists.reads for request in read) == sorted(requested)
    assert len(lists.reads) <= 20
    assert max(len(read) for read in lists.reads) <= 16


async def test_a_page_has_what_was_committed_before_it_was_asked_for(db: Database) -> None:
    lists, owner_id = Lists(), uuid4()
    pages = FirstPages(db, lists.read)
    earlier = [asyncio.create_task(pages(owner_id, 1))]
    await asyncio.wait_for(lists.began.wait(), WAIT_LIMIT_S)
    for number in range(1, 10):
        lists.committed = number
        later = asyncio.create_task(pages(owner_id, 1 + number % 2))
        earlier.append(later)
        await asyncio.sleep(0)
    lists.release.set()
    results = await asyncio.gather(*earlier)
    assert results[0] == (owner_id, 1, 0)
    assert all(page[2] >= number for number, page in enumerate(results))


async def test_a_long_page_keeps_no_other_waiting(db: Database) -> None:
    lists, owner_id = Lists(), uuid4()
    lists.release.set()
    pages = FirstPages(db, lists.read)
    await asyncio.gather(*(pages(owner_id, limit) for limit in (51, 50, 500, 50, 49)))
    assert [(owner_id, 51)] in lists.reads
    assert [(owner_id, 500)] in lists.reads

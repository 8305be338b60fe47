"""What one key of a shared read does to the others: nothing, and no read waits without an end."""

import asyncio
from collections.abc import Mapping, Sequence

from evpower.foundation.db import Connection, Database
from evpower.foundation.errors import Unavailable
from evpower.foundation.shared_reads import SharedReads
from tests.waiting import WAIT_LIMIT_S


async def test_a_key_that_takes_too_long_fails_alone(db: Database) -> None:
    """PostgreSQL ends its statement: what the others get is read without it."""

    async def read(_: Connection, keys: Sequence[str]) -> Mapping[str, str]:
        if "slow" in keys:
            raise Unavailable("database_busy", "the statement took too long", retry_after_s=1)
        return {key: key.upper() for key in keys}

    shared = SharedReads(db, read)
    results = await asyncio.gather(*map(shared, ("a", "slow", "b")), return_exceptions=True)
    assert (results[0], results[2]) == ("A", "B")
    assert isinstance(results[1], Unavailable)


async def test_while_the_database_is_down_keys_are_not_tried_alone(db: Database) -> None:
    reads: list[Sequence[int]] = []

    async def read(_: Connection, keys: Sequence[int]) -> Mapping[int, int]:
        reads.append(keys)
        raise Unavailable("database_unavailable", "the database does not answer", retry_after_s=2)

    shared = SharedReads(db, read)
    results = await asyncio.gather(*map(shared, range(3)), return_exceptions=True)
    assert [type(result) for result in results] == [Unavailable] * 3
    assert reads == [[0, 1, 2]]


async def test_no_key_waits_longer_than_its_time(db: Database) -> None:
    """The network to PostgreSQL swallows everything: whoever comes later does not wait for all."""
    silent = asyncio.Event()

    async def read(_: Connection, keys: Sequence[int]) -> Mapping[int, int]:
        await silent.wait()
        return {key: key for key in keys}

    shared = SharedReads(db, read, max_size=1, in_flight=1)
    db.wait_limit_s = 0.02
    results = await asyncio.gather(*map(shared, range(20)), return_exceptions=True)
    # On a machine that stood still, the connection itself may have come too late.
    assert [type(result) for result in results] == [Unavailable] * 20
    silent.set()
    db.wait_limit_s = WAIT_LIMIT_S
    assert await shared(21) == 21

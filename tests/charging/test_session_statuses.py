"""Sessions whose drivers ask at the same time are read together, and each is as if read alone."""

import asyncio
from dataclasses import dataclass
from typing import Any, cast
from uuid import UUID, uuid4

import pytest

from evpower.charging import SessionStatuses, SessionView, session_status
from evpower.foundation.db import Database
from evpower.foundation.errors import NotFound, Unavailable
from tests.charging.place import ChargingPlace


@dataclass
class Counted:
    """A database that counts how often a connection is borrowed."""

    db: Database
    borrowed: int = 0

    @property
    def wait_limit_s(self) -> float:
        return self.db.wait_limit_s

    def connection(self) -> Any:
        self.borrowed += 1
        return self.db.connection()


async def alone(place: ChargingPlace, session: UUID) -> SessionView:
    async with place.db.connection() as connection:
        return await session_status(connection, session)


async def test_sessions_requested_at_once_are_read_together(place: ChargingPlace) -> None:
    ended, transaction = await place.charging(await place.driver())
    place.later(600)
    await place.stop(transaction, 4_000)
    running, transaction = await place.charging(await place.driver())
    place.later(60)
    await place.values(transaction, 1_500)
    unknown = uuid4()
    counted = Counted(place.db)
    statuses = SessionStatuses(cast("Database", counted))
    requested = [ended, unknown, running, ended]
    results = await asyncio.gather(*map(statuses, requested), return_exceptions=True)
    assert counted.borrowed == 1
    assert [results[0], results[2]] == [await alone(place, ended), await alone(place, running)]
    assert results[3] == results[0]
    assert isinstance(results[1], NotFound)
    assert results[1].code == "session_not_found"


async def test_a_session_is_as_it_was_when_it_was_requested_or_newer(place: ChargingPlace) -> None:
    statuses = SessionStatuses(place.db)
    session, transaction = await place.charging(await place.driver())
    for energy_wh in (1_000, 2_000, 3_000):
        place.later(60)
        await place.values(transaction, energy_wh)
        earlier = asyncio.create_task(statuses(session))
        assert (await statuses(session)).energy_wh == energy_wh
        assert (await earlier).energy_wh == energy_wh
    with pytest.raises(NotFound):
        await statuses(uuid4())


async def test_without_a_database_none_is_read(place: ChargingPlace) -> None:
    statuses = SessionStatuses(place.db)
    await place.db.close()
    results = await asyncio.gather(*map(statuses, [uuid4(), uuid4()]), return_exceptions=True)
    assert [type(result) for result in results] == [Unavailable, Unavailable]

"""An operator ends a session whose station is gone, or does not stop it."""

from typing import Any
from uuid import UUID

import pytest

from evpower import charging
from evpower.charging import OperatorStop
from evpower.foundation.errors import EvPowerError
from tests.charging.place import ChargingPlace


async def end(place: ChargingPlace, session: UUID, **facts: Any) -> str:
    stop = OperatorStop(session, "aida", facts.get("reason", "the post is gone"), is_forced=True)
    async with place.db.transaction() as connection:
        return (await charging.stop_by_operator(connection, stop, now=place.now)).state


async def used(place: ChargingPlace) -> tuple[UUID, int]:
    session, transaction = await place.charging(await place.driver())
    place.later(10)
    await place.values(transaction, 7_500)
    return session, transaction


async def test_a_session_whose_station_is_gone_ends_now(place: ChargingPlace) -> None:
    session, transaction = await used(place)
    place.later(3)
    assert await end(place, session) == "settled"
    assert await place.bill(session) == ("settled", 7_500, 90)
    assert await place.value("end_reason", session) == "stopped_by_operator"
    act = await place.owner.fetchrow("select * from identity.audit order by id desc limit 1")
    assert act is not None
    assert (act["action"], act["reason"]) == ("charging.force_stop", "the post is gone")
    await place.stop(transaction, 7_800)
    assert await place.bills(session) == [(7_500, 90), (7_800, 93)]


async def test_a_station_that_is_there_is_asked_first(place: ChargingPlace) -> None:
    session, _ = await used(place)
    with pytest.raises(EvPowerError) as refused:
        await end(place, session)
    assert refused.value.code == "station_online"
    await place.ask_to_stop(session)
    place.later(0.9)
    await place.frame()
    with pytest.raises(EvPowerError, match="station is there"):  # it has a minute
        await end(place, session)
    place.later(0.1)
    await place.frame()
    assert await end(place, session) == "settled"


async def test_a_stop_that_is_asked_for_again_writes_no_row(place: ChargingPlace) -> None:
    """Each row that is written is sent to Supabase."""
    session, _ = await used(place)
    await place.ask_to_stop(session)
    first = await place.session(session)
    written = await place.value("xmin", session)
    place.later(0.1)
    await place.ask_to_stop(session)
    assert first["asked_to_end_at"] is not None
    assert await place.session(session) == first
    assert await place.value("xmin", session) == written


async def test_force_needs_a_reason(place: ChargingPlace) -> None:
    session, _ = await used(place)
    with pytest.raises(EvPowerError) as refused:
        await end(place, session, reason=" ")
    assert refused.value.code == "reason_missing"

"""SIGKILL while the watch bills a session: nothing is left, and its repeat bills it once."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from uuid import UUID

import pytest

from evpower import wallet
from evpower.foundation.failpoints import Failpoint
from tests.charging.place import ChargingPlace
from tests.charging.test_step_crashes import killed


async def available(place: ChargingPlace, _session: UUID, _client: UUID) -> None:
    await place.status("available")
    place.later(2)
    await place.frame()


async def boot(place: ChargingPlace, _session: UUID, _client: UUID) -> None:
    await place.boot()
    place.later(5)


async def unanswered_stop(place: ChargingPlace, session: UUID, client: UUID) -> None:
    await place.ask_to_stop(session, client)
    place.later(5)


async def no_frames(place: ChargingPlace, _session: UUID, _client: UUID) -> None:
    place.later(24 * 60)


async def is_settled_once(place: ChargingPlace, client: UUID, bills: int) -> None:
    """Each bill has its record, no money is on hold, and what moved adds up."""
    counts = await place.owner.fetchrow(
        "select (select count(*) from charging.cdrs) as records,"
        " (select count(*) from charging.settlements where bill_number is not null) as bills"
    )
    assert counts is not None
    assert tuple(counts) == (bills, bills)
    assert await place.held(client) == 0
    assert (await wallet.verify(place.db)).count == 0


@pytest.mark.parametrize("close", [available, boot, unanswered_stop, no_frames])
async def test_an_end_without_a_stop_is_billed_once(
    place: ChargingPlace,
    dsn: str,
    tmp_path: Path,
    close: Callable[[ChargingPlace, UUID, UUID], Awaitable[None]],
) -> None:
    client = await place.driver()
    session, transaction = await place.charging(client)
    place.later(10)
    await place.values(transaction, 7_500)
    at = place.now
    await close(place, session, client)
    await killed(place, dsn, tmp_path, Failpoint.SETTLE_UNCOMMITTED)
    assert await place.bills(session) == []
    assert await place.held(client) == 200
    for _ in range(2):
        await place.watch()
    for _ in range(2):  # the station sends it when it can
        await place.stop(transaction, 7_500, time=at)
    assert await place.bills(session) == [(7_500, 90)]
    await is_settled_once(place, client, bills=1)


async def test_what_flowed_after_an_estimated_end_is_billed_once(
    place: ChargingPlace, dsn: str, tmp_path: Path
) -> None:
    client = await place.driver()
    session, transaction = await place.charging(client)
    place.later(10)
    await place.values(transaction, 7_500)
    await available(place, session, client)
    await place.watch()
    place.later(1)
    await place.values(transaction, 8_000)
    at = place.now
    place.later(24 * 60)
    await killed(place, dsn, tmp_path, Failpoint.CORRECT_UNCOMMITTED)
    assert await place.bills(session) == [(7_500, 90)]
    for _ in range(2):
        await place.watch()
    for _ in range(2):
        await place.stop(transaction, 8_000, time=at)
    assert await place.bills(session) == [(7_500, 90), (8_000, 96)]
    await is_settled_once(place, client, bills=2)

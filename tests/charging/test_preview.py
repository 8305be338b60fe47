"""Past sessions by another version of a tariff: both bills, and nothing changes."""

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from evpower import tariffs
from evpower.charging import PreviewedBill, preview_session, preview_station
from evpower.foundation.errors import EvPowerError
from evpower.tariffs import Snapshot
from tests.charging.place import ChargingPlace

# It is noon; the usual price is 12 som.
DRAFT: dict[str, Any] = {
    "name": "by the hour",
    "elements": [
        {"prices": {"energy_per_kwh": "10"}, "if": {"to": "12:10", "from": "06:00"}},
        {"prices": {"energy_per_kwh": "15", "flat": "3"}},
    ],
}


async def draft(place: ChargingPlace, document: dict[str, Any] = DRAFT) -> Snapshot:
    async with place.db.transaction() as connection:
        saved = await tariffs.save(
            connection, plan="next", document=document, valid_from=None, now=place.now, actor="a"
        )
    return tariffs.snapshot_of(saved.version)


async def charged(place: ChargingPlace, **limits: int) -> UUID:
    """20 kWh in 20 minutes from noon on."""
    session, transaction = await place.charging(await place.driver(), **limits)
    for minute in (5, 10, 15):
        place.later(5)
        await place.values(transaction, minute * 1_000)
    place.later(5)
    await place.stop(transaction, 20_000)
    return session


async def preview(place: ChargingPlace, session: UUID, other: Snapshot) -> PreviewedBill:
    async with place.db.connection() as connection:
        return await preview_session(connection, session, other)


def amounts(bill: PreviewedBill) -> list[tuple[str, float]]:
    return [(part["kind"], part["amount"]) for part in bill.parts]


async def test_both_bills_and_their_parts(place: ChargingPlace) -> None:
    session = await charged(place)
    bill = await preview(place, session, await draft(place))
    assert (bill.session.cost_minor, bill.cost_minor) == (24_000, 25_300)
    assert amounts(bill) == [("flat", 3), ("energy", 100), ("energy", 150)]
    assert [(part["kind"], part["amount"]) for part in bill.session.parts] == [("energy", 240)]
    assert bill.billed_by is not None
    assert (bill.billed_by.plan, bill.billed_by.version, bill.is_even) == ("t", 1, False)
    assert await place.bill(session) == ("settled", 20_000, 240)


async def test_its_own_version_makes_the_same_bill(place: ChargingPlace) -> None:
    session = await charged(place)
    async with place.db.connection() as connection:
        own = await tariffs.get_plan(connection, "t", at=place.now)
    bill = await preview(place, session, own)
    assert bill.cost_minor == bill.session.cost_minor
    assert list(bill.parts) == list(bill.session.parts)


async def test_the_driver_s_limit_and_discount_count(place: ChargingPlace) -> None:
    client = await place.driver()
    async with place.db.transaction() as connection:
        await tariffs.add_client_tariff(
            connection,
            tariffs.NewClientTariff(client, place.now, discount_ppm=100_000),
            now=place.now,
            actor="aida",
        )
    session, transaction = await place.charging(client, amount_minor=20_000)
    place.later(20)
    await place.stop(transaction, 20_000)
    other = await draft(place, {"name": "n", "elements": [{"prices": {"energy_per_kwh": "11"}}]})
    bill = await preview(place, session, other)
    assert (bill.session.cost_minor, bill.cost_minor) == (20_000, 19_800)
    dear = await draft(place, {"name": "n", "elements": [{"prices": {"energy_per_kwh": "50"}}]})
    cut = await preview(place, session, dear)
    assert cut.cost_minor == 20_000
    assert amounts(cut)[-1] == ("not_billed", -700)
    assert sum(amount for _, amount in amounts(cut)) == 200


async def test_a_session_that_was_free_stays_free(place: ChargingPlace) -> None:
    session, transaction = await place.charging(await place.driver())
    place.later(1)
    await place.stop(transaction, 499, reason="PowerLoss")
    bill = await preview(place, session, await draft(place))
    assert (bill.session.cost_minor, bill.cost_minor) == (0, 0)
    assert amounts(bill)[-1] == ("free", -sum(amount for _, amount in amounts(bill)[:-1]))


async def test_the_last_sessions_of_a_station(place: ChargingPlace) -> None:
    sessions = [await charged(place) for _ in range(3)]
    other = await draft(place)
    async with place.db.connection() as connection:
        bills = await preview_station(connection, "S1", other, count=2)
    assert [bill.session.id for bill in bills] == sessions[:0:-1]
    assert [bill.cost_minor for bill in bills] == [30_300, 30_300]


async def test_a_session_of_another_system_flowed_evenly(place: ChargingPlace) -> None:
    session, client = uuid4(), await place.client()
    await place.owner.execute(
        """
        insert into charging.sessions (id, client_id, station_id, connector_id, state, source,
          started_at, ended_at, energy_wh, cost_minor, billed_elsewhere)
        values ($1, $2, 'OLD-7', 1, 'finished', 'import', $3, $4, 20000, 27000, true)
        """,
        session, client, place.now, place.now + timedelta(minutes=20),
    )  # fmt: skip
    bill = await preview(place, session, await draft(place))
    assert (bill.billed_by, bill.is_even) == (None, True)
    assert (bill.session.cost_minor, bill.cost_minor) == (27_000, 25_300)


async def test_one_without_a_bill_has_no_preview(place: ChargingPlace) -> None:
    session, _ = await place.charging(await place.driver())
    other = await draft(place)
    for absent in (session, uuid4()):
        with pytest.raises(EvPowerError) as error:
            await preview(place, absent, other)
        assert error.value.code == "session_not_found"
    async with place.db.connection() as connection:
        with pytest.raises(EvPowerError) as error:
            await preview_station(connection, "nowhere", other, count=1)
    assert error.value.code == "station_not_found"

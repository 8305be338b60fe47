"""A register that restarts after an end: what flows then is seen, stopped and billed once."""

import json
from datetime import timedelta
from decimal import Decimal
from uuid import UUID

import pytest

from evpower.charging.register import MeterPoint
from evpower.charging.stored_register import read_register
from tests.charging.place import ChargingPlace, read
from tests.charging.test_steps import goes_on

DAY = 24 * 60


async def closed_by_boot(place: ChargingPlace, wh: int = 12_000) -> tuple[UUID, UUID, int]:
    """Return client, session and transaction of a session that ended 5 minutes after a boot."""
    client = await place.driver()
    session, transaction = await place.charging(client)
    place.later(20)
    await place.values(transaction, wh)
    await place.boot()
    place.later(5)
    await place.frame()
    assert await place.watch() == ["close"]
    assert await place.value("end_reason", session) == "station_booted"
    place.later(2)
    return client, session, transaction


class TestAfterAnEstimatedEnd:
    async def test_two_lower_values_that_agree_are_stopped_and_billed_a_day_later(
        self, place: ChargingPlace
    ) -> None:
        client, session, transaction = await closed_by_boot(place)
        await place.values(transaction, 500)
        assert await place.commands() == []
        place.later(5)
        await place.values(transaction, 3_000)
        assert await place.alerts() == ["energy_after_close"]
        assert await place.answer() == ["remote_stop"]
        place.later(10)
        await place.values(transaction, 9_000)
        place.later(DAY)
        await place.watch()
        assert await place.bills(session) == [(12_000, 144), (20_500, 246)]
        assert (await place.money.money(client))[0] == 100_000 - 24_600

    async def test_the_steps_go_on(self, place: ChargingPlace) -> None:
        _, _, transaction = await closed_by_boot(place)
        await goes_on(place, transaction, 500, 1_000)
        assert await place.answer() == ["remote_stop"]
        await goes_on(place, transaction, 1_500, 2_000)
        assert await place.answer() == ["set_charging_profile"]

    async def test_the_stop_at_the_new_register_is_the_next_bill(
        self, place: ChargingPlace
    ) -> None:
        client, session, transaction = await closed_by_boot(place)
        for wh in (500, 3_000, 8_000):
            await place.values(transaction, wh)
            place.later(5)
        await place.stop(transaction, 9_000)
        assert await place.bills(session) == [(12_000, 144), (20_500, 246)]
        assert await place.value("is_estimated", session) is False
        assert (await place.money.money(client))[0] == 100_000 - 24_600
        place.later(DAY)
        assert await place.watch() == []

    async def test_one_value_and_a_stop_that_agree_are_enough(self, place: ChargingPlace) -> None:
        _, session, transaction = await closed_by_boot(place)
        await place.values(transaction, 3_000)
        place.later(10)
        await place.stop(transaction, 9_000)
        assert await place.bills(session) == [(12_000, 144), (18_000, 216)]
        assert await place.value("is_estimated", session) is False

    async def test_after_a_stop_that_restarted_the_station_it_is_seen(
        self, place: ChargingPlace
    ) -> None:
        client, session, transaction = await self.closed_unanswered(place)
        assert await place.bills(session) == [(12_000, 144)]
        for wh in (2_000, 4_000):
            place.later(2)
            await place.values(transaction, wh)
        assert await place.alerts() == ["energy_after_close"]
        place.later(DAY)
        await place.watch()
        # The value before the end was one of the two that agree.
        assert await place.bills(session) == [(12_000, 144), (15_500, 186)]
        assert (await place.money.money(client))[0] == 100_000 - 18_600

    async def closed_unanswered(self, place: ChargingPlace) -> tuple[UUID, UUID, int]:
        client = await place.driver()
        session, transaction = await place.charging(client)
        place.later(20)
        await place.values(transaction, 12_000)
        await place.ask_to_stop(session, client)
        place.later(4)
        await place.values(transaction, 500)
        place.later(1)
        await place.frame()
        assert "close" in await place.watch()
        assert await place.value("end_reason", session) == "stopped_by_driver"
        return client, session, transaction

    async def test_one_lower_value_is_none(self, place: ChargingPlace) -> None:
        _, session, transaction = await closed_by_boot(place)
        for wh in (3_000, 12_000, 4_000, 12_000):
            place.later(1)
            await place.values(transaction, wh)
        place.later(DAY)
        assert await place.watch() == []
        assert await place.alerts() == []
        assert await place.bills(session) == [(12_000, 144)]

    async def test_a_register_that_stands_at_0_is_no_energy(self, place: ChargingPlace) -> None:
        """Some stations send the register at times also while nothing charges."""
        _, session, transaction = await closed_by_boot(place)
        for _ in range(3):
            place.later(15)
            await place.values(None, 0, context="Sample.Clock")
        assert await place.alerts() == []
        assert await place.commands() == []
        # Nothing is billed twice: a stop that was stored is of the old register.
        place.later(60)
        await place.stop(transaction, 12_100, time=place.now - timedelta(hours=2))
        assert await place.bills(session) == [(12_000, 144), (12_100, 145)]

    async def test_time_that_passes_without_energy_is_not_billed(
        self, place: ChargingPlace
    ) -> None:
        _, session, transaction = await closed_by_boot(place)
        await place.values(transaction, 500)
        place.later(1)
        await place.values(transaction, 1_000)
        flowed_at = place.now
        place.later(30)
        await place.values(transaction, 1_000)
        place.later(DAY)
        await place.watch()
        assert await place.value("ended_at", session) == flowed_at

    async def test_values_above_the_power_that_agree_are_alerted(
        self, place: ChargingPlace
    ) -> None:
        _, session, transaction = await closed_by_boot(place)
        for wh in (7_783_000, 7_783_500, 7_784_000):
            place.later(1)
            await place.values(transaction, wh)
        assert await place.alerts() == ["energy_after_close", "register_jumped"]
        place.later(DAY)
        await place.watch()
        assert await place.bills(session) == [(12_000, 144), (13_000, 156)]

    async def test_without_any_register_before_the_end_it_is_seen(
        self, place: ChargingPlace
    ) -> None:
        session, transaction = await place.charging(await place.driver(), meter_wh=None)
        await place.boot()
        place.later(5)
        await place.frame()
        await place.watch()
        assert await place.bills(session) == [(0, 0)]
        for wh in (5_000, 5_500):
            place.later(1)
            await place.values(transaction, wh)
        assert "energy_after_close" in await place.alerts()


class TestAfterTheStationsStop:
    async def stopped(self, place: ChargingPlace, wh: int | None = 12_000) -> tuple[UUID, int]:
        session, transaction = await place.charging(await place.driver())
        place.later(20)
        await place.values(transaction, 12_000)
        await place.stop(transaction, wh)
        return session, transaction

    @pytest.mark.parametrize("has_id", [True, False])
    async def test_two_lower_values_that_agree_are_tail(
        self, place: ChargingPlace, *, has_id: bool
    ) -> None:
        session, transaction = await self.stopped(place)
        for wh, tail_wh in ((500, 0), (3_000, 2_500), (9_000, 8_500), (9_000, 8_500)):
            place.later(10)
            await place.values(transaction if has_id else None, wh)
            assert (await place.progress(transaction))["tail_wh"] == tail_wh
        assert await place.alerts() == ["energy_after_stop"]
        assert await place.commands() == ["remote_stop", "set_charging_profile"]
        assert await place.bills(session) == [(12_000, 144)]

    async def test_a_register_that_stands_at_0_is_no_tail(self, place: ChargingPlace) -> None:
        _, transaction = await self.stopped(place)
        for wh in (0, 0, 20):
            place.later(15)
            await place.values(None, wh)
        assert (await place.progress(transaction))["tail_wh"] == 20
        assert await place.alerts() == []

    async def test_a_later_stop_with_a_register_is_billed_without_the_tail(
        self, place: ChargingPlace
    ) -> None:
        session, transaction = await self.stopped(place, None)
        place.later(6)
        for wh in (500, 3_000):
            place.later(10)
            await place.values(transaction, wh)
        await place.stop(transaction, 12_000)
        assert await place.bills(session) == [(12_000, 144)] * 2  # the second one has its own end
        assert await place.value("is_estimated", session) is False

    async def test_lower_values_right_after_a_stop_without_a_register_are_no_closing_value(
        self, place: ChargingPlace
    ) -> None:
        session, transaction = await self.stopped(place, None)
        place.later(2)
        earlier = place.now - timedelta(seconds=60)
        await place.frames(transaction, [read(500, earlier), read(1_000, place.now)])
        assert await place.bills(session) == [(12_000, 144)]
        assert await place.alerts() == ["energy_after_stop"]


async def test_what_is_known_after_the_end_is_stored_beside_the_register(
    place: ChargingPlace,
) -> None:
    _, _, transaction = await closed_by_boot(place)
    await place.values(transaction, 3_000)
    stored = json.loads((await place.progress(transaction))["register"])
    register, after = read_register(stored), read_register(stored["after_end"])
    assert register.suspects == ()
    assert after.suspects == (MeterPoint(Decimal(3_000), place.now, place.now),)
    assert after.replace(suspects=()) == register

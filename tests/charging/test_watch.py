"""Ends without a StopTransaction, stations that are away, and better figures that come later."""

from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from evpower.charging import due
from evpower.charging.due import find_due, watch_transaction
from evpower.charging.events import Changes
from evpower.charging.operate import OperatorBill, correct_session, get_session
from evpower.charging.watch import Watch
from evpower.foundation.bus import LocalBus
from evpower.foundation.errors import Conflict, EvPowerError, Invalid, NotFound
from evpower.foundation.ids import new_uuid
from evpower.foundation.loops import Round
from tests.charging.place import ChargingPlace


async def used(
    place: ChargingPlace, wh: int = 7_500, minutes: float = 10
) -> tuple[UUID, UUID, int]:
    """Charge for a while; returns client, session and transaction."""
    client = await place.driver()
    session, transaction = await place.charging(client)
    place.later(minutes)
    await place.values(transaction, wh)
    await place.frame()
    return client, session, transaction


class TestAvailable:
    """Edge case 5: the stop is lost."""

    async def test_edge_5_available_for_90_s_ends_it_estimated(self, place: ChargingPlace) -> None:
        client, session, transaction = await used(place)
        await place.status("available")
        place.later(1.49)
        await place.frame()
        assert await place.watch() == []
        place.later(0.01)
        assert await place.watch() == ["close"]
        assert await place.bill(session) == ("settled", 7_500, 90)
        assert await place.value("is_estimated", session) is True
        assert await place.value("end_reason", session) == "became_available"
        assert await place.held(client) == 0
        ended = await place.owner.fetchval(
            "select end_kind from charging.transactions where id = $1", transaction
        )
        assert ended == "estimated"

    async def test_another_status_ends_the_wait(self, place: ChargingPlace) -> None:
        _, session, _ = await used(place)
        await place.status("available")
        place.later(1)
        await place.status("charging")
        place.later(1)
        await place.watch()
        assert await place.value("state", session) == "charging"

    async def test_history_and_the_station_as_a_whole_begin_no_wait(
        self, place: ChargingPlace
    ) -> None:
        _, _, transaction = await used(place)
        await place.status("available", is_history=True)
        await place.status("available", connector=0)
        assert (await place.progress(transaction))["close_due_at"] is None

    async def test_edge_19_on_a_lost_socket_it_waits(self, place: ChargingPlace) -> None:
        _, session, _ = await used(place)
        await place.status("available")
        place.later(10)
        await place.watch()
        assert await place.value("state", session) == "charging"
        await place.frame()
        place.later(0.2)
        await place.watch()
        assert await place.value("state", session) == "settled"

    async def test_at_a_retired_station_it_waits_for_no_connection(
        self, place: ChargingPlace
    ) -> None:
        _, session, _ = await used(place)
        await place.status("available")
        await place.owner.execute(
            "update stations.connections set closed_at = opened_at, close_reason = 'operator'"
        )
        await place.owner.execute("update stations.stations set retired_at = now()")
        place.later(10)
        await place.watch()
        assert await place.bill(session) == ("settled", 7_500, 90)
        assert await place.value("end_reason", session) == "became_available"

    async def test_a_stop_that_is_not_answered_waits_for_no_connection(
        self, place: ChargingPlace
    ) -> None:
        client, session, _ = await used(place)
        await place.ask_to_stop(session, client)
        place.later(1)
        await place.status("available")
        place.later(3.9)
        await place.watch()
        assert await place.value("state", session) == "stopping"
        place.later(0.3)
        await place.watch()
        assert await place.bill(session) == ("settled", 7_500, 90)
        assert await place.held(client) == 0

    @pytest.mark.parametrize(("seconds", "state"), [(299, "stopping"), (300, "settled")])
    async def test_from_its_deadline_on_a_stop_is_not_answered(
        self, place: ChargingPlace, seconds: int, state: str
    ) -> None:
        client, session, _ = await used(place)
        await place.ask_to_stop(session, client)
        await place.status("available")
        place.later(seconds / 60)
        assert await place.watch() == ["close"]
        assert await place.value("state", session) == state

    async def test_what_is_due_no_more_is_not_done(self, place: ChargingPlace) -> None:
        """A status came between the look and its moment."""
        _, session, _ = await used(place)
        await place.status("available")
        place.later(1.5)
        await place.frame()
        async with place.db.connection() as connection:
            [due] = await find_due(connection, place.now, place.rules)
        assert due.kind == "close"
        await place.status("charging")
        async with place.db.transaction() as connection:
            changes = await watch_transaction(connection, due, now=place.now, rules=place.rules)
        assert changes == Changes()
        assert await place.value("state", session) == "charging"

    async def test_a_limit_s_stop_that_is_not_answered_waits_for_the_connection(
        self, place: ChargingPlace
    ) -> None:
        session, transaction = await place.charging(await place.driver(), energy_wh=900)
        place.later(1)
        await place.values(transaction, 950)
        assert await place.value("stop_reason", session) == "energy_limit"
        place.later(1)
        await place.status("available")
        place.later(10)
        assert await place.watch() == ["close"]
        assert await place.value("state", session) == "stopping"
        await place.frame()
        place.later(0.2)
        assert await place.watch() == ["close"]
        assert await place.bill(session) == ("settled", 950, 11)


class TestNew:
    async def test_the_first_prediction_waits_for_no_connection(self, place: ChargingPlace) -> None:
        """60 kW for 30 minutes at most, from its start on."""
        _, transaction = await place.charging(await place.driver(), energy_wh=30_000)
        started_at = place.now
        place.later(2)
        assert await place.watch() == ["stop"]
        due_at = (await place.progress(transaction))["stop_due_at"]
        assert due_at == started_at + timedelta(minutes=30)

    async def test_what_the_wallet_still_has_counts_before_a_stop_by_time(
        self, place: ChargingPlace
    ) -> None:
        client = await place.driver()
        session, transaction = await place.charging(client)
        for wh in (1_000, 2_000):
            place.later(1)
            await place.values(transaction, wh)
        due_at = (await place.progress(transaction))["stop_due_at"]
        assert (await place.held(client), due_at) == (200, place.now + timedelta(seconds=880))
        place.now = due_at
        await place.frame()
        assert await place.watch() == ["stop"]
        assert await place.value("state", session) == "charging"
        assert await place.held(client) > 200
        assert (await place.progress(transaction))["stop_due_at"] > due_at


class TestOtherEnds:
    async def test_edge_5_no_frame_for_12_hours(self, place: ChargingPlace) -> None:
        _, session, _ = await used(place)
        place.later(12 * 60 - 0.1)
        await place.watch()
        assert await place.value("state", session) == "charging"
        place.later(0.1)
        await place.watch()
        assert await place.bill(session) == ("settled", 7_500, 90)

    async def test_edge_5_an_untriggered_boot_and_5_min(self, place: ChargingPlace) -> None:
        _, session, _ = await used(place)
        await place.boot()
        place.later(4.9)
        await place.frame()
        assert await place.watch() == []
        place.later(0.1)
        await place.watch()
        assert await place.value("end_reason", session) == "station_booted"

    async def test_after_a_boot_no_connection_is_waited_for(self, place: ChargingPlace) -> None:
        _, session, _ = await used(place)
        await place.boot()
        place.later(5)
        await place.watch()
        assert await place.bill(session) == ("settled", 7_500, 90)
        assert await place.value("end_reason", session) == "station_booted"

    @pytest.mark.parametrize("asked_by", ["driver", "operator"])
    @pytest.mark.parametrize("resumes_after", [0.5, 4])
    async def test_a_person_s_stop_after_it_keeps_its_deadline(
        self, place: ChargingPlace, asked_by: str, resumes_after: float
    ) -> None:
        client, session, transaction = await used(place)
        await place.boot()
        place.later(0.25)
        asked_at = place.now
        await place.ask_to_stop(session, client if asked_by == "driver" else None)
        place.later(resumes_after)
        await place.values(transaction, 7_600)
        progress = await place.progress(transaction)
        assert progress["close_due_at"] == asked_at + timedelta(minutes=5)
        assert progress["close_reason"] == "stop_unanswered"
        place.now = asked_at + timedelta(minutes=5)
        await place.frame()
        assert "close" in await place.watch()
        assert await place.bill(session) == ("settled", 7_600, 91)
        assert await place.value("end_reason", session) == "stopped_by_driver"
        assert await place.held(client) == 0

    async def test_a_limit_s_stop_before_it_has_none(self, place: ChargingPlace) -> None:
        session, transaction = await place.charging(await place.driver(), energy_wh=900)
        place.later(1)
        await place.values(transaction, 950)
        assert await place.value("stop_reason", session) == "energy_limit"
        await place.boot()
        place.later(1)
        await place.values(transaction, 960)
        progress = await place.progress(transaction)
        assert (progress["close_due_at"], progress["close_reason"]) == (None, None)

    @pytest.mark.parametrize("asked_by", ["driver", "operator"])
    async def test_a_person_s_stop_after_a_limit_s_keeps_its_deadline(
        self, place: ChargingPlace, asked_by: str
    ) -> None:
        client = await place.driver()
        session, transaction = await place.charging(client, energy_wh=900)
        place.later(1)
        await place.values(transaction, 950)
        await place.boot()
        place.later(0.25)
        asked_at = place.now
        await place.ask_to_stop(session, client if asked_by == "driver" else None)
        place.later(1)
        await place.values(transaction, 960)
        progress = await place.progress(transaction)
        assert progress["close_due_at"] == asked_at + timedelta(minutes=5)
        assert progress["close_reason"] == "stop_unanswered"
        place.now = asked_at + timedelta(minutes=5)
        await place.frame()
        assert "close" in await place.watch()
        assert await place.value("end_reason", session) == "energy_limit"
        assert await place.value("state", session) == "settled"
        assert await place.held(client) == 0

    async def test_edge_22_values_after_a_boot_resume_it(self, place: ChargingPlace) -> None:
        _, session, transaction = await used(place)
        await place.boot()
        place.later(1)
        await place.values(transaction, 7_600)
        place.later(10)
        await place.frame()
        await place.watch()
        assert await place.value("state", session) == "charging"

    async def test_a_stop_that_is_not_answered_for_5_min(self, place: ChargingPlace) -> None:
        client, session, _ = await used(place)
        await place.ask_to_stop(session, client)
        place.later(5)
        await place.frame()
        await place.watch()
        assert await place.bill(session) == ("settled", 7_500, 90)
        assert await place.value("end_reason", session) == "stopped_by_driver"

    async def test_edge_5_the_next_start_bills_up_to_its_register(
        self, place: ChargingPlace
    ) -> None:
        _, session, _ = await used(place)
        place.later(10)
        await place.begin(None, meter_wh=7_700, tag="STRANGER")
        assert await place.bill(session) == ("settled", 7_700, 92)
        assert await place.value("end_reason", session) == "next_start"

    async def test_the_next_start_at_0_bills_the_last_register(self, place: ChargingPlace) -> None:
        _, session, _ = await used(place)
        place.later(10)
        await place.begin(None, meter_wh=0, tag="STRANGER")
        assert await place.bill(session) == ("settled", 7_500, 90)

    async def test_without_any_value_it_is_quarantined(self, place: ChargingPlace) -> None:
        session, _ = await place.charging(await place.driver())
        place.later(1)
        await place.status("available")
        place.later(1.5)
        await place.frame()
        await place.watch()
        assert await place.bills(session) == [(0, 0)]
        assert await place.value("quarantine_reason", session) == "no_register"


class TestFailures:
    async def test_an_end_that_fails_keeps_no_stop_of_the_same_session(
        self, place: ChargingPlace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def fail(*_: object, **__: object) -> None:
            raise AssertionError

        monkeypatch.setattr(due, "close_estimated", fail)
        session, transaction = await place.charging(await place.driver(), energy_wh=10_000)
        await place.answer()
        place.later(5)
        await place.values(transaction, 5_000)
        await place.status("available")
        place.now = (await place.progress(transaction))["stop_due_at"]
        await place.frame()
        assert await place.value("state", session) == "charging"
        watched = Watch(place.db, LocalBus(), lambda: place.now, place.rules)
        for _ in range(2):
            await watched.run_once(Round())
            place.now += timedelta(seconds=1)
        assert await place.value("stop_reason", session) == "energy_limit"
        assert await place.commands() == ["remote_stop"]
        assert (await place.progress(transaction))["close_reason"] == "became_available"


class TestLost:
    async def test_edge_19_the_driver_is_told_once_after_30_min(self, place: ChargingPlace) -> None:
        _, session, transaction = await used(place, wh=100)
        place.later(29)
        await place.watch()
        assert await place.value("station_lost_notified_at", session) is None
        place.later(1)
        assert "lost" in await place.watch() + await place.watch()
        assert await place.value("station_lost_notified_at", session) == place.now
        assert "lost" not in await place.watch()
        await place.values(transaction, 200)
        assert await place.value("station_lost_notified_at", session) is None


class TestLateFigures:
    async def test_edge_5_the_stop_after_an_estimated_end_is_the_next_bill(
        self, place: ChargingPlace
    ) -> None:
        client, session, transaction = await used(place)
        await place.status("available")
        place.later(2)
        await place.frame()
        await place.watch()
        place.later(60)
        await place.stop(transaction, 7_800, time=place.now - timedelta(minutes=61), reason="Local")
        assert await place.bills(session) == [(7_500, 90), (7_800, 93)]
        assert await place.value("is_estimated", session) is False
        assert await place.value("end_reason", session) == "stopped_at_station"
        assert (await place.money.money(client))[0] == 100_000 - 9_360
        records = await place.owner.fetch(
            "select energy_wh, is_estimated from charging.cdrs order by settlement_id"
        )
        assert [tuple(row) for row in records] == [(7_500, True), (7_800, False)]

    async def test_a_lower_stop_is_refunded(self, place: ChargingPlace) -> None:
        client, session, transaction = await used(place)
        await place.status("available")
        place.later(2)
        await place.frame()
        await place.watch()
        await place.stop(transaction, 7_490)
        assert await place.bills(session) == [(7_500, 90), (7_490, 89)]
        assert (await place.money.money(client))[0] == 100_000 - 8_988

    async def test_what_was_billed_first_is_not_free_by_a_later_figure(
        self, place: ChargingPlace
    ) -> None:
        session, transaction = await place.charging(await place.driver())
        place.later(1)
        await place.values(transaction, 400)
        await place.status("available")
        place.later(2)
        await place.frame()
        await place.watch()
        await place.stop(transaction, 450, reason="PowerLoss")
        assert [energy_wh for energy_wh, _ in await place.bills(session)] == [400, 450]
        assert await place.value("free_reason", session) is None
        assert await place.value("cost_minor", session) == 540

    async def test_a_stop_without_an_id_finds_the_estimated_end(self, place: ChargingPlace) -> None:
        _, session, _ = await used(place)
        await place.status("available")
        place.later(2)
        await place.frame()
        await place.watch()
        await place.stop(-1, 7_600)
        assert await place.bills(session) == [(7_500, 90), (7_600, 91)]

    @pytest.mark.parametrize("minutes_over", [0, 1])
    async def test_a_stop_without_an_id_finds_the_estimated_end_for_30_days(
        self, place: ChargingPlace, minutes_over: int
    ) -> None:
        _, session, transaction = await used(place)
        await place.status("available")
        place.later(2)
        await place.frame()
        await place.watch()
        ended_at = await place.owner.fetchval(
            "select ended_at from charging.transactions where id = $1", transaction
        )
        place.now = ended_at + timedelta(days=30, minutes=minutes_over)
        await place.stop(-1, 7_600)
        late = [] if minutes_over else [(7_600, 91)]
        assert await place.bills(session) == [(7_500, 90), *late]
        assert await place.alerts() == ["stop_unmatched"] * minutes_over

    async def test_energy_after_an_estimated_end_is_stopped_and_billed_a_day_later(
        self, place: ChargingPlace
    ) -> None:
        _, session, transaction = await used(place)
        await place.status("available")
        place.later(2)
        await place.frame()
        await place.watch()
        for wh in (8_000, 8_900):
            place.later(1)
            await place.values(transaction, wh)
            await place.watch()
        assert await place.bills(session) == [(7_500, 90)]
        assert await place.alerts() == ["energy_after_close"]
        assert await place.commands() == ["remote_stop"]
        place.later(24 * 60 - 0.1)
        assert await place.watch() == []
        place.later(0.1)
        assert await place.watch() == ["rebill"]
        assert await place.bills(session) == [(7_500, 90), (8_900, 106)]
        assert await place.value("is_estimated", session) is True
        assert await place.watch() == []

    async def test_the_stop_that_comes_after_that_bill_is_the_next_one(
        self, place: ChargingPlace
    ) -> None:
        _, session, transaction = await used(place)
        await place.status("available")
        place.later(2)
        await place.frame()
        await place.watch()
        place.later(1)
        await place.values(transaction, 8_000)
        place.later(24 * 60)
        assert await place.watch() == ["rebill"]
        await place.stop(transaction, 8_200)
        assert await place.bills(session) == [(7_500, 90), (8_000, 96), (8_200, 98)]
        assert await place.value("is_estimated", session) is False
        assert "figure_after_decision" not in await place.alerts()

    async def test_a_stop_before_the_day_is_over_bills_it(self, place: ChargingPlace) -> None:
        _, session, transaction = await used(place)
        await place.status("available")
        place.later(2)
        await place.frame()
        await place.watch()
        place.later(1)
        await place.values(transaction, 8_000)
        await place.stop(transaction, 8_000)
        place.later(48 * 60)
        assert await place.watch() == []
        assert await place.bills(session) == [(7_500, 90), (8_000, 96)]


class TestPauses:
    """Time costs while the car charges; 60 som an hour."""

    async def test_edge_24_a_car_that_takes_nothing_does_not_charge(
        self, place: ChargingPlace
    ) -> None:
        await place.price({"energy_per_kwh": {"price": "12"}, "time_per_hour": {"price": "60"}})
        session, transaction = await place.charging(await place.driver())
        place.later(10)
        await place.values(transaction, 5_000)
        await place.status("suspended_ev")
        place.later(20)
        await place.values(transaction, 5_000)
        assert (await place.progress(transaction))["cost_minor"] == 6_000 + 1_000
        place.later(10)
        await place.stop(transaction, 5_000)
        assert await place.bill(session) == ("settled", 5_000, 70)

    async def test_edge_24_a_pause_that_the_station_makes_is_charging(
        self, place: ChargingPlace
    ) -> None:
        await place.price({"energy_per_kwh": {"price": "12"}, "time_per_hour": {"price": "60"}})
        session, transaction = await place.charging(await place.driver())
        place.later(10)
        await place.values(transaction, 5_000)
        await place.status("suspended_evse")
        place.later(30)
        await place.stop(transaction, 5_000)
        assert await place.bill(session) == ("settled", 5_000, 100)

    async def test_what_flows_again_ends_the_pause(self, place: ChargingPlace) -> None:
        await place.price({"energy_per_kwh": {"price": "12"}, "time_per_hour": {"price": "60"}})
        session, transaction = await place.charging(await place.driver())
        place.later(10)
        await place.values(transaction, 5_000)
        await place.status("suspended_ev")
        place.later(6)
        await place.status("charging")
        place.later(10)
        await place.stop(transaction, 10_000)
        assert await place.bill(session) == ("settled", 10_000, 140)


class TestOperator:
    async def correct(self, place: ChargingPlace, session: UUID, **facts: Any) -> None:
        bill = OperatorBill(session, None, None, "anna", "meter read on place")
        async with place.db.transaction() as connection:
            await correct_session(connection, replace(bill, **facts), now=place.now)

    async def test_a_better_figure_is_the_next_bill(self, place: ChargingPlace) -> None:
        _, session, transaction = await used(place)
        place.later(1)
        await place.stop(transaction, 7_500)
        await self.correct(place, session, energy_wh=7_000)
        assert await place.bills(session) == [(7_500, 90), (7_000, 84)]

    async def test_it_stays_when_the_stations_stop_comes_later(self, place: ChargingPlace) -> None:
        _, session, transaction = await used(place)
        await place.status("available")
        place.later(2)
        await place.frame()
        await place.watch()
        await self.correct(place, session, energy_wh=7_000)
        await place.stop(transaction, 7_800)
        assert await place.bills(session) == [(7_500, 90), (7_000, 84)]
        assert await place.alerts() == ["figure_after_decision"]
        await self.correct(place, session, energy_wh=7_800)
        assert await place.bills(session) == [(7_500, 90), (7_000, 84), (7_800, 93)]
        assert await place.alerts() == []

    async def test_a_quarantine_that_ends_by_what_was_billed_bills_nothing(
        self, place: ChargingPlace
    ) -> None:
        price = {"price": "1"}
        await place.price(
            {"energy_per_kwh": {"price": "12"}, "flat": {"price": "5"}, "time_per_minute": price}
        )
        session, transaction = await place.charging(await place.driver(), meter_wh=None)
        place.later(10)
        await place.stop(transaction, None)
        assert await place.bills(session) == [(0, 0)]
        await self.correct(place, session, is_decision=True)
        assert await place.bills(session) == [(0, 0)]
        assert await place.value("quarantined_at", session) is None

    async def test_a_figure_of_0_is_no_estimate(self, place: ChargingPlace) -> None:
        _, session, _ = await used(place)
        await place.status("available")
        place.later(2)
        await place.frame()
        await place.watch()
        assert await place.value("is_estimated", session) is True
        await self.correct(place, session, energy_wh=0)
        assert await place.value("is_estimated", session) is False

    @pytest.mark.parametrize("is_forced", [False, True])
    async def test_an_end_in_the_future_is_refused(
        self, place: ChargingPlace, *, is_forced: bool
    ) -> None:
        _, session, transaction = await used(place)
        await place.stop(transaction, 7_500)
        later = place.now + timedelta(seconds=1)
        with pytest.raises(Invalid, match=r"in the future|before that"):
            await self.correct(place, session, ended_at=later, is_forced=is_forced)
        assert await place.bills(session) == [(7_500, 90)]

    async def test_an_end_after_the_bill_is_a_slip_unless_forced(
        self, place: ChargingPlace
    ) -> None:
        await place.price({"energy_per_kwh": {"price": "12"}, "time_per_hour": {"price": "60"}})
        session, transaction = await place.charging(await place.driver())
        place.later(10)
        await place.stop(transaction, 5_000)
        async with place.db.transaction() as connection:
            _, [bill] = await get_session(connection, session)
        billed_at = bill.created_at
        place.now = max(place.now, billed_at) + timedelta(days=40)
        month_later = billed_at + timedelta(days=30)
        with pytest.raises(Invalid, match=r"in the future|before that"):
            await self.correct(place, session, ended_at=month_later)
        assert len(await place.bills(session)) == 1
        await self.correct(place, session, ended_at=month_later, is_forced=True)
        assert len(await place.bills(session)) == 2
        with pytest.raises(Invalid, match="before that"):  # an operator's bill moves no bound
            await self.correct(place, session, ended_at=month_later - timedelta(days=1))

    async def test_an_earlier_end_is_priced_until_then(self, place: ChargingPlace) -> None:
        await place.price({"energy_per_kwh": {"price": "12"}, "time_per_hour": {"price": "60"}})
        _, session, transaction = await used(place)  # 7.5 kWh in ten minutes
        earlier = place.now
        place.later(10)
        await place.values(transaction, 7_500)
        await place.stop(transaction, 7_500)
        assert await place.bills(session) == [(7_500, 90 + 20)]
        await self.correct(place, session, ended_at=earlier)
        assert await place.bills(session) == [(7_500, 90 + 20), (7_500, 90 + 10)]

    async def test_it_decides_a_quarantine(self, place: ChargingPlace) -> None:
        _, session, transaction = await used(place)
        await place.stop(transaction, 7_783_000)
        await self.correct(place, session)
        assert await place.bills(session) == [(7_500, 90)]
        assert await place.value("quarantined_at", session) is None
        assert await place.alerts() == []

    @pytest.mark.parametrize(
        ("facts", "kind", "code"),
        [
            ({"session_id": new_uuid()}, NotFound, "session_not_found"),
            ({"energy_wh": -1}, Invalid, "invalid_energy"),
            ({"energy_wh": 1_000_001}, Invalid, "implausible_energy"),
            ({"reason": " "}, Invalid, "reason_missing"),
            ({"actor": ""}, Invalid, "reason_missing"),
        ],
    )
    async def test_what_cannot_be_is_refused(
        self, place: ChargingPlace, facts: dict[str, object], kind: type[EvPowerError], code: str
    ) -> None:
        _, session, transaction = await used(place)
        place.later(1)
        await place.stop(transaction, 7_500)
        with pytest.raises(kind) as refused:
            await self.correct(place, session, **facts)
        assert refused.value.code == code

    async def test_what_the_connector_can_just_deliver_is_no_slip(
        self, place: ChargingPlace
    ) -> None:
        """60 kW for ten minutes, a tenth more, and the last step of the register."""
        _, session, transaction = await used(place)
        await place.stop(transaction, 7_500)
        with pytest.raises(Invalid, match="can deliver"):
            await self.correct(place, session, energy_wh=11_002)
        await self.correct(place, session, energy_wh=11_001)
        assert await place.bills(session) == [(7_500, 90), (11_001, 132)]

    async def test_an_end_before_the_start_is_refused(self, place: ChargingPlace) -> None:
        _, session, transaction = await used(place)
        place.later(1)
        await place.stop(transaction, 7_500)
        with pytest.raises(Invalid, match="before the start"):
            await self.correct(place, session, ended_at=place.now - timedelta(days=1))

    async def test_a_session_without_a_bill_is_not_corrected(self, place: ChargingPlace) -> None:
        _, session, _ = await used(place)
        with pytest.raises(Conflict, match="no bill"):
            await self.correct(place, session)


class TestIdle:
    """A car that is plugged in and takes nothing without saying so."""

    async def test_values_without_energy_for_an_hour_stop_it(self, place: ChargingPlace) -> None:
        _, session, transaction = await used(place)
        for minutes in (30, 29.9):
            place.later(minutes)
            await place.values(transaction, 7_500, power_w=0)
        await place.frame()
        assert await place.watch() == []
        place.later(0.1)
        await place.values(transaction, 7_500, power_w=0)
        await place.frame()
        assert await place.watch() == ["idle"]
        assert await place.value("stop_reason", session) == "no_energy"

    async def test_a_pause_of_the_car_does_not(self, place: ChargingPlace) -> None:
        _, session, transaction = await used(place)
        await place.status("suspended_ev")
        place.later(90)
        await place.values(transaction, 7_500, power_w=0)
        await place.frame()
        await place.watch()
        assert await place.value("state", session) == "charging"

    @pytest.mark.parametrize("ends_by", ["status", "power"])
    async def test_its_hour_begins_anew_when_a_pause_ends(
        self, place: ChargingPlace, ends_by: str
    ) -> None:
        _, session, transaction = await used(place)
        await place.status("suspended_ev")
        place.later(90)
        await place.values(transaction, 7_500, power_w=0)
        if ends_by == "status":
            await place.status("charging")
        else:
            await place.values(transaction, 7_500, power_w=7_000)
        assert "idle" not in await place.watch()
        for minutes in (59.9, 0.1):
            assert await place.value("state", session) == "charging"
            place.later(minutes)
            await place.values(transaction, 7_500, power_w=0)
            await place.watch()
        assert await place.value("stop_reason", session) == "no_energy"

"""A charge that goes on although it was to stop: the next step follows what the meter says."""

import json
from typing import Any
from uuid import UUID

import pytest

from evpower import stations
from evpower.charging.store_steps import OVER_ON_CONNECTOR
from tests.charging.place import ChargingPlace


async def told_to_stop(place: ChargingPlace) -> tuple[UUID, int]:
    """Charge to a limit; the station has the first stop, and has sent one value since."""
    session, transaction = await place.charging(await place.driver(), energy_wh=1_000)
    for wh in (500, 1_000):
        place.later(1)
        await place.values(transaction, wh)
    assert await place.answer() == ["remote_stop"]
    return session, transaction


async def goes_on(place: ChargingPlace, transaction: int, *energies: int) -> None:
    """Let energy flow, a minute a value, and the watch look after each."""
    for wh in energies:
        place.later(1)
        await place.values(transaction, wh)
        await place.watch()


async def test_each_step_follows_two_values_with_growth(place: ChargingPlace) -> None:
    session, transaction = await told_to_stop(place)
    await goes_on(place, transaction, 1_500)
    assert await place.answer() == ["remote_stop"]
    wh = 1_500
    for action in ("set_charging_profile", "unlock", "reset"):
        await goes_on(place, transaction, wh + 100)
        assert await place.answer() == [], "one value may have flowed before the command came"
        await goes_on(place, transaction, wh + 200)
        assert await place.answer() == [action]
        wh += 200
    await goes_on(place, transaction, wh + 100, wh + 200)
    assert await place.answer() == []
    assert await place.alerts() == ["stop_not_obeyed", "stop_steps_exhausted"]
    assert await place.steps(transaction) == [
        ("remote_stop", "went_on"), ("remote_stop_again", "went_on"), ("zero_limit", "went_on"),
        ("unlock", "went_on"), ("reset", "went_on"), ("give_up", None),
    ]  # fmt: skip
    await goes_on(place, transaction, wh + 500)
    await place.stop(transaction, wh + 500)
    assert await place.alerts() == []
    assert (await place.steps(transaction))[-1] == ("give_up", "stopped")
    assert await place.bill(session) == ("settled", wh + 500, (wh + 500) * 12 // 1000)


async def test_accepted_is_no_proof_and_the_meter_is(place: ChargingPlace) -> None:
    _, transaction = await told_to_stop(place)
    await goes_on(place, transaction, 1_500)
    assert await place.answer() == ["remote_stop"]
    await goes_on(place, transaction, 1_600, 1_600, 1_600)
    assert await place.answer() == []
    await goes_on(place, transaction, 1_700)
    assert await place.answer() == []
    await goes_on(place, transaction, 1_800)
    assert await place.answer() == ["set_charging_profile"]


async def test_q83_a_stop_that_is_refused_is_tried_a_third_time(place: ChargingPlace) -> None:
    _, transaction = await told_to_stop(place)
    for wh in (1_500, 1_600):
        await goes_on(place, transaction, wh)
        assert await place.answer("refused") == ["remote_stop"]
    await goes_on(place, transaction, 1_700)
    assert await place.answer("refused") == []
    await goes_on(place, transaction, 1_800)
    assert await place.answer("refused") == ["set_charging_profile"]
    assert await place.steps(transaction) == [
        ("remote_stop", "went_on"), ("remote_stop_again", "refused"),
        ("remote_stop_again", "went_on"), ("zero_limit", None),
    ]  # fmt: skip


async def test_the_limit_is_of_the_transaction_and_0(place: ChargingPlace) -> None:
    _, transaction = await told_to_stop(place)
    await goes_on(place, transaction, 1_500)
    await place.answer()
    await goes_on(place, transaction, 1_600, 1_700)
    assert await place.payload("set_charging_profile") == {
        "connector": 1, "transaction_id": transaction, "limit": 0, "unit": "A",
    }  # fmt: skip


async def test_no_values_for_two_intervals_are_no_proof_of_a_stop(place: ChargingPlace) -> None:
    _, transaction = await told_to_stop(place)
    place.later(0.5)
    await place.frame()
    assert await place.watch() == ["step"]
    assert await place.answer() == ["remote_stop"]
    assert (await place.steps(transaction))[0] == ("remote_stop", "not_ended")
    place.later(1.9)
    await place.frame()
    await place.watch()
    assert await place.answer() == []
    place.later(0.2)
    await place.frame()
    await place.watch()
    assert await place.answer() == ["set_charging_profile"]
    assert (await place.steps(transaction))[1] == ("remote_stop_again", "no_values")


async def test_nothing_follows_while_the_station_is_away(place: ChargingPlace) -> None:
    _, transaction = await told_to_stop(place)
    for minutes in (10, 60):
        place.later(minutes)
        await place.watch()
    assert await place.steps(transaction) == [("remote_stop", None)]
    await place.frame()
    place.later(0.5)
    await place.frame()
    await place.watch()
    assert await place.answer() == ["remote_stop"]


async def test_a_stop_waits_for_its_delivery(place: ChargingPlace) -> None:
    _, transaction = await place.charging(await place.driver(), energy_wh=1_000)
    place.later(2)
    await place.values(transaction, 1_000)
    place.later(10)
    await place.frame()
    await place.watch()
    assert await place.steps(transaction) == [("remote_stop", None)]


async def test_values_from_before_the_stop_are_no_proof(place: ChargingPlace) -> None:
    _, transaction = await told_to_stop(place)
    await goes_on(place, transaction, 1_500)
    before = place.now
    place.later(1)
    await place.answer()
    for wh in (1_510, 1_520, 1_530):  # stored by the station
        await place.values(transaction, wh, time=before)
        await place.watch()
    assert await place.answer() == []


class TestLimit:
    async def limited(self, place: ChargingPlace) -> tuple[UUID, int]:
        session, transaction = await told_to_stop(place)
        await goes_on(place, transaction, 1_500)
        await place.answer()
        await goes_on(place, transaction, 1_600, 1_700)
        assert await place.answer() == ["set_charging_profile"]
        return session, transaction

    async def test_q73_it_is_taken_back_at_the_stop(self, place: ChargingPlace) -> None:
        _, transaction = await self.limited(place)
        await place.stop(transaction, 1_700)
        assert await place.answer() == ["clear_charging_profile"]
        await place.status("available")
        assert await place.answer() == []

    async def test_one_that_was_not_sent_is_dropped(self, place: ChargingPlace) -> None:
        _, transaction = await told_to_stop(place)
        await goes_on(place, transaction, 1_500)
        await place.answer()
        await goes_on(place, transaction, 1_600, 1_700)
        await place.stop(transaction, 1_700)
        assert await place.answer() == ["clear_charging_profile"]

    async def test_it_stays_where_the_station_may_charge_on(self, place: ChargingPlace) -> None:
        session, _ = await self.limited(place)
        await place.ask_to_stop(session)
        place.later(5)
        await place.frame()
        await place.watch()
        assert await place.value("state", session) == "settled"
        assert await place.answer() == []
        await place.status("available")
        assert await place.answer() == ["clear_charging_profile"]

    async def test_a_late_stop_takes_it_back(self, place: ChargingPlace) -> None:
        session, transaction = await self.limited(place)
        await place.ask_to_stop(session)
        place.later(5)
        await place.frame()
        await place.watch()
        await place.stop(transaction, 1_700)
        assert await place.answer() == ["clear_charging_profile"]
        assert await place.alerts() == []

    async def test_the_next_start_takes_it_back(self, place: ChargingPlace) -> None:
        session, _ = await self.limited(place)
        await place.ask_to_stop(session)
        place.later(5)
        await place.frame()
        await place.watch()
        await place.begin(None, meter_wh=2_000, tag="STRANGER")
        assert "clear_charging_profile" in await place.answer()


class TestOthersAtTheStation:
    async def up_to_the_lock(self, place: ChargingPlace) -> int:
        _, transaction = await told_to_stop(place)
        await goes_on(place, transaction, 1_500)
        await place.answer()
        await goes_on(place, transaction, 1_600, 1_700)
        await place.answer()
        await goes_on(place, transaction, 1_800, 1_900)
        assert await place.payload("unlock") == {"connector": 1}
        await place.answer()
        return transaction

    @pytest.mark.parametrize("other", ["charges", "begins", "is plugged in"])
    async def test_a_restart_waits_for_no_one_else(self, place: ChargingPlace, other: str) -> None:
        transaction = await self.up_to_the_lock(place)
        if other == "charges":
            await place.begin(None, connector=2, meter_wh=0, tag="STRANGER")
        elif other == "begins":
            await place.start(await place.driver(), connector=2)
        else:
            await place.owner.execute(
                "update stations.connectors set reported_status = 'occupied', reported_at = $1"
                " where number = 2",
                place.now,
            )
        await place.answer()
        await goes_on(place, transaction, 2_000, 2_100)
        assert "reset" not in await place.answer()
        assert (await place.steps(transaction))[-2:] == [("reset", "skipped"), ("give_up", None)]
        assert "stop_steps_exhausted" in await place.alerts()

    async def test_q59_a_restart_is_a_soft_one(self, place: ChargingPlace) -> None:
        transaction = await self.up_to_the_lock(place)
        await goes_on(place, transaction, 2_000, 2_100)
        assert await place.payload("reset") == {"kind": "soft"}

    @pytest.mark.parametrize("reason", ["SoftReset", "Reboot"])
    async def test_its_end_is_the_one_that_was_asked_for(
        self, place: ChargingPlace, reason: str
    ) -> None:
        transaction = await self.up_to_the_lock(place)
        await goes_on(place, transaction, 2_000, 2_100)
        session = await place.owner.fetchval("select session_id from charging.progress")
        await place.stop(transaction, 2_100, reason=reason)
        assert await place.value("end_reason", session) == "energy_limit"
        assert await place.value("free_reason", session) is None


async def test_what_no_one_pays_is_neither_unlocked_nor_restarted(place: ChargingPlace) -> None:
    transaction = await place.begin(None, meter_wh=0, tag="STRANGER")
    await place.answer()
    await goes_on(place, transaction, 100)
    assert await place.answer() == ["remote_stop"]
    await goes_on(place, transaction, 200, 300)
    assert await place.answer() == ["set_charging_profile"]
    await goes_on(place, transaction, 400, 500)
    assert await place.answer() == []
    assert [step for step, _ in await place.steps(transaction)][-3:] == [
        "unlock", "reset", "give_up",
    ]  # fmt: skip


class TestUnresponsive:
    """Q13: commands are not heard until the station connects anew."""

    async def test_the_stop_is_sent_again_on_the_new_connection(self, place: ChargingPlace) -> None:
        session, transaction = await place.charging(await place.driver(), energy_wh=1_000)
        await place.answer()
        place.later(2)
        await place.values(transaction, 1_000)
        await place.answer("timed_out")
        await goes_on(place, transaction, 1_100)
        assert await place.answer("timed_out") == ["remote_stop"]
        await goes_on(place, transaction, 1_200)
        async with place.db.transaction() as connection:
            epoch = await connection.fetchval("select max(id) from stations.connections")
            await stations.close_connection(connection, "S1", epoch, "unresponsive", now=place.now)
        place.later(0.2)
        await place.watch()
        assert await place.value("state", session) == "stopping", "it is not the end"
        async with place.db.transaction() as connection:
            await place.connect(connection)
        await goes_on(place, transaction, 1_300)
        assert await place.answer() == ["remote_stop"]
        assert await place.steps(transaction) == [
            ("remote_stop", "went_on"), ("remote_stop_again", "unanswered"),
            ("remote_stop_again", None),
        ]  # fmt: skip

    async def test_what_was_repeated_once_is_not_repeated_on_the_next_connection(
        self, place: ChargingPlace
    ) -> None:
        _, transaction = await told_to_stop(place)
        await goes_on(place, transaction, 1_100)
        for wh in (1_200, 1_300):
            assert await place.answer("timed_out") == ["remote_stop"]
            async with place.db.transaction() as connection:
                await place.connect(connection)
            await goes_on(place, transaction, wh)
        await goes_on(place, transaction, 1_400, 1_500)
        assert [step for step, _ in await place.steps(transaction)] == [
            "remote_stop", "remote_stop_again", "remote_stop_again", "zero_limit",
        ]  # fmt: skip

    async def test_one_that_was_refused_before_it_was_not_heard_is_repeated(
        self, place: ChargingPlace
    ) -> None:
        _, transaction = await told_to_stop(place)
        await goes_on(place, transaction, 1_100)
        assert await place.answer("refused") == ["remote_stop"]
        await goes_on(place, transaction, 1_200)
        assert await place.answer("timed_out") == ["remote_stop"]
        async with place.db.transaction() as connection:
            await place.connect(connection)
        await goes_on(place, transaction, 1_300)
        assert await place.answer() == ["remote_stop"]
        assert await place.steps(transaction) == [
            ("remote_stop", "went_on"), ("remote_stop_again", "refused"),
            ("remote_stop_again", "unanswered"), ("remote_stop_again", None),
        ]  # fmt: skip


class TestAfterTheEnd:
    async def closed(self, place: ChargingPlace) -> tuple[UUID, int]:
        session, transaction = await place.charging(await place.driver())
        await place.answer()
        place.later(10)
        await place.values(transaction, 5_000)
        await place.ask_to_stop(session)
        await place.answer()
        place.later(5)
        await place.frame()
        await place.watch()
        assert await place.bill(session) == ("settled", 5_000, 60)
        return session, transaction

    async def test_energy_after_an_estimated_end_is_stopped_step_by_step(
        self, place: ChargingPlace
    ) -> None:
        session, transaction = await self.closed(place)
        await goes_on(place, transaction, 5_500)
        assert await place.alerts() == ["energy_after_close"]
        assert await place.answer() == ["remote_stop"]
        await goes_on(place, transaction, 6_000, 6_500)
        assert await place.answer() == ["set_charging_profile"]
        place.later(1)
        await place.stop(transaction, 6_500)
        assert await place.answer() == ["clear_charging_profile"]
        assert await place.bills(session) == [(5_000, 60), (6_500, 78)]
        assert await place.alerts() == []

    async def test_without_a_stop_it_is_billed_a_day_later(self, place: ChargingPlace) -> None:
        session, transaction = await self.closed(place)
        await goes_on(place, transaction, 5_500, 6_000)
        last_value_at = place.now
        await place.answer()
        place.later(24 * 60)
        await place.watch()
        assert await place.bills(session) == [(5_000, 60), (6_000, 72)]
        assert await place.value("ended_at", session) == last_value_at

    async def test_q58_energy_after_the_stations_own_stop_is_tail(
        self, place: ChargingPlace
    ) -> None:
        session, transaction = await place.charging(await place.driver())
        await place.answer()
        place.later(10)
        await place.values(transaction, 5_000)
        await place.stop(transaction, 5_000, reason="EmergencyStop")
        await goes_on(place, transaction, 5_100)
        assert await place.alerts() == ["energy_after_stop"]
        assert await place.answer() == ["remote_stop", "set_charging_profile"]
        await goes_on(place, transaction, 5_200, 5_300)
        assert "stop_steps_exhausted" in await place.alerts()
        assert await place.bills(session) == [(5_000, 60)]
        assert int((await place.progress(transaction))["tail_wh"]) == 300
        await place.status("available")
        assert await place.answer() == ["clear_charging_profile"]
        assert await place.alerts() == []

    async def test_no_other_charge_is_limited(self, place: ChargingPlace) -> None:
        _, transaction = await self.closed(place)
        await place.begin(None, connector=1, meter_wh=5_000, tag="STRANGER")
        await place.answer()
        before: list[Any] = await place.steps(transaction)
        place.later(1)
        await place.values(transaction, 5_600)
        await place.watch()
        assert "set_charging_profile" not in await place.commands()
        assert [step for step, _ in before if step == "zero_limit"] == []

    @pytest.mark.parametrize("then", ["its own stop", "a start", "nothing"])
    async def test_what_was_not_sent_before_the_end_meets_no_next_charge(
        self, place: ChargingPlace, then: str
    ) -> None:
        """The station was away: EvPower ended the charge with a limit of 0 in the queue."""
        session, transaction = await place.charging(await place.driver())
        await place.ask_to_stop(session)
        await place.answer()
        await goes_on(place, transaction, 500)
        await place.answer()
        await goes_on(place, transaction, 1_000, 1_500)
        assert (await place.steps(transaction))[-1] == ("zero_limit", None)
        place.later(2)
        await place.watch()
        assert (await place.steps(transaction))[-1] == ("zero_limit", "closed")
        if then == "its own stop":
            await place.stop(transaction, 1_600)
        elif then == "a start":
            await place.begin(None, meter_wh=1_600, tag="STRANGER")
        assert ("set_charging_profile" in await place.answer()) is (then == "nothing")

    @pytest.mark.parametrize("sign", ["stop", "start", "available"])
    async def test_a_stop_that_was_not_sent_before_the_end_stops_no_next_charge(
        self, place: ChargingPlace, sign: str
    ) -> None:
        """The station was away, and may know the next charge by the same id."""
        session, transaction = await place.charging(await place.driver())
        await place.answer()
        place.later(10)
        await place.ask_to_stop(session)
        place.later(5)
        await place.watch()
        assert await place.value("state", session) == "settled"
        if sign == "stop":
            await place.stop(transaction, 1_600)
        elif sign == "start":
            await place.begin(await place.start(await place.driver()), meter_wh=1_600)
        else:
            await place.status("available")
        assert await place.answer() == []

    async def test_a_stop_stays_queued_where_no_other_charge_begins(
        self, place: ChargingPlace
    ) -> None:
        session, _ = await place.charging(await place.driver())
        await place.answer()
        await place.ask_to_stop(session)
        place.later(5)
        await place.watch()
        assert await place.value("state", session) == "settled"
        await place.start(await place.driver(), connector=2)
        await place.status("available", connector=2)
        assert await place.answer() == ["remote_stop"]

    async def test_what_waits_for_a_station_is_read_by_an_index(self, place: ChargingPlace) -> None:
        await place.owner.execute("set enable_seqscan = off")
        plan = json.dumps(
            json.loads(
                await place.owner.fetchval(
                    f"explain (format json) {OVER_ON_CONNECTOR}".replace("$1", "'S1'").replace(
                        "$2", "1"
                    )
                )
            )
        )
        for index in ("stop_steps_by_command", "commands_queued"):
            assert f'"{index}"' in plan
        assert "Seq Scan" not in plan


class TestOneIdForAll:
    """A station calls charges by ids of its own: a stop by an id that may be two's is not sent."""

    ITS_ID = 1758670080

    async def asked_to_stop(self, place: ChargingPlace) -> tuple[UUID, int]:
        """Charge by the station's own id; the stop waits for the station."""
        session, transaction = await place.charging(await place.driver())
        await place.answer()
        place.later(1)
        await place.values(self.ITS_ID, 100)
        await place.ask_to_stop(session)
        return session, transaction

    async def sent_stop(self, place: ChargingPlace) -> dict[str, Any] | None:
        """What the station is sent now."""
        before = await place.owner.fetchval("select coalesce(max(id), 0) from stations.commands")
        await place.answer()
        payload = await place.owner.fetchval(
            "select payload from stations.commands where action = 'remote_stop'"
            " and sent_at = $1 and id <= $2",
            place.now,
            before,
        )
        return None if payload is None else json.loads(payload)

    async def test_what_begins_on_another_connector_may_have_the_id(
        self, place: ChargingPlace
    ) -> None:
        """Until a value of it came; the driver's stop goes on by the number that is its own."""
        _, transaction = await self.asked_to_stop(place)
        other = await place.begin(await place.start(await place.driver(), 2), connector=2)
        assert await self.sent_stop(place) is None
        await place.watch()
        assert await self.sent_stop(place) == {"transaction_id": transaction, "aliases": []}
        place.later(1)
        await place.values(self.ITS_ID + 1, 10, connector=2)
        await place.values(self.ITS_ID, 900)
        await place.watch()
        assert await self.sent_stop(place) == {
            "transaction_id": self.ITS_ID, "aliases": [transaction],
        }  # fmt: skip
        assert other != transaction

    async def test_an_id_that_the_other_has_shown_is_withdrawn(self, place: ChargingPlace) -> None:
        session, transaction = await place.charging(await place.driver())
        await place.begin(await place.start(await place.driver(), 2), connector=2)
        await place.answer()
        place.later(1)
        await place.values(self.ITS_ID, 100)
        await place.values(None, 10, connector=2)
        await place.ask_to_stop(session)
        place.later(0.1)
        await place.values(self.ITS_ID, 20, connector=2)
        assert await self.sent_stop(place) is None
        await place.watch()
        assert await self.sent_stop(place) == {"transaction_id": transaction, "aliases": []}

    async def test_an_id_that_was_used_before_may_be_of_what_shows_none(
        self, place: ChargingPlace
    ) -> None:
        first = await place.begin(await place.start(await place.driver()))
        await place.values(self.ITS_ID, 10)
        await place.stop(first, 10)
        session, transaction = await place.charging(await place.driver(), meter_wh=10)
        await place.begin(await place.start(await place.driver(), 2), connector=2)
        place.later(1)
        await place.values(self.ITS_ID, 100)
        await place.values(None, 10, connector=2)
        await place.answer()
        await place.ask_to_stop(session)
        assert await self.sent_stop(place) == {"transaction_id": transaction, "aliases": []}

    async def test_a_stop_left_by_a_charge_that_evpower_ended_is_not_sent(
        self, place: ChargingPlace
    ) -> None:
        session, _ = await self.asked_to_stop(place)
        place.later(5)
        await place.watch()
        assert await place.value("state", session) == "settled"
        await place.begin(await place.start(await place.driver(), 2), connector=2)
        assert await self.sent_stop(place) is None

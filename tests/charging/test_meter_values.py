"""Meter values: energy, running cost, limits, the money on hold, what comes after an end."""

from datetime import timedelta
from decimal import Decimal

import pytest

from tests.charging.place import NOON, ChargingPlace, read


async def test_energy_and_cost_follow_the_register(place: ChargingPlace) -> None:
    session, transaction = await place.charging(await place.driver(), meter_wh=5_000)
    place.later(1)
    await place.values(transaction, 6_000, power_w=58_000, soc_percent=40)
    progress = await place.progress(transaction)
    shown = {name: progress[name] for name in ("energy_wh", "cost_minor", "power_w", "soc_percent")}
    assert shown == {"energy_wh": 1_000, "cost_minor": 1_200, "power_w": 58_000, "soc_percent": 40}
    assert place.changes.sessions == {session}


async def test_power_that_is_not_sent_is_the_average(place: ChargingPlace) -> None:
    _, transaction = await place.charging(await place.driver())
    place.later(1)
    await place.values(transaction, 500)
    assert (await place.progress(transaction))["power_w"] == 30_000


async def test_every_value_is_stored_with_what_it_counts_for(place: ChargingPlace) -> None:
    _, transaction = await place.charging(await place.driver())
    for wh in (500, 90_000):
        place.later(1)
        await place.values(transaction, wh)
    rows = await place.owner.fetch(
        "select energy_wh, outcome, session_wh from charging.meter_values order by energy_wh"
    )
    stored = [tuple(row) for row in rows]
    assert stored == [(500, None, 500), (90_000, "suspect", None)]


async def test_edge_9_a_single_zero_lowers_nothing(place: ChargingPlace) -> None:
    _, transaction = await place.charging(await place.driver(), meter_wh=5_000)
    for minute, wh in enumerate((5_500, 0, 6_500), 1):
        place.now = NOON + timedelta(minutes=minute)
        await place.values(transaction, wh)
    assert (await place.progress(transaction))["energy_wh"] == 1_500


async def test_edge_10_a_lifetime_register_after_a_start_of_0_is_alerted(
    place: ChargingPlace,
) -> None:
    _, transaction = await place.charging(await place.driver())
    for wh in (7_783_000, 7_783_500, 7_784_000):
        place.later(1)
        await place.values(transaction, wh)
    assert (await place.progress(transaction))["energy_wh"] == 1_000
    assert "register_jumped" in await place.alerts()


async def test_two_values_above_the_rated_power_are_alerted_and_one_is_not(
    place: ChargingPlace,
) -> None:
    """Mostly the rated power was entered too low: the operator hears of it while it charges."""
    _, transaction = await place.charging(await place.driver())
    place.later(1)
    await place.values(transaction, 5_000)
    assert await place.alerts() == []
    place.later(1)
    await place.values(transaction, 10_000)
    assert await place.alerts() == ["register_above_power"]
    subject = await place.owner.fetchval("select subject from alerts.alerts")
    assert subject == f"transaction {transaction}"


async def test_edge_11_wh_with_decimals_are_summed_exactly(place: ChargingPlace) -> None:
    _, transaction = await place.charging(await place.driver(), meter_wh=251_500)
    place.later(1)
    await place.values(transaction, "251500.7")
    place.later(1)
    await place.values(transaction, "251501.4")
    assert (await place.progress(transaction))["energy_wh"] == 1


async def test_q34_the_value_at_the_begin_is_no_progress(place: ChargingPlace) -> None:
    _, transaction = await place.charging(await place.driver())
    place.later(1)
    both = [read(700, place.now), read(0, place.now, "Transaction.Begin")]
    await place.frames(transaction, both)
    assert (await place.progress(transaction))["energy_wh"] == 700


async def test_a_start_that_was_not_sent_is_read_from_the_value_at_the_begin(
    place: ChargingPlace,
) -> None:
    _, transaction = await place.charging(await place.driver(), meter_wh=None)
    await place.frames(transaction, [read(5_000, place.now, "Transaction.Begin")])
    place.later(1)
    await place.values(transaction, 5_400)
    assert (await place.progress(transaction))["energy_wh"] == 400


async def test_q50_an_odd_value_at_an_interruption_is_one_outlier(place: ChargingPlace) -> None:
    _, transaction = await place.charging(await place.driver(), meter_wh=5_000)
    place.later(1)
    await place.values(transaction, 5_700)
    await place.values(transaction, 10, context="Interruption.Begin")
    place.later(1)
    await place.values(transaction, 5_900)
    assert (await place.progress(transaction))["energy_wh"] == 900


async def test_numbers_beyond_all_sense_are_stored_as_far_as_they_go(place: ChargingPlace) -> None:
    _, transaction = await place.charging(await place.driver())
    place.later(1)
    odd = read(10**30, place.now, power_w=10**12, soc_percent=-(10**9), voltage_mv=2**31)
    await place.frames(transaction, [odd.replace(temperatures=(10**6, None, -(10**6)))])
    row = await place.owner.fetchrow("select * from charging.meter_values")
    assert row is not None
    assert (row["power_w"], row["soc_percent"], row["body_temperature"]) == (
        2**31 - 1, -(2**15), 2**15 - 1,
    )  # fmt: skip


class TestBinding:
    async def test_values_without_an_id_belong_to_the_connector(self, place: ChargingPlace) -> None:
        _, first = await place.charging(await place.driver())
        session = await place.start(await place.driver(), connector=2)
        two = await place.begin(session, connector=2)
        place.later(1)
        await place.values(None, 700, connector=2)
        assert (await place.progress(first))["energy_wh"] == 0
        assert (await place.progress(two))["energy_wh"] == 700

    async def test_edge_14_an_id_beyond_32_bits_belongs_to_the_connector(
        self, place: ChargingPlace
    ) -> None:
        _, transaction = await place.charging(await place.driver())
        place.later(1)
        await place.values(2**63 - 1, 700)
        assert (await place.progress(transaction))["energy_wh"] == 700

    async def test_q29_an_id_that_the_station_made_up_is_an_alias(
        self, place: ChargingPlace
    ) -> None:
        _, transaction = await place.charging(await place.driver())
        place.later(1)
        await place.values(1_758_670_080, 700)
        aliases = await place.owner.fetch("select alias from charging.transaction_aliases")
        assert [row["alias"] for row in aliases] == ["1758670080"]
        assert (await place.progress(transaction))["energy_wh"] == 700

    async def test_q45_an_ended_id_whose_register_does_not_fit_counts_nowhere(
        self, place: ChargingPlace
    ) -> None:
        _, ended = await place.charging(await place.driver(), meter_wh=50_000)
        place.later(1)
        await place.stop(ended, 51_000)
        _, transaction = await place.charging(await place.driver(), meter_wh=0)
        place.later(1)
        await place.values(ended, 51_000)
        assert (await place.progress(transaction))["register"] is None

    async def test_values_of_no_transaction_are_stored(self, place: ChargingPlace) -> None:
        await place.values(None, 700)
        stored = await place.owner.fetchrow("select * from charging.meter_values")
        assert stored is not None
        assert (stored["transaction_id"], stored["energy_wh"]) == (None, 700)


class TestLimits:
    async def test_an_energy_limit_stops_the_session(self, place: ChargingPlace) -> None:
        session, transaction = await place.charging(await place.driver(), energy_wh=1_000)
        place.later(1)
        await place.values(transaction, 999)
        assert await place.value("state", session) == "charging"
        place.later(0.01)
        await place.values(transaction, 1_000)
        assert await place.value("state", session) == "stopping"
        assert await place.value("stop_reason", session) == "energy_limit"
        assert await place.commands() == ["remote_stop"]

    async def test_the_stop_is_due_before_the_next_value(self, place: ChargingPlace) -> None:
        session, transaction = await place.charging(await place.driver(), amount_minor=2_400)
        place.later(1)
        await place.values(transaction, 1_000, power_w=60_000)
        assert (await place.progress(transaction))["stop_due_at"] == place.now + timedelta(
            minutes=1
        )
        place.later(0.99)
        assert await place.watch() == []
        place.later(0.01)
        assert await place.watch() == ["stop"]
        assert await place.value("stop_reason", session) == "amount_limit"

    async def test_edge_12_without_any_value_the_rated_power_stops_it(
        self, place: ChargingPlace
    ) -> None:
        session, _ = await place.charging(await place.driver(), energy_wh=30_000)
        await place.watch()
        place.later(30)
        await place.frame()
        await place.watch()
        assert await place.value("stop_reason", session) == "energy_limit"

    async def test_a_state_of_charge_stops_it(self, place: ChargingPlace) -> None:
        session, transaction = await place.charging(await place.driver(), soc_percent=80)
        place.later(1)
        await place.values(transaction, 100, soc_percent=80)
        assert await place.value("stop_reason", session) == "soc_limit"


class TestHold:
    async def test_it_grows_while_the_wallet_has_more(self, place: ChargingPlace) -> None:
        client = await place.driver(som=260)
        _, transaction = await place.charging(client)
        assert await place.held(client) == 200
        place.later(14)
        await place.values(transaction, 13_400)  # 160.80 som
        assert await place.held(client) == 260
        assert place.changes.clients == {client}

    @pytest.mark.parametrize(
        "change",
        [
            "status = 'blocked'",
            "deletion_requested_at = now()",
            "unmapped_status = 'frozen'",
            "banned_until = now() + interval '1 day'",
        ],
    )
    async def test_of_a_client_who_may_not_spend_any_more_it_does_not_grow(
        self, place: ChargingPlace, change: str
    ) -> None:
        client = await place.driver(som=500)
        session, transaction = await place.charging(client)
        place.later(14)
        await place.owner.execute(f"update identity.clients set {change} where id = $1", client)
        await place.values(transaction, 13_400)
        assert await place.held(client) == 200
        place.later(1)
        await place.stop(transaction, 13_500)
        assert await place.bill(session) == ("settled", 13_500, 162)

    async def test_it_stops_when_the_wallet_has_no_more(self, place: ChargingPlace) -> None:
        client = await place.driver(som=200)
        session, transaction = await place.charging(client)
        place.later(17)
        await place.values(transaction, 16_600)
        assert await place.value("state", session) == "charging"
        place.later(0.1)
        await place.values(transaction, 16_700)
        assert await place.value("stop_reason", session) == "balance_limit"

    async def test_a_top_up_lets_it_go_on(self, place: ChargingPlace) -> None:
        client = await place.driver(som=200)
        session, transaction = await place.charging(client)
        place.later(16)
        await place.values(transaction, 16_000, power_w=60_000)
        payment = await place.money.payment(client, 50_000)
        await place.owner.execute("select wallet.credit($1)", payment)
        place.later(1)
        await place.watch()
        assert await place.value("state", session) == "charging"
        assert await place.held(client) == 300

    async def test_a_limit_of_its_own_holds_no_more(self, place: ChargingPlace) -> None:
        client = await place.driver()
        _, transaction = await place.charging(client, amount_minor=10_000)
        place.later(8)
        await place.values(transaction, 8_000)
        assert await place.held(client) == 100


class TestStopping:
    """Edge case 18: an accepted stop is no proof, the meter is."""

    async def test_edge_18_a_stop_that_is_not_obeyed_is_sent_once_more(
        self, place: ChargingPlace
    ) -> None:
        client = await place.driver()
        session, transaction = await place.charging(client)
        place.later(1)
        await place.values(transaction, 500)
        await place.ask_to_stop(session, client)
        await place.answer()
        for wh in (1_000, 1_000, 1_500):
            place.later(1)
            await place.values(transaction, wh)
            await place.watch()
            await place.answer()
        assert await place.commands() == ["remote_stop"] * 2

    async def test_edge_18_without_values_it_is_sent_once_more_by_time(
        self, place: ChargingPlace
    ) -> None:
        client = await place.driver()
        session, _ = await place.charging(client)
        await place.ask_to_stop(session, client)
        await place.answer()
        for _ in range(3):
            place.later(0.5)
            await place.frame()
            await place.watch()
        assert await place.commands() == ["remote_stop"] * 2

    async def test_q83_an_unwanted_charge_is_stopped_again_once_it_flows(
        self, place: ChargingPlace
    ) -> None:
        transaction = await place.begin(None, tag="STRANGER")
        await place.answer("refused")
        for wh in (500, 1_000):
            place.later(1)
            await place.values(transaction, wh)
            await place.watch()
        assert await place.commands() == ["remote_stop"] * 2
        assert (await place.progress(transaction))["energy_wh"] == 1_000


class TestAfterTheEnd:
    async def test_q37_energy_after_the_stop_is_tail_and_not_billed(
        self, place: ChargingPlace
    ) -> None:
        session, transaction = await place.charging(await place.driver())
        place.later(2)
        await place.stop(transaction, 1_000)
        place.later(0.1)
        await place.values(None, "1004.1")
        assert (await place.progress(transaction))["tail_wh"] == Decimal("4.1")
        assert await place.bill(session) == ("settled", 1_000, 12)
        assert await place.alerts() == []

    async def test_q58_energy_that_goes_on_after_the_stop_is_stopped(
        self, place: ChargingPlace
    ) -> None:
        session, transaction = await place.charging(await place.driver())
        place.later(2)
        await place.stop(transaction, 1_000, reason="EmergencyStop")
        for wh in (1_500, 2_000):
            place.later(1)
            await place.values(transaction, wh)
        assert (await place.progress(transaction))["tail_wh"] == 1_000
        assert await place.bill(session) == ("settled", 1_000, 12)
        assert await place.alerts() == ["energy_after_stop"]
        assert await place.commands() == ["remote_stop", "set_charging_profile"]

    @pytest.mark.parametrize(("minutes", "tail_wh"), [(60, 8_000), (60.1, 0), (24 * 60, 0)])
    async def test_values_without_an_id_are_of_the_ended_transaction_for_an_hour(
        self, place: ChargingPlace, minutes: float, tail_wh: int
    ) -> None:
        _, transaction = await place.charging(await place.driver())
        place.later(2)
        await place.stop(transaction, 1_000)
        place.later(minutes)
        await place.values(None, 9_000)
        assert (await place.progress(transaction))["tail_wh"] == tail_wh
        assert await place.alerts() == (["energy_after_stop"] if tail_wh else [])

    async def test_edge_23_values_never_open_a_session_again(self, place: ChargingPlace) -> None:
        session, transaction = await place.charging(await place.driver())
        place.later(2)
        await place.stop(transaction, 1_000)
        await place.values(transaction, 900, 1_000)
        assert await place.bills(session) == [(1_000, 12)]
        assert (await place.progress(transaction))["tail_wh"] == 0

    @pytest.mark.parametrize(("minutes", "is_closing"), [(0.1, True), (5, True), (5.1, False)])
    async def test_q45_the_closing_value_after_a_stop_without_a_register_is_billed(
        self, place: ChargingPlace, minutes: float, *, is_closing: bool
    ) -> None:
        """Within 5 minutes; what comes later is what flowed after the stop."""
        session, transaction = await place.charging(await place.driver())
        place.later(9)
        await place.values(transaction, 7_000)
        place.later(1)
        await place.stop(transaction, None)
        place.later(minutes)
        await place.values(transaction, 7_500)
        later = [(7_500, 90)] if is_closing else []
        assert await place.bills(session) == [(7_000, 84), *later]
        assert await place.value("is_estimated", session) is not is_closing

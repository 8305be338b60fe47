"""The end of a transaction by its station: bound, billed once, always answered."""

from datetime import timedelta
from uuid import UUID

import pytest

from evpower import tariffs
from evpower.charging.events import Reading
from evpower.charging.operate import OperatorBill, correct_session
from evpower.charging.our_time import SKEW_LIMIT
from tests.charging.place import NOON, PRICE, ChargingPlace, read

OWN_ID = 1_758_670_080


async def test_the_stop_is_the_bill(place: ChargingPlace) -> None:
    client = await place.driver()
    session, transaction = await place.charging(client, meter_wh=5_000)
    place.later(9)
    await place.values(transaction, 12_000)
    place.later(1)
    answer = await place.stop(transaction, 12_500)
    assert answer.tag == "accepted"
    assert await place.bill(session) == ("settled", 7_500, 90)
    assert await place.money.money(client) == (91_000, 0, 0)
    assert answer.changes.clients == {client}
    assert answer.changes.sessions == {session}


@pytest.mark.parametrize("is_asked_to_stop", [True, False])
async def test_the_end_is_newer_than_all_that_was_shown(
    place: ChargingPlace,
    is_asked_to_stop: bool,  # noqa: FBT001
) -> None:
    """A session is shown with the sum of its revision and that of its progress."""
    session, transaction = await place.charging(await place.driver())
    for wh in (1_000, 2_000, 3_000, 4_000):
        place.later(1)
        await place.values(transaction, wh)
        if wh == 3_000 and is_asked_to_stop:
            await place.ask_to_stop(session)
    progress = await place.progress(transaction)
    shown = await place.value("revision", session) + progress["revision"]
    await place.stop(transaction, 4_000)
    assert await place.value("revision", session) > shown


async def test_a_bill_has_its_record(place: ChargingPlace) -> None:
    session, transaction = await place.charging(await place.driver())
    place.later(10)
    await place.stop(transaction, 7_500)
    record = await place.owner.fetchrow("select * from charging.cdrs")
    assert record is not None
    assert record["session_id"] == session
    assert (record["energy_wh"], record["is_estimated"]) == (7_500, False)
    assert record["ended_at"] == place.now
    assert '"price": 12.0' in record["parts"]
    assert '"energy_kwh": "7.5"' in record["periods"]


async def test_a_bill_has_the_owners_of_its_station_and_its_tariff(place: ChargingPlace) -> None:
    """Of the tariff that was frozen, whoever's a later version is."""
    await place.owner.execute("update stations.stations set owner = 'Mall LLC'")
    document, transaction = dict(PRICE), 0
    for owner in ("Grid LLC", "Another LLC"):
        async with place.db.transaction() as connection:
            await tariffs.save(
                connection, plan="t", document=document | {"owner": owner}, valid_from=place.now,
                now=place.now, actor="test",
            )  # fmt: skip
        if owner == "Grid LLC":
            _, transaction = await place.charging(await place.driver())
            place.later(10)
    await place.stop(transaction, 7_500)
    record = await place.owner.fetchrow("select station_owner, tariff_owner from charging.cdrs")
    assert record is not None
    assert tuple(record) == ("Mall LLC", "Grid LLC")


async def test_edge_6_the_same_stop_again_changes_nothing(place: ChargingPlace) -> None:
    session, transaction = await place.charging(await place.driver())
    place.later(10)
    for _ in range(3):
        answer = await place.stop(transaction, 7_500, time=NOON + timedelta(minutes=10))
        place.later(1)
        assert answer.tag == "accepted"
    assert await place.bills(session) == [(7_500, 90)]


async def test_edge_6_another_stop_of_a_settled_session_changes_nothing(
    place: ChargingPlace,
) -> None:
    session, transaction = await place.charging(await place.driver())
    place.later(10)
    await place.stop(transaction, 7_500)
    place.later(1)
    await place.stop(transaction, 7_900)
    assert await place.bills(session) == [(7_500, 90)]


async def test_edge_7_an_unknown_stop_is_answered_and_stored(place: ChargingPlace) -> None:
    answer = await place.stop(4_711, 900)
    assert answer.tag == "accepted"
    assert await place.owner.fetchval("select id_as_sent from charging.stops") == "4711"
    assert await place.alerts() == ["stop_unmatched"]
    await place.stop(4_712, 950)
    await place.stop(4_711, 900)
    rows = await place.owner.fetch(
        "select subject, detail ->> 'id' as sent from alerts.alerts order by id"
    )
    stops = await place.owner.fetch("select id, id_as_sent from charging.stops order by id")
    assert [(row["subject"], row["sent"]) for row in rows] == [
        (f"stop {stop['id']}", stop["id_as_sent"]) for stop in stops
    ], "a second one does not hide the first"


PHONE_TAGS = ["+996700123456", "996700123456", "CLIENT_7"]


@pytest.mark.parametrize("tag", PHONE_TAGS)
async def test_what_an_older_backend_began_ends_after_the_switch_and_costs_nothing(
    place: ChargingPlace, tag: str
) -> None:
    """It used phone numbers as tags; its charges are its own, whoever has the phone here."""
    client = await place.driver()
    await place.owner.execute(
        "insert into identity.aliases (kind, alias, client_id) values ('id_tag', lower($2), $1)",
        client,
        tag,
    )
    answer = await place.stop(4_711, 90_000, tag=tag, reason="Local")
    assert answer.tag == "accepted"
    assert await place.alerts() == ["stop_unmatched"]
    assert await place.owner.fetchval("select count(*) from charging.sessions") == 0
    assert (await place.money.wallet(client))["balance_minor"] == 100_000


@pytest.mark.parametrize("tag", PHONE_TAGS)
async def test_a_stop_with_a_phone_number_ends_the_transaction_it_names(
    place: ChargingPlace, tag: str
) -> None:
    session, transaction = await place.charging(await place.driver())
    other = await place.start(await place.driver(), connector=2)
    await place.begin(other, connector=2)
    place.later(10)
    assert (await place.stop(transaction, 7_500, tag=tag)).tag == "accepted"
    assert await place.bill(session) == ("settled", 7_500, 90)
    assert await place.value("state", other) == "charging"


async def test_stops_that_say_nothing_are_not_taken_for_one(place: ChargingPlace) -> None:
    bills: list[tuple[int, int]] = []
    for _ in range(2):
        session, transaction = await place.charging(await place.driver())
        place.later(10)
        await place.values(transaction, 7_500)
        await place.stop(None, None, has_time=False)
        bills += await place.bills(session)
    assert bills == [(7_500, 90)] * 2


@pytest.mark.parametrize("unknown", [None, 0, -1])
async def test_edge_4_a_stop_without_an_id_ends_the_only_open_one(
    place: ChargingPlace, unknown: int | None
) -> None:
    session, _ = await place.charging(await place.driver())
    place.later(10)
    await place.stop(unknown, 7_500)
    assert await place.bill(session) == ("settled", 7_500, 90)


async def test_a_stop_without_an_id_and_with_the_tag_of_another_ends_nothing(
    place: ChargingPlace,
) -> None:
    session, _ = await place.charging(await place.driver())
    place.later(10)
    await place.stop(-1, 7_500, tag="04A1B2C3D4E5F6")
    assert await place.value("state", session) == "charging"
    assert "stop_unmatched" in await place.alerts()


async def test_q54_of_several_the_tag_says_which_one(place: ChargingPlace) -> None:
    first, _ = await place.charging(await place.driver())
    two = await place.start(await place.driver(), connector=2)
    await place.begin(two, connector=2)
    tag = await place.value("id_tag", two)
    place.later(10)
    await place.stop(-1, 7_500, tag=f"{tag.lower()}-")
    assert await place.bill(two) == ("settled", 7_500, 90)
    assert await place.value("state", first) == "charging"


async def test_q54_of_several_the_register_says_which_one(place: ChargingPlace) -> None:
    first, _ = await place.charging(await place.driver(), meter_wh=400_000)
    two = await place.start(await place.driver(), connector=2)
    await place.begin(two, connector=2, meter_wh=900_000)
    place.later(10)
    await place.stop(0, 907_500)
    assert await place.bill(two) == ("settled", 7_500, 90)
    assert await place.value("state", first) == "charging"


async def test_of_several_as_near_the_newest_ends(place: ChargingPlace) -> None:
    first, _ = await place.charging(await place.driver(), meter_wh=5_000)
    two = await place.start(await place.driver(), connector=2)
    await place.begin(two, connector=2, meter_wh=5_000)
    place.later(10)
    await place.stop(0, 12_500)
    assert await place.bill(two) == ("settled", 7_500, 90)
    assert await place.value("state", first) == "charging"


async def test_of_an_ended_and_an_open_one_as_near_the_tag_says_which(
    place: ChargingPlace,
) -> None:
    """The station calls both by one id; the stop of the first comes late."""
    first, _ = await place.charging(await place.driver())
    tag = await place.value("id_tag", first)
    place.later(10)
    await place.values(OWN_ID, 5_000)
    second = await place.start(await place.driver(), 2)
    await place.begin(second, meter_wh=5_000, connector=1)
    place.later(1)
    await place.values(OWN_ID, 5_000)
    place.later(1)
    await place.stop(OWN_ID, 5_050, tag=tag)
    assert [energy_wh for energy_wh, _ in await place.bills(first)] == [5_000, 5_050]
    assert await place.value("state", second) == "charging"


async def test_edge_4_an_old_stop_without_an_id_ends_no_later_session(place: ChargingPlace) -> None:
    session, _ = await place.charging(await place.driver(), meter_wh=5_000)
    place.later(10)
    await place.stop(-1, 4_000, time=NOON - timedelta(days=1))
    assert await place.value("state", session) == "charging"
    assert await place.alerts() == ["stop_unmatched"]


async def test_q26_a_stop_before_its_start_with_no_energy_is_nothing(place: ChargingPlace) -> None:
    client = await place.driver()
    session, _ = await place.charging(client, meter_wh=5_000)
    await place.stop(-1, 5_000, time=NOON - timedelta(minutes=5), reason="EVDisconnected")
    assert await place.bill(session) == ("settled", 0, 0)
    assert await place.held(client) == 0


async def test_a_used_id_of_a_later_stop_ends_the_only_open_session(place: ChargingPlace) -> None:
    first, transaction = await place.charging(await place.driver(), meter_wh=0)
    place.later(10)
    await place.stop(transaction, 7_500)
    place.later(10)
    second, _ = await place.charging(await place.driver(), meter_wh=7_500)
    place.later(10)
    await place.stop(transaction, 9_500)
    assert await place.bills(first) == [(7_500, 90)]
    assert await place.bill(second) == ("settled", 2_000, 24)


async def two_at_once_after_one(place: ChargingPlace) -> tuple[int, UUID, UUID]:
    """Returns the number of a stopped transaction, and two sessions that run since."""
    _, stopped = await place.charging(await place.driver())
    place.later(10)
    await place.stop(stopped, 7_500)
    place.later(10)
    second, _ = await place.charging(await place.driver(), meter_wh=7_500)
    third = await place.start(await place.driver(), connector=2)
    await place.begin(third, connector=2, meter_wh=7_500)
    place.later(10)
    return stopped, second, third


async def test_a_used_id_of_a_later_stop_ends_none_of_several(place: ChargingPlace) -> None:
    stopped, second, third = await two_at_once_after_one(place)
    await place.stop(stopped, 9_500)
    assert [await place.value("state", each) for each in (second, third)] == ["charging"] * 2


async def test_a_used_id_of_a_later_stop_ends_the_one_with_its_tag(place: ChargingPlace) -> None:
    stopped, second, third = await two_at_once_after_one(place)
    await place.stop(stopped, 9_500, tag=await place.value("id_tag", second))
    assert await place.bill(second) == ("settled", 2_000, 24)
    assert await place.value("state", third) == "charging"


async def test_a_later_stop_of_an_estimated_end_is_its_next_bill(place: ChargingPlace) -> None:
    """It is the stop that was missing, though it fits what began since."""
    first, transaction = await place.charging(await place.driver())
    place.later(10)
    await place.values(transaction, 5_000)
    second = await place.start(await place.driver(), 2)
    await place.begin(second, meter_wh=5_000, connector=1)
    place.later(10)
    await place.stop(transaction, 5_050)
    assert [energy_wh for energy_wh, _ in await place.bills(first)] == [5_000, 5_050]
    assert await place.value("state", second) == "charging"


async def test_a_stop_within_the_tolerance_of_clocks_is_the_one_that_ended(
    place: ChargingPlace,
) -> None:
    """The station calls both sessions by one id, and sends the first one's stop again."""
    first, transaction = await place.charging(await place.driver())
    place.later(10)
    await place.values(OWN_ID, 5_000)
    await place.stop(transaction, 5_000)
    ended_at = place.now
    place.later(10)
    second = await place.start(await place.driver(), 2)
    await place.begin(second, meter_wh=5_000, connector=1)
    place.later(1)
    await place.values(OWN_ID, 5_500)
    await place.stop(OWN_ID, 5_050, time=ended_at + SKEW_LIMIT)
    assert await place.value("state", second) == "charging"
    assert [energy_wh for energy_wh, _ in await place.bills(first)] == [5_000]


@pytest.mark.parametrize("end_kind", ["estimated", "stop"])
@pytest.mark.parametrize("has_tag", [True, False])
async def test_q45_a_late_stop_by_the_stations_own_id_ends_no_later_session(
    place: ChargingPlace, *, has_tag: bool, end_kind: str
) -> None:
    """The station calls both sessions by one id."""
    first, transaction = await place.charging(await place.driver())
    tag = await place.value("id_tag", first)
    place.later(10)
    await place.values(OWN_ID, 5_000)
    ended_at = place.now
    if end_kind == "stop":
        await place.stop(transaction, 5_000)
    place.later(10)
    second = await place.start(await place.driver(), 2)
    await place.begin(second, meter_wh=5_000, connector=1)
    place.later(1)
    await place.values(OWN_ID, 5_500)
    await place.stop(OWN_ID, 5_050, tag=tag if has_tag else None, time=ended_at)
    assert await place.value("state", second) == "charging"
    assert (await place.bills(first))[-1][0] == (5_050 if end_kind == "estimated" else 5_000)
    place.later(1)
    await place.stop(OWN_ID, 6_100)
    assert await place.bill(second) == ("settled", 1_100, 13)


async def test_edge_8_a_replayed_stop_is_billed_by_the_stations_time(place: ChargingPlace) -> None:
    session, transaction = await place.charging(await place.driver())
    ended_at = place.now + timedelta(minutes=10)
    place.later(600)
    await place.stop(transaction, 7_500, time=ended_at)
    assert await place.bill(session) == ("settled", 7_500, 90)
    assert await place.value("ended_at", session) == ended_at


@pytest.mark.parametrize("hours", [-24 * 365 * 50, -2, 2])
async def test_edge_13_a_wrong_clock_ends_no_session_before_it_began(
    place: ChargingPlace, hours: int
) -> None:
    session, transaction = await place.charging(await place.driver())
    place.later(10)
    await place.stop(transaction, 7_500, time=place.now + timedelta(hours=hours))
    assert await place.bill(session) == ("settled", 7_500, 90)
    assert await place.value("ended_at", session) == place.now


async def test_q36_a_stop_1_wh_below_the_start_is_nothing(place: ChargingPlace) -> None:
    session, transaction = await place.charging(await place.driver(), meter_wh=269_456)
    place.later(1)
    await place.frames(transaction, [read(269_460, place.now, step=10)])
    await place.stop(transaction, 269_455)
    assert await place.bill(session) == ("settled", 0, 0)
    assert await place.value("quarantined_at", session) is None


async def test_edge_10_a_stop_above_the_power_bills_what_is_plausible(place: ChargingPlace) -> None:
    client = await place.driver()
    session, transaction = await place.charging(client)
    place.later(10)
    await place.values(transaction, 7_500)
    await place.stop(transaction, 7_783_000)
    assert await place.bill(session) == ("settled", 7_500, 90)
    assert await place.value("quarantine_reason", session) == "implausible_energy"
    assert await place.value("is_estimated", session) is True
    assert await place.held(client) == 0
    assert await place.alerts() == ["session_quarantined"]


@pytest.mark.parametrize(("start_hours", "stop_hours"), [(-6, 0), (0, 20), (-480, 0)])
async def test_edge_13_a_clock_that_jumps_bills_no_energy_that_cannot_have_flowed(
    place: ChargingPlace, start_hours: int, stop_hours: int
) -> None:
    session = await place.start(await place.driver())
    begun_at = place.now + timedelta(hours=start_hours)
    transaction = await place.begin(session, meter_wh=0, time=begun_at)
    place.later(0.1)
    await place.stop(transaction, 380_000, time=place.now + timedelta(hours=stop_hours))
    assert await place.bills(session) == [(0, 0)]
    assert await place.value("quarantine_reason", session) == "implausible_energy"


async def test_edge_13_a_glitch_while_the_clock_is_set_bills_nothing(place: ChargingPlace) -> None:
    behind = timedelta(hours=-6)
    session = await place.start(await place.driver())
    transaction = await place.begin(session, meter_wh=100_000, time=place.now + behind)
    place.later(0.1)
    await place.values(transaction, 100_020, time=place.now + behind)
    await place.values(transaction, 460_000)
    place.later(0.1)
    await place.values(transaction, 100_040)
    await place.stop(transaction, 100_040)
    assert await place.bills(session) == [(40, 0)]


async def test_q46_no_register_at_all_is_a_bill_of_nothing_in_quarantine(
    place: ChargingPlace,
) -> None:
    session, transaction = await place.charging(await place.driver(), meter_wh=None)
    place.later(10)
    await place.stop(transaction, None)
    assert await place.bills(session) == [(0, 0)]
    assert await place.value("quarantine_reason", session) == "no_register"


async def test_the_closing_value_counts_where_the_stop_has_no_register(
    place: ChargingPlace,
) -> None:
    session, transaction = await place.charging(await place.driver())
    place.later(10)
    closing = [read(0, place.now, "Transaction.Begin"), read(7_500, place.now, "Transaction.End")]
    await place.stop(transaction, None, readings=closing)
    assert await place.bill(session) == ("settled", 7_500, 90)
    assert await place.value("is_estimated", session) is False


async def test_a_start_that_was_not_sent_is_read_from_the_stops_values(
    place: ChargingPlace,
) -> None:
    session, transaction = await place.charging(await place.driver(), meter_wh=None)
    begun = read(5_000, place.now, "Transaction.Begin")
    place.later(10)
    await place.stop(transaction, 12_500, readings=[begun])
    assert await place.bill(session) == ("settled", 7_500, 90)


async def test_a_money_limit_caps_the_bill(place: ChargingPlace) -> None:
    client = await place.driver()
    session, transaction = await place.charging(client, amount_minor=5_000)
    place.later(10)
    await place.stop(transaction, 7_500)
    assert await place.bill(session) == ("settled", 7_500, 50)
    parts = await place.owner.fetchval("select parts from charging.cdrs")
    assert '"not_billed", "amount": -40.0' in parts


async def test_edge_25_other_limits_bill_what_was_delivered(place: ChargingPlace) -> None:
    client = await place.driver(som=200)
    session, transaction = await place.charging(client)
    place.later(20)
    await place.stop(transaction, 17_501)
    assert await place.value("cost_minor", session) == 21_001  # 210.012, rounded once
    assert await place.money.money(client) == (0, 0, 1_001)


class TestReasons:
    @pytest.mark.parametrize(
        ("sent", "reason"),
        [
            ("Remote", "remote"),
            ("Local", "stopped_at_station"),
            (None, "stopped_at_station"),
            ("EVDisconnected", "ev_disconnected"),
            ("EmergencyStop", "emergency_stop"),
            ("SomethingElse", "other"),
        ],
    )
    async def test_the_station_says_how_it_ended(
        self, place: ChargingPlace, sent: str | None, reason: str
    ) -> None:
        session, transaction = await place.charging(await place.driver())
        place.later(10)
        await place.stop(transaction, 7_500, reason=sent)
        assert await place.value("end_reason", session) == reason

    @pytest.mark.parametrize(
        ("minutes", "wh", "reason"),
        [(2, 0, "car_took_nothing"), (2.1, 0, "stopped_at_station"), (2, 1, "stopped_at_station")],
    )
    async def test_a_car_that_took_nothing_ends_it_within_2_min(
        self, place: ChargingPlace, minutes: float, wh: int, reason: str
    ) -> None:
        session, transaction = await place.charging(await place.driver())
        place.later(minutes)
        await place.stop(transaction, wh, reason="Local")
        assert await place.value("end_reason", session) == reason

    async def test_a_stop_that_was_asked_for_is_the_reason(self, place: ChargingPlace) -> None:
        client = await place.driver()
        session, transaction = await place.charging(client)
        place.later(10)
        await place.ask_to_stop(session, client)
        await place.stop(transaction, 7_500)
        assert await place.value("end_reason", session) == "stopped_by_driver"


class TestFree:
    async def test_a_station_fault_before_half_a_kwh_is_free(self, place: ChargingPlace) -> None:
        client = await place.driver()
        session, transaction = await place.charging(client)
        place.later(1)
        await place.stop(transaction, 499, reason="PowerLoss")
        assert await place.bills(session) == [(499, 0)]
        assert await place.value("free_reason", session) == "station_fault"
        assert await place.held(client) == 0

    @pytest.mark.parametrize(("wh", "reason"), [(500, "PowerLoss"), (499, "Local")])
    async def test_other_ends_are_billed(self, place: ChargingPlace, wh: int, reason: str) -> None:
        session, transaction = await place.charging(await place.driver())
        place.later(1)
        await place.stop(transaction, wh, reason=reason)
        assert await place.value("free_reason", session) is None
        assert await place.value("cost_minor", session) > 0

    async def test_a_better_figure_below_half_a_kwh_stays_free(self, place: ChargingPlace) -> None:
        session, transaction = await place.charging(await place.driver())
        place.later(5)
        await place.stop(transaction, 300, reason="PowerLoss")
        assert await place.bills(session) == [(300, 0)]
        for wh, som in ((400, 0), (600, 7)):
            bill = OperatorBill(session, wh, None, "aida", "meter read on site")
            async with place.db.transaction() as connection:
                await correct_session(connection, bill, now=place.now)
            assert (await place.bills(session))[-1] == (wh, som)

    async def test_the_fourth_of_a_day_is_billed(self, place: ChargingPlace) -> None:
        client = await place.driver()
        free: list[str | None] = []
        for _ in range(4):
            session, transaction = await place.charging(client)
            place.later(1)
            await place.stop(transaction, 400, reason="PowerLoss")
            free.append(await place.value("free_reason", session))
        assert free == ["station_fault"] * 3 + [None]


@pytest.mark.parametrize("closed", [False, True])
async def test_values_that_a_stop_repeats_after_a_restart_are_billed_once(
    place: ChargingPlace,
    closed: bool,  # noqa: FBT001
) -> None:
    """The register began anew in the session: what it repeats is of both registers."""
    session, transaction = await place.charging(await place.driver())
    repeated: list[Reading] = []

    async def sends(*energies_wh: int) -> None:
        for wh in energies_wh:
            place.later(10)
            repeated.append(read(wh, place.now))
            await place.values(transaction, wh)

    await sends(6_000, 12_000)
    if closed:
        await place.boot()
        place.later(5)
        await place.frame()
        assert await place.watch() == ["close"]
    await sends(500, 3_000, 9_000)
    place.later(5)
    await place.stop(transaction, 9_000, readings=repeated)
    assert (await place.bills(session))[-1] == (20_500, 246)


async def test_one_value_that_is_too_low_counts_nothing_though_the_stop_repeats_it(
    place: ChargingPlace,
) -> None:
    session, transaction = await place.charging(await place.driver())
    repeated: list[Reading] = []
    for wh in (6_000, 12_000, 500):
        place.later(10)
        repeated.append(read(wh, place.now))
        await place.values(transaction, wh)
    place.later(60)
    await place.stop(transaction, 12_000, readings=repeated)
    assert await place.bill(session) == ("settled", 12_000, 144)


async def test_a_stop_that_repeats_a_glitch_makes_no_register_of_it(place: ChargingPlace) -> None:
    """A second 0 would begin a new segment, which the stop's register can't have come from."""
    session, transaction = await place.charging(await place.driver())
    place.later(10)
    await place.values(transaction, 3_000)
    place.later(1)
    glitch = read(0, place.now)
    await place.frames(transaction, [glitch])
    place.later(1)
    await place.stop(transaction, 3_050, readings=[glitch])
    assert await place.bill(session) == ("settled", 3_050, 36)
    assert await place.value("is_estimated", session) is False

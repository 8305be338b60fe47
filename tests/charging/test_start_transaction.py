"""What a station's start becomes: a session's, a card's, unattributed, or one that is known."""

from datetime import timedelta
from decimal import Decimal

import pytest

from evpower import charging, stations, tariffs, wallet
from evpower.charging import StationReadings, StationStop, StationTime
from evpower.charging.events import StartAnswer
from evpower.foundation.errors import Conflict
from tests.charging.place import read
from tests.charging.site import STATION, TARIFF, Site
from tests.stations.scenario import draft

CARD = "04A1B2C3D4E5F6"
SECOND = timedelta(seconds=1)


async def frozen(site: Site, transaction_id: int) -> tuple[str, int, int | None]:
    """Plan, version and own tariff of the client that a session is billed by."""
    row = await site.sql.fetchrow(
        "select plan, version, (snapshot ->> 'client_tariff')::int as own"
        "  from charging.session_tariffs where session_id = $1",
        await site.session_of(transaction_id),
    )
    assert row is not None
    return row["plan"], row["version"], row["own"]


async def test_a_start_by_the_tag_begins_the_session(site: Site) -> None:
    client = await site.driver()
    started = await site.start(client)
    await site.deliver()
    await site.wait(5)
    answer = await site.begin(await site.tag(started.session_id))
    assert answer.tag == "accepted"
    assert answer.changes.sessions == {started.session_id}
    assert answer.changes.clients == {client}
    session = await site.session(started.session_id)
    assert (session["state"], session["started_at"]) == ("charging", site.now)
    row = await site.transaction(answer.transaction_id)
    assert (row["purpose"], row["session_id"], row["meter_start_wh"]) == (
        "driver", started.session_id, 1000,
    )  # fmt: skip
    assert await site.holds(started.session_id) == [(1, 200, "open")]


@pytest.mark.parametrize(
    ("ago", "counts"),
    [(timedelta(days=30), True), (timedelta(days=30, seconds=1), False), (-SECOND, False)],
)
async def test_the_stations_time_counts_where_it_can_be_true(
    site: Site,
    ago: timedelta,
    counts: bool,  # noqa: FBT001
) -> None:
    at = site.now - ago
    row = await site.transaction((await site.begin("DEADBEEF", at=at)).transaction_id)
    assert row["started_at"] == (at if counts else site.now)


class TestEcho:
    """How a station may send our tag back (Q24)."""

    @pytest.mark.parametrize(
        "echo",
        ["{}", "{}\\\\", "{} ", "lower", "{}MCJ5-XYZQ", "{}\x00"[:2], "cut", ""],
        ids=["same", "backslashes", "blank", "lower", "overread", "plain", "cut", "missing"],
    )
    async def test_it_is_still_the_session(self, site: Site, echo: str) -> None:
        started = await site.start(await site.driver())
        await site.deliver()
        tag = await site.tag(started.session_id)
        sent = {"lower": tag.lower(), "cut": tag[:8]}.get(echo, echo.format(tag))
        answer = await site.begin(sent)
        assert await site.session_of(answer.transaction_id) == started.session_id

    async def test_a_fixed_tag_is_bound_by_connector_and_time(self, site: Site) -> None:
        started = await site.start(await site.driver())
        other = await site.start(await site.driver(), 2)
        await site.deliver()
        await site.deliver()
        answer = await site.begin("uc_default_auth", 2)
        assert await site.session_of(answer.transaction_id) == other.session_id
        assert await site.state(started.session_id) == "starting"

    async def test_before_the_station_was_asked_an_unknown_tag_is_no_echo(self, site: Site) -> None:
        client = await site.driver()
        started = await site.start(client)
        answer = await site.begin("DEADBEEF")
        assert answer.tag == "invalid"
        session = await site.session(started.session_id)
        assert (session["state"], session["start_failure"]) == ("cancelled", "connector_taken")
        assert await site.scenario.money(client) == (100_000, 0, 0)
        assert await site.commands() == [("remote_start", "timed_out"), ("remote_stop", "queued")]

    async def test_the_car_may_be_at_the_other_connector(self, site: Site) -> None:
        started = await site.start(await site.driver(), 1)
        await site.deliver()
        await site.begin(await site.tag(started.session_id), 2)
        assert (await site.session(started.session_id))["connector_id"] == 2


@pytest.mark.parametrize("case", ["1 and 2"], ids=["edge-1-2"])
class TestRepeats:
    """A start that is sent again has the same number and the same answer."""

    async def test_with_the_same_facts(self, site: Site, case: str) -> None:
        answer = await site.started(await site.driver())
        tag = await site.tag(await site.session_of(answer.transaction_id))
        at = site.now
        await site.wait(600)
        again = await site.begin(tag, at=at)
        assert (again.transaction_id, again.tag) == (answer.transaction_id, "accepted")
        assert not again.changes.sessions, case

    async def test_with_another_stamp_and_a_register_of_0(self, site: Site, case: str) -> None:
        answer = await site.started(await site.driver())
        session_id = await site.session_of(answer.transaction_id)
        await site.wait(10)
        again = await site.begin(await site.tag(session_id), meter_wh=Decimal(0), text_id="x-7")
        assert (again.transaction_id, again.tag) == (answer.transaction_id, "accepted")
        assert await site.state(session_id) == "charging", case
        aliases = await site.sql.fetch("select alias, transaction_id from"
                                       " charging.transaction_aliases")  # fmt: skip
        assert [tuple(row) for row in aliases] == [("x-7", answer.transaction_id)]

    async def test_of_an_unknown_tag(self, site: Site, case: str) -> None:
        first = await site.begin("DEADBEEF")
        at = site.now
        await site.wait(60)
        again = await site.begin("DEADBEEF", at=at)
        assert again[:2] == first[:2], case
        assert await site.commands() == [("remote_stop", "queued")]

    async def test_of_a_card_before_energy_flowed(self, site: Site, case: str) -> None:
        await site.open_to_cards()
        await site.card(await site.driver(), CARD)
        first = await site.begin(CARD)
        await site.wait(10)
        again = await site.begin(CARD, meter_wh=Decimal(0))
        assert again.transaction_id == first.transaction_id, case


@pytest.fixture
async def card_flows(site: Site) -> StartAnswer:
    """A charge by card that has used energy since its register of 1,000 Wh."""
    await site.open_to_cards()
    await site.card(await site.driver(), CARD)
    first = await site.begin(CARD)
    await site.wait(600)
    values = StationReadings(
        STATION, 1, first.transaction_id, None, (read(3_000, site.now),), (), site.now
    )
    async with site.db.transaction() as connection:
        await charging.meter_values(connection, values, now=site.now)
    await site.wait(10)
    return first


class TestRepeatsOnceEnergyFlowed:
    """Q29: only an equal register says that it is the same start, with another stamp."""

    async def test_with_an_equal_register(self, site: Site, card_flows: StartAnswer) -> None:
        again = await site.begin(CARD)
        assert again.transaction_id == card_flows.transaction_id

    @pytest.mark.parametrize(
        ("kind", "later_s", "is_new"),
        [
            ("per_transaction", 4 * 3600, True),
            ("per_boot", 4 * 3600, True),
            ("per_transaction", 120, False),
            ("lifetime", 4 * 3600, False),
        ],
        ids=["Q84-stop-lost", "per-boot", "Q29", "lifetime"],
    )
    async def test_where_each_charge_begins_there(
        self, site: Site, card_flows: StartAnswer, kind: str, later_s: int, *, is_new: bool
    ) -> None:
        """The stamp says whether the stop was lost, or the start is sent again."""
        await site.sql.execute(
            "insert into charging.meters (station_id, connector, register_kind, ended_at)"
            " values ($1, 1, $2, $3)",
            STATION, kind, site.now,
        )  # fmt: skip
        began_at = (await site.transaction(card_flows.transaction_id))["start_station_at"]
        await site.wait(4 * 3600)
        again = await site.begin(CARD, at=began_at + timedelta(seconds=later_s))
        assert (again.transaction_id != card_flows.transaction_id) == is_new
        session = await site.session(await site.session_of(card_flows.transaction_id))
        assert session["end_reason"] == ("next_start" if is_new else None)

    async def test_with_another_register(self, site: Site, card_flows: StartAnswer) -> None:
        again = await site.begin(CARD, meter_wh=Decimal(3_000))
        assert again.transaction_id != card_flows.transaction_id
        assert (await site.transaction(card_flows.transaction_id))["end_kind"] == "estimated"

    async def test_of_another_card(self, site: Site, card_flows: StartAnswer) -> None:
        await site.card(await site.driver(), "CAFEBABE")
        again = await site.begin("CAFEBABE")
        assert again.transaction_id != card_flows.transaction_id


class TestUnknown:
    """A tag that no client has."""

    async def test_where_all_pay_it_is_stopped(self, site: Site) -> None:
        answer = await site.begin("DEADBEEF")
        assert answer.tag == "invalid"
        row = await site.transaction(answer.transaction_id)
        assert (row["purpose"], row["session_id"], row["id_tag"]) == (
            "unattributed", None, "DEADBEEF",
        )  # fmt: skip
        command = await site.deliver()
        assert dict(command.payload) == {"transaction_id": answer.transaction_id, "aliases": []}

    async def test_elsewhere_it_charges_and_is_not_billed(self, site: Site) -> None:
        await site.sql.execute("update stations.stations set paid_only = false")
        answer = await site.begin("DEADBEEF")
        assert answer.tag == "accepted"
        assert await site.commands() == []

    async def test_the_next_one_ends_it(self, site: Site) -> None:
        first = await site.begin("DEADBEEF")
        await site.wait(60)
        second = await site.begin("CAFEBABE")
        assert second.transaction_id != first.transaction_id
        assert (await site.transaction(first.transaction_id))["end_kind"] == "estimated"

    async def test_connector_0_means_the_one_that_is_waited_for(self, site: Site) -> None:
        started = await site.start(await site.driver(), 2)
        await site.deliver()
        answer = await site.begin("", 0)
        assert await site.session_of(answer.transaction_id) == started.session_id
        assert (await site.transaction(answer.transaction_id))["connector"] == 2

    async def test_connector_0_is_recorded(self, site: Site) -> None:
        answer = await site.begin("DEADBEEF", 0)
        assert (await site.transaction(answer.transaction_id))["connector"] == 0


class TestCards:
    """A card that belongs to a client (the session is made when the station begins)."""

    async def test_it_holds_and_charges(self, site: Site) -> None:
        await site.open_to_cards()
        client = await site.driver()
        await site.card(client, CARD)
        assert await site.authorize(CARD) == "accepted"
        answer = await site.begin(CARD.lower())
        assert answer.tag == "accepted"
        session = await site.session(await site.session_of(answer.transaction_id))
        assert (session["state"], session["started_by"], session["client_id"]) == (
            "charging", "card", client,
        )  # fmt: skip
        assert session["id_tag"] is None
        assert await site.holds(session["id"]) == [(1, 200, "open")]

    @pytest.mark.parametrize("som", [0, 9])
    async def test_without_money_it_is_blocked_and_stopped(self, site: Site, som: int) -> None:
        await site.open_to_cards()
        client = await site.driver(som) if som else await site.scenario.client()
        await site.card(client, CARD)
        assert await site.authorize(CARD) == "blocked"
        answer = await site.begin(CARD)
        assert answer.tag == "blocked"
        session = await site.session(await site.session_of(answer.transaction_id))
        assert (session["state"], session["stop_reason"]) == ("stopping", "start_not_allowed")
        assert await site.holds(session["id"]) == []
        assert await site.commands() == [("remote_stop", "queued")]

    @pytest.mark.parametrize("later_s", [0, 10], ids=["edge-2", "Q82"])
    async def test_a_repeat_of_a_blocked_one_is_blocked(self, site: Site, later_s: int) -> None:
        await site.open_to_cards()
        await site.card(await site.driver(5), CARD)
        first = await site.begin(CARD)
        began_at = site.now
        await site.wait(20)
        again = await site.begin(CARD, at=began_at + timedelta(seconds=later_s))
        assert (again.transaction_id, again.tag) == (first.transaction_id, "blocked")

    async def test_of_a_blocked_client_it_is_blocked(self, site: Site) -> None:
        await site.open_to_cards()
        client = await site.driver()
        await site.card(client, CARD)
        await site.sql.execute("update identity.clients set status = 'blocked'")
        assert await site.authorize(CARD) == "blocked"
        assert (await site.begin(CARD)).tag == "blocked"

    async def test_without_a_tariff_it_is_quarantined(self, site: Site) -> None:
        await site.open_to_cards()
        await site.card(await site.driver(), CARD)
        await site.sql.execute("alter table tariffs.assignments disable trigger user")
        await site.sql.execute("delete from tariffs.assignments")
        answer = await site.begin(CARD)
        session = await site.session(await site.session_of(answer.transaction_id))
        assert (answer.tag, session["quarantine_reason"]) == ("accepted", "tariff_missing")

    async def test_a_decision_prices_it_by_the_tariff_assigned_since(self, site: Site) -> None:
        await site.open_to_cards()
        await site.card(client := await site.driver(), CARD)
        await site.sql.execute("alter table tariffs.assignments disable trigger user")
        await site.sql.execute("delete from tariffs.assignments")
        transaction = (await site.begin(CARD)).transaction_id
        session = await site.session_of(transaction)
        await site.wait(3600)
        time = StationTime(site.now, site.now.isoformat())
        stop = StationStop(
            STATION, transaction, None, CARD, Decimal(11_000), time, "Local", (), (), site.now
        )
        async with site.db.transaction() as connection:
            await charging.stop_transaction(connection, stop, now=site.now)
        assert (await site.session(session))["cost_minor"] == 0
        figure = charging.OperatorBill(session, 10_000, None, "aida", "seen", is_decision=True)

        async def decide() -> None:
            async with site.db.transaction() as connection:
                await charging.correct_session(connection, figure, now=site.now)

        with pytest.raises(Conflict) as refused:
            await decide()
        assert refused.value.code == "tariff_missing"
        assert (await site.session(session))["quarantined_at"] is not None
        async with site.db.transaction() as connection:
            await tariffs.assign(
                connection, plan="usual", scope="everything", scope_id="", valid_from=site.now,
                now=site.now, actor="aida",
            )  # fmt: skip
        await decide()
        assert await frozen(site, transaction) == ("usual", 1, None)
        decided = await site.session(session)
        assert (decided["cost_minor"], decided["quarantined_at"]) == (10 * 1350, None)
        async with site.db.connection() as connection:
            purse = await wallet.get_wallet(connection, client)
        assert purse is not None
        assert purse.balance_minor == 1000_00 - 10 * 1350
        assert (await wallet.verify(site.db)).ok

    @pytest.mark.parametrize(("minutes", "version"), [(-10, 1), (0, 2), (10, 2)])
    async def test_it_is_billed_by_the_tariff_of_its_begin(
        self, site: Site, minutes: int, version: int
    ) -> None:
        """Of a station that was away: its start came 20 minutes after the new prices."""
        await site.open_to_cards()
        await site.card(await site.driver(), CARD)
        dearer_from = site.now + timedelta(minutes=30)
        async with site.db.transaction() as connection:
            await tariffs.save(
                connection,
                plan="usual",
                document=TARIFF | {"elements": [{"prices": {"energy_per_kwh": "20"}}]},
                valid_from=dearer_from,
                now=site.now,
                actor="aida",
            )
        await site.wait(50 * 60)
        answer = await site.begin(CARD, at=dearer_from + timedelta(minutes=minutes))
        assert await frozen(site, answer.transaction_id) == ("usual", version, None)

    async def test_before_any_tariff_it_is_billed_by_that_of_its_receipt(self, site: Site) -> None:
        """Nothing could begin then: the clock is days behind."""
        await site.open_to_cards()
        await site.card(await site.driver(), CARD)
        answer = await site.begin(CARD, at=site.now - timedelta(days=2))
        assert await frozen(site, answer.transaction_id) == ("usual", 1, None)

    @pytest.mark.parametrize(
        ("begins", "ends"), [(0, 20), (20, None)], ids=["ended-meanwhile", "began-meanwhile"]
    )
    async def test_a_tariff_of_the_clients_own_counts_at_its_begin(
        self, site: Site, begins: int, ends: int | None
    ) -> None:
        await site.open_to_cards()
        client = await site.driver()
        await site.card(client, CARD)
        noon = site.now
        async with site.db.transaction() as connection:
            own = await tariffs.add_client_tariff(
                connection,
                tariffs.NewClientTariff(
                    client,
                    noon + timedelta(minutes=begins),
                    None if ends is None else noon + timedelta(minutes=ends),
                    discount_ppm=100_000,
                ),
                now=noon,
                actor="aida",
            )
        await site.wait(30 * 60)
        answer = await site.begin(CARD, at=noon + timedelta(minutes=10))
        expected = own.id if begins == 0 else None
        assert await frozen(site, answer.transaction_id) == ("usual", 1, expected)

    async def test_at_a_station_without_a_password_it_is_unknown(self, site: Site) -> None:
        await site.card(await site.driver(), CARD)
        assert await site.authorize(CARD) == "invalid"
        answer = await site.begin(CARD)
        assert answer.tag == "invalid"
        assert (await site.transaction(answer.transaction_id))["purpose"] == "unattributed"

    @pytest.mark.parametrize("tag", ["+996700123456", "996700123456", "CLIENT_7"])
    async def test_a_phone_number_is_no_card(self, site: Site, tag: str) -> None:
        await site.open_to_cards()
        await site.card(await site.driver(), tag)
        assert await site.authorize(tag) == "invalid"
        assert (await site.begin(tag)).tag == "invalid"

    async def test_it_takes_the_connector_from_a_session_that_waits(self, site: Site) -> None:
        await site.open_to_cards()
        await site.card(await site.driver(), CARD)
        waiting = await site.start(await site.driver())
        await site.deliver()
        await site.begin(CARD)
        session = await site.session(waiting.session_id)
        assert (session["state"], session["start_failure"]) == ("cancelled", "connector_taken")

    async def test_the_drivers_own_card_begins_what_waits(self, site: Site) -> None:
        await site.open_to_cards()
        client = await site.driver()
        await site.card(client, CARD)
        waiting = await site.start(client, energy_wh=5_000)
        answer = await site.begin(CARD)
        assert await site.session_of(answer.transaction_id) == waiting.session_id


class TestAuthorize:
    """A question before the start."""

    async def test_the_tag_is_accepted_while_its_session_is_open(self, site: Site) -> None:
        client = await site.driver()
        started = await site.start(client)
        tag = await site.tag(started.session_id)
        assert await site.authorize(tag) == "accepted"
        assert await site.authorize(tag.lower() + "Q") == "accepted"
        await site.stop(started.session_id, client)
        assert await site.authorize(tag) == "expired"

    async def test_a_card_is_accepted_where_its_client_charges(self, site: Site) -> None:
        """Its holder ends the charge with it; all the money may be on hold for it."""
        async with site.db.transaction() as connection:
            other = draft("EVP-002", no_auth=True)
            await stations.add_station(connection, other, now=site.now, actor="aida")
        await site.open_to_cards()
        client = await site.driver(200)
        await site.card(client, CARD)
        assert (await site.start(client)).available_minor == 0
        async with site.db.transaction() as connection:
            answers = [
                await charging.authorize(connection, name, CARD, now=site.now)
                for name in (STATION, "EVP-002")
            ]
        assert answers == ["accepted", "blocked"]

    async def test_an_unknown_one_is_invalid_where_all_pay(self, site: Site) -> None:
        assert await site.authorize("DEADBEEF") == "invalid"
        await site.sql.execute("update stations.stations set paid_only = false")
        assert await site.authorize("DEADBEEF") == "accepted"


class TestLateStarts:
    """A start that comes after its session was given up (edge 16, 17)."""

    @pytest.fixture
    async def given_up(self, site: Site) -> tuple[str, Site]:
        client = await site.driver(1000)
        started = await site.start(client)
        await site.deliver()
        await site.wait(151)
        await site.run_jobs()
        assert await site.state(started.session_id) == "expired"
        return await site.tag(started.session_id), site

    async def test_it_is_held_anew(self, given_up: tuple[str, Site]) -> None:
        tag, site = given_up
        answer = await site.begin(tag)
        session_id = await site.session_of(answer.transaction_id)
        session = await site.session(session_id)
        assert (answer.tag, session["state"], session["start_failure"]) == (
            "accepted", "charging", None,
        )  # fmt: skip
        assert await site.holds(session_id) == [(1, 200, "released"), (2, 200, "open")]
        assert await site.commands() == [("remote_start", "accepted")]

    @pytest.mark.parametrize("som", [50, 1])
    async def test_with_less_money_what_is_free_is_held(
        self, given_up: tuple[str, Site], som: int
    ) -> None:
        """Also less than a start by app needs: the car charges already."""
        tag, site = given_up
        client = await site.sql.fetchval("select client_id from charging.sessions")
        await site.scenario.charged(client, 100_000 - som * 100)
        answer = await site.begin(tag)
        session_id = await site.session_of(answer.transaction_id)
        assert await site.holds(session_id) == [(1, 200, "released"), (2, som, "open")]

    async def test_with_none_it_is_stopped(self, given_up: tuple[str, Site]) -> None:
        tag, site = given_up
        client = await site.sql.fetchval("select client_id from charging.sessions")
        await site.scenario.charged(client, 100_000)
        await self.assert_stopped(site, tag, "late_start")

    async def test_beside_another_session_it_is_stopped(self, given_up: tuple[str, Site]) -> None:
        tag, site = given_up
        client = await site.sql.fetchval("select client_id from charging.sessions")
        await site.start(client, 2)
        await self.assert_stopped(site, tag, "late_start")

    async def test_of_a_blocked_client_it_is_stopped(self, given_up: tuple[str, Site]) -> None:
        tag, site = given_up
        await site.sql.execute("update identity.clients set status = 'blocked'")
        await self.assert_stopped(site, tag, "client_blocked")

    async def assert_stopped(self, site: Site, tag: str, reason: str) -> None:
        answer = await site.begin(tag)
        session_id = await site.session_of(answer.transaction_id)
        session = await site.session(session_id)
        assert (answer.tag, session["state"], session["stop_reason"]) == (
            "accepted", "stopping", reason,
        )  # fmt: skip
        assert await site.holds(session_id) == [(1, 200, "released")]
        assert (await site.commands())[-1] == ("remote_stop", "queued")

    async def test_one_that_its_driver_cancelled_is_stopped_too(self, site: Site) -> None:
        client = await site.driver()
        started = await site.start(client)
        tag = await site.tag(started.session_id)
        await site.deliver()
        await site.stop(started.session_id, client)
        await site.begin(tag)
        session = await site.session(started.session_id)
        assert (session["state"], session["stop_reason"]) == ("stopping", "stopped_by_driver")
        assert await site.holds(started.session_id) == [(1, 200, "released"), (2, 200, "open")]

    async def test_a_refused_one_may_begin(self, site: Site) -> None:
        started = await site.start(await site.driver())
        await site.deliver("refused")
        await site.begin(await site.tag(started.session_id))
        assert await site.state(started.session_id) == "charging"


class TestBoot:
    """A station that restarts in the middle of a transaction (edge 22)."""

    async def test_its_transactions_end_after_5_min_without_values(self, site: Site) -> None:
        answer = await site.started(await site.driver())
        await site.boot()
        due = await site.sql.fetchrow(
            "select close_due_at - $1 as after, close_reason from charging.progress"
            " where transaction_id = $2",
            site.now,
            answer.transaction_id,
        )
        assert due is not None
        assert (due["after"].total_seconds(), due["close_reason"]) == (300, "station_booted")

    async def test_a_boot_that_was_asked_for_changes_nothing(self, site: Site) -> None:
        await site.started(await site.driver())
        await site.boot(triggered=True)
        assert await site.sql.fetchval("select close_due_at from charging.progress") is None

    async def test_an_idle_station_just_boots(self, site: Site) -> None:
        assert (await site.boot()).stations == {STATION}

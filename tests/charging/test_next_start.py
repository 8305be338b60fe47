"""A start on a connector where something runs or ran: the station is right about which one runs."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from evpower import charging
from evpower.charging import StationReadings, StationStop, StationTime
from evpower.charging.closing import close_estimated
from evpower.charging.events import Reading, StartAnswer
from tests.charging.place import read
from tests.charging.site import STATION, Site


async def values(site: Site, answer: StartAnswer, register_wh: int) -> None:
    event = StationReadings(
        STATION, 1, answer.transaction_id, None, (read(register_wh, site.now),), (), site.now
    )
    async with site.db.transaction() as connection:
        await charging.meter_values(connection, event, now=site.now, rules=site.rules)


async def stops(
    site: Site,
    transaction_id: int,
    register_wh: int | None,
    tag: str | None = None,
    at: datetime | None = None,
    *,
    readings: Sequence[Reading] = (),
) -> None:
    at = at or site.now
    time = StationTime(at, at.isoformat())
    event = StationStop(
        STATION, transaction_id, None, tag, None if register_wh is None else Decimal(register_wh),
        time, "Local", tuple(readings), (), site.now,
    )  # fmt: skip
    async with site.db.transaction() as connection:
        await charging.stop_transaction(connection, event, now=site.now)


async def lose_the_stop(site: Site, answer: StartAnswer) -> None:
    """Let EvPower end a transaction without its station."""
    async with site.db.transaction() as connection:
        await close_estimated(connection, answer.transaction_id, "became_available", now=site.now)


async def begins(site: Site, register_wh: int, **facts: Any) -> StartAnswer:
    """Another driver's session begins; the driver asked for the other connector."""
    session = await site.start(await site.driver(), 2)
    await site.deliver()
    return await site.begin(
        await site.tag(session.session_id), meter_wh=Decimal(register_wh), **facts
    )


async def bill(site: Site, answer: StartAnswer) -> tuple[str, str, int, int]:
    """State, end reason, energy in Wh and cost in tyiyn."""
    row = await site.session(await site.session_of(answer.transaction_id))
    return row["state"], row["end_reason"], row["energy_wh"], row["cost_minor"]


@pytest.mark.parametrize("tag", ["DEADBEEF", "driver"], ids=["edge-5-unknown", "edge-5-driver"])
async def test_it_ends_what_runs_at_the_next_ones_register(site: Site, tag: str) -> None:
    client = await site.driver()
    first = await site.started(client)
    await site.wait(600)
    await values(site, first, 3_000)
    await site.wait(60)
    if tag == "driver":
        other = await site.start(await site.driver(), 2)
        await site.deliver()
        tag = await site.tag(other.session_id)
    second = await site.begin(tag, meter_wh=Decimal(3_200))
    assert second.transaction_id != first.transaction_id
    assert await bill(site, first) == ("settled", "next_start", 2_200, 2_970)
    assert await site.scenario.money(client) == (97_030, 0, 0)
    assert await site.alerts() == ["start_while_charging"]
    assert (await site.transaction(first.transaction_id))["end_kind"] == "estimated"


async def test_a_reset_that_the_next_start_alone_confirms_bills_nothing_more(site: Site) -> None:
    first = await site.started(await site.driver())
    await site.wait(600)
    await values(site, first, 3_000)
    await site.wait(60)
    await values(site, first, 0)
    await site.wait(60)
    await site.begin("DEADBEEF", meter_wh=Decimal(100))
    assert await bill(site, first) == ("settled", "next_start", 2_000, 2_700)


async def test_a_register_that_jumps_to_0_ends_it_by_the_last_value(site: Site) -> None:
    """Q31: at the end of a charge a start came in place of a stop."""
    first = await site.started(await site.driver())
    await site.wait(600)
    await values(site, first, 3_000)
    await site.report("finishing")
    second = await site.begin("DEADBEEF", meter_wh=Decimal(0))
    assert await bill(site, first) == ("settled", "next_start", 2_000, 2_700)
    row = await site.transaction(second.transaction_id)
    assert (row["purpose"], row["meter_start_wh"]) == ("unattributed", 0)


class TestTheSameAgain:
    """The same start key after an end (edge 3)."""

    async def test_after_an_estimated_end_it_is_the_same_and_its_stop_is_the_next_bill(
        self, site: Site
    ) -> None:
        first = await site.started(await site.driver())
        tag = await site.tag(await site.session_of(first.transaction_id))
        began_at = site.now
        await site.wait(600)
        await values(site, first, 3_000)
        await site.begin("DEADBEEF", meter_wh=Decimal(3_000))
        await site.wait(60)
        again = await site.begin(tag, at=began_at)
        assert (again.transaction_id, again.tag) == (first.transaction_id, "accepted")
        await stops(site, first.transaction_id, 3_100)
        assert (await bill(site, first))[2:] == (2_100, 2_835)
        assert await site.sql.fetchval("select count(*) from charging.cdrs") == 2

    @pytest.mark.parametrize("has_new_stamp", [False, True])
    async def test_after_the_stations_stop_it_is_unattributed(
        self, site: Site, *, has_new_stamp: bool
    ) -> None:
        first = await site.started(await site.driver())
        tag = await site.tag(await site.session_of(first.transaction_id))
        began_at = site.now
        await site.wait(600)
        await stops(site, first.transaction_id, 3_000)
        again = await site.begin(tag, at=site.now if has_new_stamp else began_at)
        assert again.tag == "invalid"
        row = await site.transaction(again.transaction_id)
        assert (row["purpose"], row["session_id"]) == ("unattributed", None)
        assert await site.alerts() == ["start_after_stop"]
        third = await site.begin(tag, at=site.now if has_new_stamp else began_at)
        assert third.transaction_id == again.transaction_id
        assert (await bill(site, first))[2:] == (2_000, 2_700)

    @pytest.mark.parametrize("later_s", [0, 10], ids=["edge-3", "Q82"])
    @pytest.mark.parametrize("is_paid_only", ["true", "false"])
    async def test_before_what_runs_it_ends_nothing(
        self, site: Site, later_s: int, is_paid_only: str
    ) -> None:
        await site.sql.execute(f"update stations.stations set paid_only = {is_paid_only}")
        first = await site.started(await site.driver())
        tag = await site.tag(await site.session_of(first.transaction_id))
        began_at = site.now
        await site.wait(600)
        await stops(site, first.transaction_id, 3_000)
        await site.wait(60)
        second = await begins(site, 3_000)
        await site.wait(300)
        await values(site, second, 4_000)
        again = await site.begin(tag, at=began_at + timedelta(seconds=later_s))
        assert (again.transaction_id, again.tag) == (first.transaction_id, "accepted")
        assert await site.state(await site.session_of(second.transaction_id)) == "charging"
        assert await site.alerts() == ["start_after_stop"]
        assert "remote_stop" not in [action for action, _ in await site.commands()]
        await site.wait(300)
        await stops(site, second.transaction_id, 5_000)
        assert (await bill(site, second))[2:] == (2_000, 2_700)
        assert (await bill(site, first))[2:] == (2_000, 2_700)

    async def test_where_all_stamps_are_the_same_it_ends_what_runs(self, site: Site) -> None:
        """The clock stands still, so it may have begun now: the station is right."""
        first = await site.started(await site.driver())
        tag = await site.tag(await site.session_of(first.transaction_id))
        at = site.now
        await site.wait(600)
        await stops(site, first.transaction_id, 3_000)
        await site.wait(60)
        second = await begins(site, 3_000, at=at)
        await site.wait(300)
        again = await site.begin(tag, at=at)
        assert (await site.transaction(again.transaction_id))["purpose"] == "unattributed"
        assert (await bill(site, second))[1] == "next_start"

    async def test_a_card_at_a_station_without_a_clock_charges_again(self, site: Site) -> None:
        """Its stamps and registers are the same each time, so they say nothing."""
        await site.open_to_cards()
        await site.card(await site.driver(), "04A1B2C3D4E5F6")
        facts: dict[str, Any] = {"at": None, "raw": "1970-01-01T00:00:00Z", "meter_wh": Decimal(0)}
        first = await site.begin("04A1B2C3D4E5F6", **facts)
        await site.wait(600)
        await stops(site, first.transaction_id, 2_000)
        await site.wait(600)
        second = await site.begin("04A1B2C3D4E5F6", **facts)
        assert (second.tag, second.transaction_id != first.transaction_id) == ("accepted", True)
        assert await site.session_of(second.transaction_id) != await site.session_of(
            first.transaction_id
        )

    @pytest.mark.parametrize("tag", ["04A1B2C3D4E5F6", "DEADBEEF"])
    async def test_at_a_station_without_a_clock_a_charge_whose_stop_was_lost_is_over(
        self, site: Site, tag: str
    ) -> None:
        """The same card comes again days later; nothing but the end tells the charges apart."""
        await site.open_to_cards()
        client = await site.driver()
        await site.card(client, "04A1B2C3D4E5F6")
        facts: dict[str, Any] = {"at": None, "raw": "0001-01-01T00:00:00Z", "meter_wh": Decimal(0)}
        first = await site.begin(tag, **facts)
        await site.wait(600)
        await values(site, first, 3_000)
        await lose_the_stop(site, first)
        assert (await site.transaction(first.transaction_id))["end_kind"] == "estimated"
        await site.wait(2 * 24 * 3600)
        second = await site.begin(tag, **facts)
        assert (second.tag, second.transaction_id != first.transaction_id) == (first.tag, True)
        # Sent again while it runs it is the same.
        assert (await site.begin(tag, **facts))[:2] == second[:2]
        if tag == "DEADBEEF":
            assert await site.commands() == [
                ("remote_stop", "timed_out"), ("remote_stop", "queued"),
            ]  # fmt: skip
            return
        session_id = await site.session_of(second.transaction_id)
        assert session_id != await site.session_of(first.transaction_id)
        assert await site.state(session_id) == "charging"
        await site.wait(600)
        await values(site, second, 2_000)
        await stops(site, second.transaction_id, 2_000)
        assert await site.scenario.money(client) == (100_000 - 4_050 - 2_700, 0, 0)

    async def test_by_app_at_a_station_without_a_clock_it_is_the_same(self, site: Site) -> None:
        started = await site.start(await site.driver())
        await site.deliver()
        tag = await site.tag(started.session_id)
        facts: dict[str, Any] = {"at": None, "raw": "0001-01-01T00:00:00Z"}
        first = await site.begin(tag, **facts)
        await site.wait(600)
        await values(site, first, 3_000)
        await lose_the_stop(site, first)
        again = await site.begin(tag, **facts)
        assert (again.transaction_id, again.tag) == (first.transaction_id, "accepted")


@pytest.mark.parametrize("tag", ["its own", "04A1B2C3D4E5F6", None])
async def test_a_late_stop_by_our_number_is_of_that_one(site: Site, tag: str | None) -> None:
    """The station calls what runs now by it, too: the tag, or the time, is not that one's."""
    first = await site.started(await site.driver())
    if tag == "its own":
        tag = await site.tag(await site.session_of(first.transaction_id))
    await site.wait(600)
    await values(site, first, 3_000)
    stopped_at = site.now
    await site.wait(300)
    second = await begins(site, 3_000)
    await site.wait(60)
    await values(site, first, 3_100)  # under the old number
    energy_wh = await site.sql.fetchval(
        "select energy_wh from charging.progress where transaction_id = $1", second.transaction_id
    )
    assert energy_wh == 100
    await stops(site, first.transaction_id, 3_060, tag, stopped_at if tag is None else site.now)
    assert (await bill(site, first))[2:] == (2_060, 2_781)
    assert await site.state(await site.session_of(second.transaction_id)) == "charging"


@pytest.mark.parametrize("tag", ["DEADBEEF", "the first one's"])
async def test_a_stop_by_another_card_is_of_the_nearer_register(site: Site, tag: str) -> None:
    """The station calls what runs by an ended one's number, and a strange tag ends it."""
    first = await site.started(await site.driver())
    if tag == "the first one's":
        tag = await site.tag(await site.session_of(first.transaction_id))
    await site.wait(600)
    await values(site, first, 3_000)
    await site.wait(300)
    second = await begins(site, 3_000)
    await site.wait(600)
    await values(site, first, 3_990)  # under the old number
    await site.wait(60)
    await stops(site, first.transaction_id, 4_000, tag)
    assert (await bill(site, first))[2:] == (2_000, 2_700)
    assert (await bill(site, second))[2:] == (1_000, 1_350)


async def test_a_late_stop_by_an_id_of_the_station_s_own_is_of_the_one_with_its_tag(
    site: Site,
) -> None:
    """The station calls what runs now by it, too."""
    first = await site.started(await site.driver())
    own = first._replace(transaction_id=1_758_670_080)
    tag = await site.tag(await site.session_of(first.transaction_id))
    await site.wait(600)
    await values(site, own, 3_000)
    await site.wait(300)
    second = await begins(site, 3_000)
    await site.wait(60)
    await values(site, own, 3_100)
    await stops(site, own.transaction_id, 3_060, tag)
    assert (await bill(site, first))[2:] == (2_060, 2_781)
    assert await site.state(await site.session_of(second.transaction_id)) == "charging"


@pytest.mark.parametrize("has_tag", [True, False])
@pytest.mark.parametrize("lower_wh", [0, 1])
async def test_a_late_stop_from_before_what_runs_is_not_of_that_though_its_register_is_nearer(
    site: Site, lower_wh: int, *, has_tag: bool
) -> None:
    """The one that has ended did so at the register where the next one began, or just below."""
    first = await site.started(await site.driver())
    tag = await site.tag(await site.session_of(first.transaction_id))
    await site.wait(600)
    await values(site, first, 2_900)
    await site.wait(60)
    stopped_at = site.now
    await lose_the_stop(site, first)
    await site.wait(600)
    second = await begins(site, 3_000)
    await site.wait(60)
    await values(site, first, 3_010)  # under the old number
    sent_tag = tag if has_tag else None
    await stops(site, first.transaction_id, 3_000 - lower_wh, sent_tag, stopped_at)
    assert await site.state(await site.session_of(second.transaction_id)) == "charging"
    assert (await bill(site, first))[2] == 2_000 - lower_wh


@pytest.mark.parametrize("has_tag", [True, False])
@pytest.mark.parametrize("named", ["the number before", "an own id", "no id"])
async def test_a_late_stop_from_before_the_same_card_s_next_charge_is_not_of_that(
    site: Site, named: str, *, has_tag: bool
) -> None:
    """Nothing but its time tells it apart: tag and register are the next one's, too."""
    await site.open_to_cards()
    await site.card(await site.driver(), "04A1B2C3D4E5F6")
    first = await site.begin("04A1B2C3D4E5F6")
    number = {"the number before": first.transaction_id, "an own id": 1_758_670_080, "no id": 0}
    used = first._replace(transaction_id=number[named])
    await site.wait(600)
    await values(site, used, 2_900)
    await site.wait(60)
    stopped_at = site.now
    await lose_the_stop(site, first)
    await site.wait(600)
    second = await site.begin("04A1B2C3D4E5F6", meter_wh=Decimal(3_000))
    await site.wait(60)
    await values(site, used, 3_010)
    tag = "04A1B2C3D4E5F6" if has_tag else None
    await stops(site, used.transaction_id, 3_000, tag, stopped_at)
    assert await site.state(await site.session_of(second.transaction_id)) == "charging"
    assert (await bill(site, first))[2] == 2_000


async def runs_by_the_number_before(site: Site) -> tuple[StartAnswer, StartAnswer, str, datetime]:
    """One was stopped, the next runs by its number; returns both, the first one's tag and end."""
    first = await site.started(await site.driver())
    tag = await site.tag(await site.session_of(first.transaction_id))
    await site.wait(600)
    stopped_at = site.now
    await stops(site, first.transaction_id, 3_000, tag)
    await site.wait(60)
    second = await begins(site, 3_000)
    await site.wait(600)
    await values(site, first, 3_990)  # under the old number
    await site.wait(60)
    return first, second, tag, stopped_at


async def test_a_stop_that_is_sent_anew_ends_nothing_that_runs_by_its_number(site: Site) -> None:
    """With another register, so it is not known as the same message."""
    first, second, tag, stopped_at = await runs_by_the_number_before(site)
    await stops(site, first.transaction_id, 3_001, tag, stopped_at)
    assert (await bill(site, first))[2:] == (2_000, 2_700)
    assert await site.state(await site.session_of(second.transaction_id)) == "charging"


async def test_a_later_stop_without_a_register_ends_what_runs_whatever_its_card(
    site: Site,
) -> None:
    first, second, _, _ = await runs_by_the_number_before(site)
    await stops(site, first.transaction_id, None, "DEADBEEF")
    assert (await bill(site, first))[2:] == (2_000, 2_700)
    assert (await bill(site, second))[2:] == (990, 1_337)


async def test_a_late_stop_after_the_next_start_bills_nothing_that_it_repeats(site: Site) -> None:
    first = await site.started(await site.driver())
    repeated = list[Reading]()
    for wh in (2_000, 3_000, 4_000, 5_000):
        await site.wait(600)
        repeated.append(read(wh, site.now))
        await values(site, first, wh)
    stopped_at = site.now
    await site.wait(300)
    await begins(site, 5_000)
    await site.wait(60)
    await stops(site, first.transaction_id, 5_000, None, stopped_at, readings=repeated)
    assert (await bill(site, first))[2:] == (4_000, 5_400)


async def test_a_card_that_charged_begins_anew_when_its_stop_was_lost(site: Site) -> None:
    await site.open_to_cards()
    client = await site.driver()
    await site.card(client, "04A1B2C3D4E5F6")
    first = await site.begin("04A1B2C3D4E5F6")
    await site.wait(600)
    await values(site, first, 2_000)
    await site.wait(600)
    second = await site.begin("04A1B2C3D4E5F6", meter_wh=Decimal(2_100))
    assert await bill(site, first) == ("settled", "next_start", 1_100, 1_485)
    assert await site.state(await site.session_of(second.transaction_id)) == "charging"


async def test_a_card_s_start_after_its_stop_begins_no_second_session(site: Site) -> None:
    """A replayed queue: the same moment, register and card, of a charge that was billed."""
    await site.open_to_cards()
    client, at = await site.driver(), site.now
    await site.card(client, "04A1B2C3")
    first = await site.begin("04A1B2C3", at=at)
    await site.wait(600)
    await stops(site, first.transaction_id, 3_000)
    again = await site.begin("04A1B2C3", at=at)
    assert again.transaction_id != first.transaction_id
    assert (await site.transaction(again.transaction_id))["purpose"] == "unattributed"
    assert "start_after_stop" in await site.alerts()
    assert await site.sql.fetchval("select count(*) from charging.sessions") == 1
    assert await site.scenario.money(client) == (97_300, 0, 0)

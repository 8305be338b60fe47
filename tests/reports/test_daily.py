"""A day's report: which day a som belongs to, free and quarantined sessions, uptime, owners."""

import csv
import io
from datetime import UTC, datetime, timedelta

import pytest

from evpower import alerts, stations
from evpower.foundation.db import Connection, Database
from evpower.foundation.errors import Invalid
from evpower.reports import Figures, last_day, report_csv, report_json
from evpower.reports.daily import ZONE
from evpower.stations import Location, StationDraft, StatusReport
from evpower.stations.model import ConnectorDraft
from tests.charging.place import ChargingPlace
from tests.reports.books import FIRST, NOW, Books

MIDNIGHT = datetime(2026, 3, 9, 18, tzinfo=UTC)  # FIRST begins in Bishkek
HOUR = timedelta(hours=1)


@pytest.fixture
def books(db: Database, owner: Connection) -> Books:
    return Books(db, owner)


async def build(
    db: Database, station: str, *, location: str = "mall", owner: str | None = None,
    connectors: int = 1, at: datetime = MIDNIGHT - HOUR,
) -> None:  # fmt: skip
    drafts = tuple(
        ConnectorDraft(number, "GBT_DC", "CABLE", "DC", 60_000, number)
        for number in range(1, connectors + 1)
    )
    draft = StationDraft(
        station, Location(location, location.title()), drafts, no_auth=True, owner=owner
    )
    async with db.transaction() as connection:
        await stations.add_station(connection, draft, now=at, actor="test")


async def created(owner: Connection, at: datetime) -> None:
    await owner.execute("set session_replication_role = replica")
    await owner.execute("update stations.stations set created_at = $1", at)
    await owner.execute("reset session_replication_role")


async def connected(db: Database, station: str, begins: datetime, ends: datetime | None) -> None:
    async with db.transaction() as connection:
        opened = await stations.open_connection(
            connection, station, address="1.1.1.1", version="ocpp1.6", is_authenticated=True,
            node="n", now=begins,
        )  # fmt: skip
        if ends is not None:
            await stations.close_connection(connection, station, opened.epoch, "lost", now=ends)


async def reported(
    db: Database, station: str, status: str, at: datetime, connector: int = 1,
    stamp: datetime | None = None,
) -> None:  # fmt: skip
    async with db.transaction() as connection:
        report = StatusReport(station, connector, status, None, None, stamp or at, None, at)
        await stations.report_status(connection, report)


class TestMoney:
    async def test_a_day_is_that_of_the_transaction_in_bishkek(self, books: Books) -> None:
        client = await books.money.topped_up(100_000)
        await books.session(client, "S1", 1_000, 5_000)
        await books.at(0)
        await books.session(client, "S1", 2_000, 7_000)
        await books.at(86_399)
        before, after = FIRST - timedelta(days=1), FIRST + timedelta(days=1)
        charged = [(await books.report(day)).total.charged_minor for day in (before, FIRST, after)]
        assert charged == [0, 3_000, 0]
        assert (await books.report()).total.energy_wh == 12_000

    async def test_a_correction_counts_on_its_own_day(self, books: Books) -> None:
        client = await books.money.topped_up(100_000)
        session = await books.session(client, "S1", 10_000, 9_000)
        await books.at(3_600)
        books.day += timedelta(days=1)
        await books.correct(session, 4_000, 3_500)
        await books.at(3_600)
        books.day += timedelta(days=1)
        await books.correct(session, 5_000, 4_000)
        await books.at(3_600)
        days = [(await books.report(FIRST + timedelta(days=n))).total for n in range(3)]
        assert [
            (day.charged_minor, day.refunded_minor, day.revenue_minor, day.energy_wh, day.sessions)
            for day in days
        ] == [
            (10_000, 0, 10_000, 9_000, 1),
            (0, 6_000, -6_000, -5_500, 0),
            (1_000, 0, 1_000, 500, 0),
        ]

    async def test_a_debt_counts_when_it_is_collected(self, books: Books) -> None:
        client = await books.money.topped_up(1_000)
        await books.at(0)
        await books.session(client, "S1", 3_000, 6_000)
        await books.at(3_600)
        books.day += timedelta(days=1)
        await books.top_up(client, 5_000)
        await books.at(3_600)
        first, second = (await books.report(FIRST)).total, (await books.report()).total
        assert (first.charged_minor, first.debts_collected_minor, first.energy_wh) == (
            1_000, 0, 6_000,
        )  # fmt: skip
        assert (second.charged_minor, second.debts_collected_minor, second.energy_wh) == (
            2_000, 2_000, 0,
        )  # fmt: skip

    async def test_a_debt_that_is_given_back_is_a_refund_only(self, books: Books) -> None:
        client = await books.money.topped_up(1_000)
        await books.at(0)
        session = await books.session(client, "S1", 3_000, 6_000)
        await books.at(3_600)
        await books.top_up(client, 5_000)
        await books.at(7_200)
        books.day += timedelta(days=1)
        await books.correct(session, 500, 1_000)
        await books.at(3_600)
        total = (await books.report()).total
        assert (total.charged_minor, total.debts_collected_minor) == (0, 0)
        assert total.refunded_minor == 2_500

    async def test_what_a_bank_took_back_is_no_revenue(self, books: Books) -> None:
        client = await books.money.topped_up(9_000)
        payment = await books.sql.fetchval("select id from payments.payments")
        order = await books.money.refund_order(client, 4_000, payment_id=payment)
        await books.sql.execute("select wallet.refund($1)", order)
        await books.at(60)
        total = (await books.report()).total
        assert (total.charged_minor, total.refunded_minor) == (0, 0)

    async def test_an_owner_is_the_one_on_the_bill(self, db: Database, books: Books) -> None:
        await build(db, "S1", owner="Bek")
        await created(books.sql, MIDNIGHT - HOUR)
        client = await books.money.topped_up(100_000)
        await books.session(client, "S1", 1_000, owner="Aida")
        await books.session(client, "S1", 2_000, owner=None)
        await books.session(client, "S1", 4_000)  # of another system: no record
        await books.at(60)
        report = await books.report()
        owners = {row.owner: row.figures.charged_minor for row in report.owners}
        assert owners == {"Aida": 1_000, "": 2_000, "Bek": 4_000}
        [station] = report.stations
        assert (station.owner, station.figures.charged_minor) == ("Bek", 7_000)

    async def test_a_correction_counts_for_the_owner_of_the_bill_that_it_moves(
        self, books: Books
    ) -> None:
        client = await books.money.topped_up(100_000)
        session = await books.session(client, "S1", 10_000, 5_000, owner="Aida")
        await books.correct(session, 12_000, 6_000, owner="Bek")  # the station was sold meanwhile
        await books.correct(session, 9_000, 4_500, owner="Bek")
        await books.at(60)
        owners = {row.owner: row.figures for row in (await books.report()).owners}
        # Refunds give back of the newest charge first: 2,000 of Bek's bill, then 1,000 of Aida's.
        assert {name: (row.charged_minor, row.refunded_minor) for name, row in owners.items()} == {
            "Aida": (10_000, 1_000), "Bek": (2_000, 2_000),
        }  # fmt: skip
        assert {name: row.energy_wh for name, row in owners.items()} == {
            "Aida": 5_000, "Bek": -500,
        }  # fmt: skip
        assert (await books.report()).total.sessions == 1


class TestSessions:
    async def test_free_ones_are_those_first_billed_at_nothing(self, books: Books) -> None:
        client = await books.money.topped_up(10_000)
        free = await books.session(client, "S1", 0, 200)
        paid = await books.session(client, "S1", 500, 300)
        await books.at(60)
        books.day += timedelta(days=1)
        await books.correct(free, 100, 300)
        await books.correct(paid, 0, 0)
        await books.at(60)
        first, second = (await books.report(FIRST)).total, (await books.report()).total
        assert (first.sessions, first.free_sessions) == (2, 1)
        assert (second.sessions, second.free_sessions) == (0, 0)

    async def test_quarantined_ones_stay_with_their_day(self, db: Database, books: Books) -> None:
        client = await books.money.topped_up(10_000)
        session = str(await books.session(client, "S1", 0))
        await books.at(60)
        async with db.transaction() as connection:
            at = MIDNIGHT + HOUR
            await alerts.open_alert(connection, "session_quarantined", session, {}, at)
            await alerts.close_alert(connection, "session_quarantined", session, at + 3 * HOUR)
            await alerts.open_alert(connection, "session_quarantined", session, {}, at + 4 * HOUR)
            await alerts.open_alert(connection, "stop_not_obeyed", session, {}, at)
            await alerts.open_alert(connection, "session_quarantined", "no id", {}, at)
        report = await books.report()
        assert report.total.quarantined_sessions == 1
        assert [row.figures.quarantined_sessions for row in report.stations] == [1]


async def uptime(books: Books, now: datetime = NOW) -> float | None:
    [row] = (await books.report(now=now)).stations
    return None if row.figures.uptime is None else round(24 * row.figures.uptime, 3)


class TestUptime:
    """In hours of the day; the station has one connector unless a test says more."""

    @pytest.fixture(autouse=True)
    async def _station(self, db: Database, owner: Connection) -> None:
        await build(db, "S1")
        await created(owner, MIDNIGHT - 48 * HOUR)

    async def test_offline_is_down(self, db: Database, books: Books) -> None:
        assert await uptime(books) == 0
        await connected(db, "S1", MIDNIGHT - HOUR, MIDNIGHT + 6 * HOUR)
        await connected(db, "S1", MIDNIGHT + 8 * HOUR, MIDNIGHT + 30 * HOUR)
        assert await uptime(books) == 22

    @pytest.mark.parametrize("status", ["faulted", "unavailable"])
    async def test_faulted_and_unavailable_are_down(
        self, db: Database, books: Books, status: str
    ) -> None:
        await connected(db, "S1", MIDNIGHT - HOUR, None)
        await books.sql.execute("update stations.sockets set last_frame_at = $1", NOW)
        await reported(db, "S1", status, MIDNIGHT - HOUR)
        await reported(db, "S1", "available", MIDNIGHT + 2 * HOUR)
        await reported(db, "S1", status, MIDNIGHT + 20 * HOUR)
        await reported(db, "S1", "charging", MIDNIGHT + 23 * HOUR)
        assert await uptime(books) == 19

    async def test_what_the_whole_station_says_counts_for_each_connector(
        self, db: Database, books: Books
    ) -> None:
        await connected(db, "S1", MIDNIGHT - HOUR, MIDNIGHT + 40 * HOUR)
        await reported(db, "S1", "unavailable", MIDNIGHT + 4 * HOUR, connector=0)
        await reported(db, "S1", "available", MIDNIGHT + 5 * HOUR)
        await reported(db, "S1", "available", MIDNIGHT + 10 * HOUR, connector=0)
        assert await uptime(books) == 18

    async def test_history_and_words_of_no_protocol_change_nothing(
        self, db: Database, books: Books
    ) -> None:
        await connected(db, "S1", MIDNIGHT - HOUR, MIDNIGHT + 40 * HOUR)
        await reported(db, "S1", "available", MIDNIGHT + HOUR)
        old = MIDNIGHT - 5 * HOUR
        await reported(db, "S1", "faulted", MIDNIGHT + 2 * HOUR, stamp=old)  # a queue played back
        await reported(db, "S1", "unavailable", MIDNIGHT + 3 * HOUR, connector=9)
        assert await uptime(books) == 24

    async def test_an_open_connection_without_frames_is_over_with_its_last_one(
        self, db: Database, books: Books
    ) -> None:
        await connected(db, "S1", MIDNIGHT, None)
        await books.sql.execute(
            "update stations.sockets set last_frame_at = $1", MIDNIGHT + 10 * HOUR
        )
        assert await uptime(books) == 10
        online = await uptime(books, now=MIDNIGHT + 10 * HOUR + timedelta(seconds=60))
        assert online == 24  # of the time that has passed

    async def test_a_station_counts_from_when_it_was_added_until_it_is_retired(
        self, db: Database, books: Books, owner: Connection
    ) -> None:
        await created(owner, MIDNIGHT + 6 * HOUR)
        await connected(db, "S1", MIDNIGHT + 6 * HOUR, MIDNIGHT + 12 * HOUR)
        await owner.execute("update stations.stations set retired_at = $1", MIDNIGHT + 12 * HOUR)
        assert await uptime(books) == 24
        books.day += timedelta(days=1)
        assert (await books.report()).stations == []

    async def test_connectors_count_alike(self, db: Database, books: Books) -> None:
        await build(db, "S2", location="mall", connectors=3)
        await created(books.sql, MIDNIGHT - 48 * HOUR)
        await connected(db, "S2", MIDNIGHT - HOUR, MIDNIGHT + 40 * HOUR)
        report = await books.report()
        assert [row.figures.uptime for row in report.stations] == [0.0, 1.0]
        [location] = report.locations
        assert (location.id, location.name, location.figures.uptime) == ("mall", "Mall", 0.75)


async def test_a_day_that_has_not_begun_is_refused(books: Books) -> None:
    with pytest.raises(Invalid):
        await books.report(FIRST, now=MIDNIGHT - timedelta(seconds=1))
    report = await books.report(FIRST, now=MIDNIGHT + HOUR)
    assert not report.is_complete
    assert (await books.report(FIRST, now=MIDNIGHT + 24 * HOUR)).is_complete
    assert last_day(MIDNIGHT) == FIRST - timedelta(days=1)
    assert report.begins_at.astimezone(ZONE).hour == 0


async def test_csv_has_the_same_sums_and_no_formula(db: Database, books: Books) -> None:
    await build(db, "S1", owner="=HYPERLINK(1)")
    await created(books.sql, MIDNIGHT - HOUR)
    client = await books.money.topped_up(100_000)
    await books.session(client, "S1", 1_250, 4_321)
    await books.session(client, "of another system", 100, 1)
    await books.at(60)
    report = await books.report()
    rows = list(csv.DictReader(io.StringIO(report_csv(report))))
    assert [row["scope"] for row in rows] == [
        "total", "station", "station", "location", "location", "owner", "owner",
    ]  # fmt: skip
    total, s1 = rows[0], rows[1]
    assert (total["id"], total["charged_som"], total["energy_kwh"]) == (
        "2026-03-10", "13.50", "4.322",
    )  # fmt: skip
    assert (s1["id"], s1["location"], s1["owner"], s1["revenue_som"]) == (
        "S1", "mall", "'=HYPERLINK(1)", "12.50",
    )  # fmt: skip
    shown = report_json(report)
    assert (shown["total"]["charged_minor"], shown["currency"]) == (1_350, "KGS")
    assert [row["location_id"] for row in shown["locations"]] == [None, "mall"]


async def test_energy_that_no_one_paid_is_summed_up(db: Database, owner: Connection) -> None:
    """A tail of 500 Wh, an unknown card's 2 kWh, and another one's that ends after midnight."""
    place = ChargingPlace(db, owner)
    place.now = MIDNIGHT
    await place.build(owner="Aida")
    await created(owner, MIDNIGHT - HOUR)
    place.later(60)
    _, transaction = await place.charging(await place.driver())
    place.later(20)
    await place.stop(transaction, 10_000)
    place.later(1)
    await place.values(transaction, 10_500)
    outside = await place.begin(None, tag="NOBODYS", meter_wh=10_500)
    place.later(10)
    await place.stop(outside, 12_500)
    place.now = MIDNIGHT + 24 * HOUR - timedelta(minutes=1)
    other = await place.begin(None, tag="NOBODYS", meter_wh=12_500)
    place.later(1)
    await place.stop(other, 12_600)
    books = Books(db, owner)
    report = await books.report()
    for sums in (report.total, *(
        rows[0].figures for rows in (report.stations, report.locations, report.owners)
    )):  # fmt: skip
        assert (sums.unbilled_tail_wh, sums.outside_charges, sums.outside_wh) == (500, 1, 2_000)
    assert [row.id for row in report.owners] == ["Aida"]
    total, *_ = csv.DictReader(io.StringIO(report_csv(report)))
    assert (total["unbilled_tail_kwh"], total["outside_charges"], total["outside_kwh"]) == (
        "0.500", "1", "2.000",
    )  # fmt: skip
    after = (await books.report(FIRST + timedelta(days=1))).total
    assert (after.unbilled_tail_wh, after.outside_charges, after.outside_wh) == (0, 1, 100)


def test_figures_without_a_connector_have_no_uptime() -> None:
    assert Figures().uptime is None

"""What stations report: boots, statuses of connectors, deviations."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from evpower import stations
from evpower.foundation.db import Connection
from evpower.stations import Deviation, StatusReport
from tests.stations.scenario import NOW, Operator

S = timedelta(seconds=1)
REPORT = StatusReport("A", 1, "available", None, None, NOW, "2026-12-01T12:00:00Z", NOW)


@pytest.fixture(autouse=True)
async def stored(operator: Operator) -> None:
    await operator.add("A")


async def report(operator: Operator, status: str, stamp: datetime | None, **values: object) -> bool:
    entry = replace(REPORT, status=status, station_at=stamp, received_at=stamp or NOW)
    async with operator.db.transaction() as connection:
        return await stations.report_status(connection, replace(entry, **values))  # pyright: ignore[reportArgumentType]


async def status(operator: Operator, number: int = 1) -> str | None:
    view = await operator.show("A")
    return next(row.reported_status for row in view.connectors if row.number == number)


async def logged(operator: Operator) -> list[str]:
    async with operator.db.connection() as connection:
        return [entry.status for entry in await stations.list_statuses(connection, "A", 100)]


async def test_a_status_older_than_the_newest_is_history(operator: Operator) -> None:
    assert await report(operator, "charging", NOW)
    assert not await report(operator, "available", NOW - S, received_at=NOW + S)
    assert await report(operator, "finishing", NOW, received_at=NOW + S)
    assert await report(operator, "preparing", NOW - S, connector=2, received_at=NOW + S)
    assert (await status(operator), await status(operator, 2)) == ("finishing", "preparing")
    assert sorted(await logged(operator)) == ["available", "charging", "finishing", "preparing"]


async def test_a_status_without_a_usable_stamp_counts(operator: Operator) -> None:
    await report(operator, "charging", NOW)
    assert await report(operator, "available", None, received_at=NOW + S)
    assert not await report(operator, "charging", NOW - S, received_at=NOW + 2 * S)
    assert await status(operator) == "available"


async def test_a_stamp_of_the_future_does_not_make_later_ones_history(operator: Operator) -> None:
    await report(operator, "charging", datetime(2099, 1, 1, tzinfo=NOW.tzinfo), received_at=NOW)
    assert await report(operator, "available", NOW + S)


async def test_after_a_boot_any_stamp_counts(operator: Operator) -> None:
    await report(operator, "charging", NOW)
    await boot(operator, "v", "m", "f")
    assert await report(operator, "available", NOW - 1000 * S, received_at=NOW + S)


@pytest.mark.parametrize(("word", "connector"), [("Levitating", 1), ("available", 9), ("", 1)])
async def test_what_no_connector_can_have_is_only_logged(
    operator: Operator, word: str, connector: int
) -> None:
    assert not await report(operator, word, NOW, connector=connector)
    assert await logged(operator) == [word or "?"]
    assert await status(operator) is None


async def test_texts_that_no_column_can_hold_are_stored_as_far_as_possible(
    operator: Operator,
) -> None:
    assert await report(operator, "faulted", NOW, error="\x00\ud800" + "e" * 999, info="i" * 9999)
    [entry] = (await operator.show("A")).connectors[:1]
    assert entry.reported_error == "??" + "e" * 253


async def test_connector_0_is_the_station_and_changes_no_connector(operator: Operator) -> None:
    await report(operator, "charging", NOW)
    for word, availability in (("faulted", "inoperative"), ("available", "operative")):
        assert await report(operator, word, NOW, connector=0)
        assert (await operator.show("A")).station.reported_availability == availability
    # Alfen 4.15.7 reports a fault with a stamp of two days ago while charging goes on.
    assert not await report(operator, "faulted", NOW - timedelta(days=2), connector=0)
    assert (await operator.show("A")).station.reported_availability == "operative"
    assert await status(operator) == "charging"


async def test_an_equal_status_keeps_its_time(operator: Operator) -> None:
    for second in range(3):
        await report(operator, "available", NOW + second * S)
    assert (await operator.show("A")).connectors[0].reported_at == NOW
    await report(operator, "available", NOW + 5 * S, error="GroundFailure")
    assert (await operator.show("A")).connectors[0].reported_at == NOW + 5 * S


async def boot(operator: Operator, vendor: str, model: str, firmware: str) -> None:
    async with operator.db.transaction() as connection:
        await stations.report_boot(
            connection, "A", vendor=vendor, model=model, firmware=firmware, now=NOW
        )


async def test_a_boot_stores_what_the_station_is(operator: Operator) -> None:
    await boot(operator, " ABB ", "T" * 999, "")
    station = (await operator.show("A")).station
    assert (station.vendor, station.model, station.firmware, station.booted_at) == (
        "ABB", "T" * 255, None, NOW,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("boot_says", "shown"),
    [
        (("", "", ""), ("ABB", "Terra", "1.8")),
        (("ABB", "Terra", "1.9"), ("ABB", "Terra", "1.9")),
        (("ABB", "Other", ""), ("ABB", "Other", None)),
        (("EN+", "", ""), ("EN+", "Terra", None)),
    ],
    ids=["Q85-nothing", "new-firmware", "another-model", "another-make"],
)
async def test_a_boot_changes_what_it_says(
    operator: Operator, boot_says: tuple[str, str, str], shown: tuple[str, str, str | None]
) -> None:
    await boot(operator, "ABB", "Terra", "1.8")
    await boot(operator, *boot_says)
    station = (await operator.show("A")).station
    assert (station.vendor, station.model, station.firmware) == shown


async def test_deviations_are_added_up(operator: Operator, owner: Connection) -> None:
    for at in (NOW, NOW + S):
        async with operator.db.transaction() as connection:
            await stations.count_deviations(
                connection,
                [
                    Deviation("A", "no_time", 2, "x\x00", at),
                    Deviation("A", "bad_json", 1, None, at),
                    Deviation("A", "no_time", 3, None, at - S),
                ],
            )
    assert (await operator.show("A")).deviations == {"bad_json": 2, "no_time": 10}
    row = await owner.fetchrow("select * from stations.deviations where kind = 'no_time'")
    assert row is not None
    assert (row["sample"], row["last_seen_at"]) == ("x?", NOW + S)


@pytest.mark.parametrize(
    ("reported", "station", "after_s", "shown"),
    [
        ("available", "operative", 1, "available"),
        ("available", "operative", 90, "offline"),
        ("available", "inoperative", 1, "unavailable"),
        ("charging", "inoperative", 1, "charging"),
        (None, "operative", 1, "unknown"),
    ],
)
async def test_an_app_sees_a_connector_as_it_can_be_used(
    operator: Operator, reported: str | None, station: str, after_s: int, shown: str
) -> None:
    if reported:
        await report(operator, reported, NOW)
    async with operator.db.transaction() as connection:
        await stations.open_connection(
            connection, "A", address="a", version="ocpp1.6", is_authenticated=True, node="n",
            now=NOW,
        )  # fmt: skip
        await connection.execute("update stations.stations set wanted_availability = $1", station)
    async with operator.db.connection() as connection:
        [location] = await stations.list_locations(connection)
    [view] = location.stations
    assert view.status_of(view.connectors[0], NOW + after_s * S) == shown

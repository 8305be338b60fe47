"""The clocks of stations."""

# pyright: reportUnknownArgumentType=false

from datetime import UTC, datetime, timedelta

import pytest

from evpower.ocpp.times import read_station_time

NOW = datetime(2026, 11, 29, 12, 0, tzinfo=UTC)
SINCE = NOW - timedelta(days=40)
AT = datetime(2026, 11, 29, 8, 5, 9, tzinfo=UTC)


@pytest.mark.parametrize(
    ("raw", "at", "notes"),
    [
        pytest.param("2026-11-29T08:05:09Z", AT, set(), id="by-the-book"),
        pytest.param("2026-11-29T08:05:09.000Z", AT, set(), id="milliseconds"),
        pytest.param("2026-11-29T08:05:09.000000000Z", AT, set(), id="Q87-nine-digits"),
        pytest.param("2026-11-29T14:05:09+06:00", AT, set(), id="offset"),
        pytest.param("2026-11-29T08:05:09", AT, {"time_without_zone"}, id="Q22-no-zone"),
        pytest.param("2026-11-29T10:05:09+02", AT, {"time_form"}, id="Q22-hours-only"),
        pytest.param("2026-11-29T8:05:09Z", AT, {"time_form"}, id="Q22-hour-not-padded"),
        pytest.param("2026-11-29 08:05:09Z", AT, set(), id="space"),
        pytest.param("1795939509", AT, {"time_form"}, id="seconds"),
        pytest.param(1795939509, AT, {"time_form"}, id="seconds-as-number"),
        pytest.param("1795939509000", AT, {"time_form"}, id="milliseconds-since-1970"),
        pytest.param("0001-01-01T00:00:00Z", None, {"time_implausible"}, id="Q22-unset"),
        pytest.param("1970-01-01T00:00:10Z", None, {"time_implausible"}, id="edge-13-1970"),
        pytest.param("2014-01-01T00:00:00Z", None, {"time_implausible"}, id="Q22-2014"),
        pytest.param("2027-01-01T00:00:00Z", None, {"time_implausible"}, id="future"),
        pytest.param("", None, {"time_missing"}, id="blank"),
        pytest.param(None, None, {"time_missing"}, id="absent"),
        pytest.param("yesterday", None, {"time_unreadable"}, id="no-time"),
        pytest.param("2026-13-40T08:05:09Z", None, {"time_unreadable"}, id="no-date"),
        pytest.param({"a": 1}, None, {"time_unreadable"}, id="object"),
    ],
)
def test_times_are_read(raw: object, at: datetime | None, notes: set[str]) -> None:
    notes_of_it: set[str] = set()
    time = read_station_time(raw, since=SINCE, now=NOW, notes=notes_of_it)
    assert (time.at, notes_of_it) == (at, notes)
    assert time.raw == (None if raw in (None, "") else str(raw))

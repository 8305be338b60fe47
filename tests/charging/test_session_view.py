"""A session as its driver sees it: the prices that are shown, and whether its station is online."""

from datetime import timedelta
from typing import Any

import orjson
import pytest

from evpower.charging.session_view import flat_status
from evpower.stations import ONLINE_FOR
from evpower.tariffs import Snapshot, write_snapshot
from tests.charging.views import AT, view
from tests.tariffs.examples import tariff

FAST: dict[str, Any] = {"energy_per_kwh": "20", "if": {"from_kw": "50"}}
STRONG: dict[str, Any] = {"energy_per_kwh": "17", "if": {"from_a": "100"}}


def snapshot(*elements: dict[str, Any]) -> str:
    stored = Snapshot("bands", 1, tariff(*elements, {"energy_per_kwh": "13.5"}))
    return orjson.dumps(write_snapshot(stored)).decode()


@pytest.mark.parametrize(
    ("values", "rate"),
    [
        ({"power_w": 49_999}, 13.5),
        ({"power_w": 50_000}, 20),
        ({"power_w": None}, 20),  # unknown: no more is billed than is shown
        ({"power_w": 10_000, "ended_at": AT, "state": "settled", "status": "stopped"}, 20),
    ],
)
def test_a_running_session_shows_the_rate_of_its_power(values: dict[str, Any], rate: float) -> None:
    session = view(snapshot=snapshot(FAST), **values)
    assert flat_status(session, AT, "")["rate_per_kwh"] == rate


@pytest.mark.parametrize(("current_ma", "rate"), [(99_999, 13.5), (100_000, 17), (None, 17)])
def test_a_running_session_shows_the_rate_of_its_current(
    current_ma: int | None, rate: float
) -> None:
    session = view(snapshot=snapshot(STRONG), current_ma=current_ma)
    assert flat_status(session, AT, "")["rate_per_kwh"] == rate


@pytest.mark.parametrize(
    ("values", "fee"),
    [
        ({}, 5),
        ({"ended_at": AT, "state": "settled", "status": "stopped"}, 5),
        ({"started_at": None, "state": "starting"}, 10),  # it would start now
    ],
)
def test_a_session_shows_the_fee_of_its_start(values: dict[str, Any], fee: float) -> None:
    """It is paid once, whatever it costs later: here from 10:10 UTC on."""
    early = {"flat": "5", "if": {"from": "16:00", "to": "16:10"}}
    session = view(snapshot=snapshot(early, {"flat": "10"}), **values)
    rates = session.rates(AT)
    assert rates is not None
    assert rates.session_fee == fee


def test_a_station_is_online_for_less_than_its_time() -> None:
    assert view().is_online(AT + ONLINE_FOR - timedelta(microseconds=1))
    assert not view().is_online(AT + ONLINE_FOR)
    assert not view(last_frame_at=None).is_online(AT)

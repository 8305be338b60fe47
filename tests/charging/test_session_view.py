"""A session as its driver sees it: the prices that are shown, and whether its station is online."""

from datetime import datetime, timedelta
from typing import Any

import orjson
import pytest

from evpower.charging import session_status
from evpower.charging.session_view import flat_status
from evpower.stations import ONLINE_FOR
from evpower.tariffs import Snapshot, Tally, write_snapshot, write_tally
from evpower.tariffs.model import VolumeKey
from tests.charging.place import ChargingPlace
from tests.charging.views import AT, view
from tests.tariffs.examples import tariff

FAST: dict[str, Any] = {"energy_per_kwh": "20", "if": {"from_kw": "50"}}
ENDED: dict[str, Any] = {"ended_at": AT, "state": "settled", "status": "stopped"}
STRONG: dict[str, Any] = {"energy_per_kwh": "17", "if": {"from_a": "100"}}


def snapshot(*elements: dict[str, Any]) -> str:
    stored = Snapshot("bands", 1, tariff(*elements, {"energy_per_kwh": "13.5"}))
    return orjson.dumps(write_snapshot(stored)).decode()


def billed_by(element: int, until: datetime = AT) -> str:
    """The tally of a session whose energy was billed by an element."""
    started_s = int(view().created_at.timestamp())
    key: VolumeKey = ("energy", element)
    tally = Tally(
        started_s, int(until.timestamp()), 3_250_000, is_started=True, volumes={key: 3_250_000},
        last={"energy": key},
    )  # fmt: skip
    return orjson.dumps(write_tally(tally)).decode()


@pytest.mark.parametrize(
    ("values", "rate"),
    [
        ({"power_w": 49_999}, 13.5),
        ({"power_w": 50_000}, 20),
        ({"power_w": None}, 20),  # unknown: no more is billed than is shown
        ({**ENDED, "power_w": 10_000}, 20),
        ({**ENDED, "power_w": 90_000, "billed_element": 2}, 13.5),
        # A power that came without energy is of no bill yet.
        ({"power_w": 10_000, "tally": billed_by(0)}, 20),
        ({"power_w": 50_000, "tally": billed_by(1)}, 13.5),
        ({"power_w": 60_000, "tally": billed_by(0)}, 20),
    ],
)
def test_a_running_session_shows_the_rate_of_its_power(values: dict[str, Any], rate: float) -> None:
    session = view(snapshot=snapshot(FAST), **values)
    assert flat_status(session, AT, "")["rate_per_kwh"] == rate


@pytest.mark.parametrize(
    ("values", "rate"),
    [
        ({"current_ma": None, "tally": billed_by(1)}, 13.5),  # the station reports none
        ({"current_ma": 100_000, "tally": billed_by(1)}, 13.5),
        ({"current_ma": 99_999, "tally": billed_by(0)}, 17),
    ],
)
def test_a_running_session_shows_the_rate_of_the_current_that_was_billed(
    values: dict[str, Any], rate: float
) -> None:
    session = view(snapshot=snapshot(STRONG), **values)
    assert flat_status(session, AT, "")["rate_per_kwh"] == rate


def test_a_price_that_begins_meanwhile_is_of_the_power_that_was_billed() -> None:
    """At 16:12 in Bishkek; it was billed at more than 50 kW, until 16:11."""
    evening = {"from": "16:12", "to": "18:00"}
    by_power = snapshot(
        {"energy_per_kwh": "5", "if": {**evening, "below_kw": "50"}},
        {"energy_per_kwh": "6", "if": evening},
        FAST,
    )
    tally = billed_by(2, until=AT - timedelta(minutes=1))
    session = view(snapshot=by_power, power_w=10_000, tally=tally)
    assert flat_status(session, AT, "")["rate_per_kwh"] == 6


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


async def test_a_session_that_ended_shows_the_rate_that_was_billed_last(
    place: ChargingPlace,
) -> None:
    """First at 60 kW, then at 6 kW, and then it does not charge any more."""
    place.later(1)
    elements = [
        {"prices": {"energy_per_kwh": "20"}, "if": {"from_kw": "50"}},
        {"prices": {"energy_per_kwh": "13.5"}},
    ]
    await place.price_document({"name": "by power", "elements": elements})
    session, transaction = await place.charging(await place.driver())
    for energy_wh in (5_000, 5_500, 5_500):
        place.later(5)
        await place.values(transaction, energy_wh)
    await place.stop(transaction, 5_500)
    async with place.db.connection() as connection:
        ended = await session_status(connection, session)
    assert (ended.cost_minor, ended.state) == (10_000 + 675, "settled")
    assert flat_status(ended, place.now, "")["rate_per_kwh"] == 13.5

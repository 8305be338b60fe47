"""The prices that are shown: as they apply at a moment, with tax and discount."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings

from evpower.foundation.db import Database
from evpower.tariffs import (
    Dimension,
    Place,
    Pricer,
    RateCard,
    Rates,
    Tally,
    Tariff,
    assign,
    find_tariff,
    find_tariffs,
    highest,
    save,
)
from evpower.tariffs.model import Conditions, MeteredPeriod
from tests.tariffs import strategies
from tests.tariffs.examples import START, document, tariff

ALWAYS = Conditions()


def test_each_price_in_the_unit_apps_show() -> None:
    card = RateCard(
        tariff(
            {
                "energy_per_kwh": "13.5",
                "time_per_hour": "30",
                "parking_per_hour": "120",
                "flat": "5",
            }
        )
    )
    rates = card.at(START)
    assert (rates.per_kwh, rates.per_minute, rates.parking_per_minute) == (13.5, 0.5, 2.0)
    assert (rates.session_fee, rates.currency, rates.next_change_at) == (5.0, "KGS", None)


def test_what_has_no_price_costs_nothing() -> None:
    rates = RateCard(tariff({"energy_per_kwh": "13.5"})).at(START)
    assert (rates.per_minute, rates.parking_per_minute, rates.session_fee) == (0, 0, 0)


def test_the_price_follows_the_clock_of_the_tariff() -> None:
    night: dict[str, Any] = {"energy_per_kwh": "9", "if": {"from": "22:00", "to": "06:00"}}
    card = RateCard(tariff(night, {"energy_per_kwh": "13.5"}))
    by_day = card.at(START)  # 10:00 in Bishkek
    assert (by_day.per_kwh, by_day.next_change_at) == (13.5, START + timedelta(hours=12))
    assert card.at(START + timedelta(hours=12)).per_kwh == 9


def test_a_price_by_energy_is_the_one_of_the_session_so_far() -> None:
    first: dict[str, Any] = {"energy_per_kwh": "10", "if": {"below_kwh": "5"}}
    card = RateCard(tariff(first, {"energy_per_kwh": "15"}))
    assert card.at(START).per_kwh == 10
    assert card.at(START, started_at=START, energy_wh=5_000).per_kwh == 15


def test_a_price_ahead_is_the_highest_that_a_session_may_come_to() -> None:
    cheap_first: dict[str, Any] = {"energy_per_kwh": "10", "if": {"below_kwh": "5"}}
    slow: dict[str, Any] = {"energy_per_kwh": "12", "if": {"below_kw": "50"}}
    at_first: dict[str, Any] = {"time_per_hour": "0", "if": {"below_elapsed_s": 600}}
    card = RateCard(
        tariff(cheap_first, at_first, slow, {"energy_per_kwh": "15", "time_per_hour": "60"})
    )
    ahead = card.ahead(START)
    assert (ahead.per_kwh, ahead.per_minute, ahead.next_change_at) == (15, 1, None)
    begun = card.at(START)
    assert (begun.per_kwh, begun.per_minute) == (10, 0)
    assert card.at(START, energy_wh=6_000).per_kwh == 15  # its power is unknown
    assert card.at(START, energy_wh=6_000, power_w=49_000).per_kwh == 12


def test_a_price_that_never_applies_is_not_shown() -> None:
    hidden: dict[str, Any] = {"energy_per_kwh": "90", "if": {"from_kwh": 6, "from_kw": 50}}
    first: dict[str, Any] = {"energy_per_kwh": "10", "if": {"below_kwh": 5}}
    after: dict[str, Any] = {"energy_per_kwh": "15", "if": {"from_kwh": 5}}
    assert RateCard(tariff(first, after, hidden)).ahead(START).per_kwh == 15
    assert RateCard(tariff(first, hidden, after)).ahead(START).per_kwh == 90


def test_the_highest_price_of_a_time_counts_what_begins_in_it() -> None:
    evening: dict[str, Any] = {"energy_per_kwh": "20", "if": {"from": "10:10", "to": "10:20"}}
    card = RateCard(tariff(evening, {"energy_per_kwh": "13.5", "flat": "5"}))  # it is 10:00
    prices = [
        card.ahead_until(START, START + timedelta(minutes=minutes)).per_kwh
        for minutes in (0, 10, 11, 60)
    ]
    assert prices == [13.5, 13.5, 20, 20]
    assert card.ahead(START + timedelta(minutes=20)).per_kwh == 13.5


def test_the_highest_of_some_prices_is_that_of_each_kind() -> None:
    night: dict[str, Any] = {"energy_per_kwh": "9", "if": {"from": "22:00", "to": "06:00"}}
    cards = [
        RateCard(tariff({"energy_per_kwh": "13.5", "time_per_hour": "30"})),
        RateCard(tariff({"flat": "5", "parking_per_hour": "60"})),
        RateCard(tariff(night, {"energy_per_kwh": "11"})),
    ]
    shown = highest(card.ahead(START) for card in cards)
    assert shown is not None
    assert (shown.per_kwh, shown.per_minute, shown.parking_per_minute) == (13.5, 0.5, 1)
    assert (shown.session_fee, shown.currency) == (5, "KGS")
    assert shown.next_change_at == START + timedelta(hours=12)
    assert highest([]) is None


@settings(max_examples=30)
@given(strategies.tariffs(), strategies.periods())
def test_no_price_of_a_session_is_above_the_one_that_is_shown(
    drawn: Tariff, periods: list[MeteredPeriod]
) -> None:
    card = RateCard(drawn)
    pricer = Pricer(drawn)
    tally = Tally(started_s=periods[0].start_s)
    _, priced = pricer.advance(tally, periods)
    for period in priced:
        shown = card.ahead(datetime.fromtimestamp(period.start_s, UTC))
        for dimension, index in period.elements:
            element = replace(drawn, elements=(replace(drawn.elements[index], conditions=ALWAYS),))
            billed = RateCard(element).at(START)
            assert shown_price(shown, dimension) >= shown_price(billed, dimension)


def shown_price(rates: Rates, dimension: Dimension) -> float:
    names = {
        "energy": "per_kwh",
        "time": "per_minute",
        "parking": "parking_per_minute",
        "flat": "session_fee",
    }
    return getattr(rates, names[dimension])


def test_tax_is_added_and_a_discount_taken_off() -> None:
    taxed = tariff(
        {"energy_per_kwh": "10"}, prices_include_tax=False, taxes=[{"name": "VAT", "percent": "12"}]
    )
    assert RateCard(taxed).at(START).per_kwh == 11.2


async def test_many_places_have_the_tariffs_that_each_alone_has(db: Database) -> None:
    now = START
    async with db.transaction() as connection:
        for code, price in (("city", "13.5"), ("mall", "15"), ("fast", "20")):
            await save(
                connection, plan=code, document=document({"energy_per_kwh": price}), valid_from=now,
                now=now, actor="aida",
            )  # fmt: skip
        for scope, scope_id, plan in (
            ("location", "mall", "mall"), ("connector", "A/2", "fast"), ("station", "B", "city"),
        ):  # fmt: skip
            await assign(
                connection, scope=scope, scope_id=scope_id, plan=plan, valid_from=now, now=now,
                actor="aida",
            )  # fmt: skip
        places = [
            Place("A/1", "A", "mall"), Place("A/2", "A", "mall"), Place("B/1", "B", "mall"),
            Place("C/1", "C", "yard"), Place(),
        ]  # fmt: skip
        together = await find_tariffs(connection, places, now)
        apart = [await find_tariff(connection, place, now) for place in places]
    assert together == apart
    assert [each and each.plan for each in together] == ["mall", "fast", "city", None, None]


@pytest.mark.parametrize("places", [[], [Place()]])
async def test_none_are_found_for_none(db: Database, places: list[Place]) -> None:
    async with db.connection() as connection:
        assert await find_tariffs(connection, places, START) == [None] * len(places)

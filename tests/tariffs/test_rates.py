"""The prices that are shown: as they apply at a moment, with tax and discount."""

from datetime import timedelta
from typing import Any

import pytest

from evpower.foundation.db import Database
from evpower.tariffs import Place, RateCard, assign, find_tariff, find_tariffs, save
from tests.tariffs.examples import START, document, tariff


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

"""A tariff as the rules of an older backend: its readers never see less than is billed."""

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from operator import attrgetter
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evpower.sync.outbound.old_rules import rules
from evpower.tariffs import RateCard, Rates, Snapshot, Tariff, prices_by_time
from tests.tariffs import strategies
from tests.tariffs.examples import tariff

FIRST_DAY = datetime(2026, 1, 1, 12, tzinfo=UTC)
NIGHT = {"from": "23:00", "to": "07:00"}


def rules_of(priced: Tariff, now: datetime = FIRST_DAY, *, most: int = 200) -> list[dict[str, Any]]:
    """The columns of a tariff's rules, by priority."""
    written = rules(Snapshot("day", 3, priced), str(uuid4()), now, most=most)
    assert len(written) <= most
    columns = [rule["always"] for rule in written]
    assert len({rule["match"]["id"] for rule in written}) == len(written)
    assert columns == sorted(columns, key=lambda rule: rule["priority"], reverse=True)
    return columns


def matches(rule: dict[str, Any], local: datetime) -> bool:
    """Whether the older backend and the phones take a rule at a local time."""
    day, second = local.date().isoformat(), local.strftime("%H:%M:%S")
    begins, ends = rule["time_start"], rule["time_end"]
    if begins is None:
        is_timely = True
    elif begins <= ends:
        is_timely = begins <= second <= ends
    else:
        is_timely = second >= begins or second <= ends
    return (
        is_timely
        and (rule["days_of_week"] is None or local.isoweekday() in rule["days_of_week"])
        and (rule["valid_from"] is None or rule["valid_from"] <= day)
        and (rule["valid_until"] is None or day <= rule["valid_until"])
    )


def described(priced: Tariff) -> list[tuple[object, ...]]:
    return [(rule["tariff_type"], rule["price"]) for rule in rules_of(priced)]


@pytest.mark.parametrize(
    ("elements", "expected"),
    [
        ([{"energy_per_kwh": "13.5"}], [("per_kwh", 13.5)]),
        ([{"flat": "50"}], [("session_fee", 50)]),
        ([{"time_per_hour": "60"}], [("per_minute", 1)]),
        ([{"parking_per_hour": "120"}], [("parking_fee", 2)]),
        # Charged for apart from the energy: the fee comes after the price of a kWh.
        (
            [{"flat": "5"}, {"energy_per_kwh": "13.5"}, {"parking_per_hour": "120"}],
            [("per_kwh", 13.5), ("session_fee", 5), ("parking_fee", 2)],
        ),
        # The energy is free, the time is not.
        ([{"energy_per_kwh": "0", "time_per_hour": "60"}], [("per_minute", 1)]),
        ([{"energy_per_kwh": "0", "flat": "0"}], [("per_kwh", 0)]),
        ([{"flat": "0"}], [("session_fee", 0)]),
    ],
)
def test_a_rule_is_of_what_is_charged_for(
    elements: list[dict[str, Any]], expected: list[tuple[str, float]]
) -> None:
    assert described(tariff(*elements)) == expected


def test_a_rule_has_the_first_matching_price_of_each_kind() -> None:
    priced = tariff(
        {"energy_per_kwh": "9.5", "if": NIGHT},
        {"time_per_hour": "30", "if": {"days": [6, 7]}},
        {"energy_per_kwh": "13.5", "time_per_hour": "60", "flat": "5"},
    )
    [first, *_] = rules_of(priced)
    assert first["price_per_minute"] == 1
    saturday_night = datetime(2026, 1, 10, 23, 30)  # noqa: DTZ001 - the phone's clock
    rule = next(rule for rule in rules_of(priced) if matches(rule, saturday_night))
    assert (rule["price"], rule["price_per_minute"], rule["session_fee"]) == (9.5, 0.5, 5)


def test_a_price_by_what_the_table_does_not_know_is_the_highest() -> None:
    priced = tariff(
        {"energy_per_kwh": "10", "if": {"below_kwh": 5}},
        {"energy_per_kwh": "12", "if": {"below_kw": 50}},
        {"energy_per_kwh": "20", "if": {"from_elapsed_s": 3600}},
        {"energy_per_kwh": "15"},
    )
    [rule] = rules_of(priced)
    assert (rule["tariff_type"], rule["price"], rule["time_start"]) == ("per_kwh", 20, None)
    assert "power_range_min" not in rule


def test_a_reader_that_knows_no_condition_sees_the_highest_price() -> None:
    priced = tariff({"energy_per_kwh": "9.5", "if": NIGHT}, {"energy_per_kwh": "13.5"})
    day, night, last = rules_of(priced)
    assert (day["price"], day["time_start"], day["time_end"]) == (13.5, "07:00:00", "22:59:59")
    assert (night["price"], night["time_start"], night["time_end"]) == (9.5, "23:00:00", "06:59:59")
    assert (last["price"], last["time_start"], last["days_of_week"]) == (13.5, None, None)


def test_dates_are_the_days_that_have_the_price() -> None:
    feast = {"energy_per_kwh": "5", "if": {"from_date": "2026-03-21", "to_date": "2026-03-23"}}
    columns = rules_of(tariff(feast, {"energy_per_kwh": "13.5"}))
    assert [(rule["price"], rule["valid_from"], rule["valid_until"]) for rule in columns] == [
        (13.5, None, "2026-03-20"),
        (13.5, "2026-03-23", None),
        (5, "2026-03-21", "2026-03-22"),
        (13.5, None, None),
    ]


def feasts(number: int, hours: int) -> Tariff:
    """A price for each of some days, and a price of time for each of some hours."""
    first = date(2026, 1, 1)
    return tariff(
        *(
            {"energy_per_kwh": str(30 + day), "if": {
                "from_date": (first + timedelta(days=7 * day)).isoformat(),
                "to_date": (first + timedelta(days=7 * day + 1)).isoformat(),
            }} for day in range(number)
        ),
        *(
            {"time_per_hour": str(60 * hour), "if": {"from": f"{hour:02}:00", "to": "23:59"}}
            for hour in range(hours, 0, -1)
        ),
        {"energy_per_kwh": "13.5"},
    )  # fmt: skip


CONDITIONS = ("time_start", "time_end", "days_of_week", "valid_from", "valid_until")


def test_what_has_too_many_times_is_one_rule_of_the_highest_price() -> None:
    assert len(rules_of(feasts(32, 2))) == 200
    columns = rules_of(feasts(32, 2), most=4)
    assert [(rule["tariff_type"], rule["price"]) for rule in columns] == [
        ("per_kwh", 61), ("per_minute", 2),
    ]  # fmt: skip
    assert columns[0]["price_per_minute"] == 2
    assert {rule[name] for rule in columns for name in CONDITIONS} == {None}


def test_rules_of_other_prices_alone_take_none_from_the_price_that_counts_most() -> None:
    """By day and hour the energy takes 196 rules, and the time alone five."""
    *main, last = rules_of(feasts(24, 3))
    assert {rule["tariff_type"] for rule in main} == {"per_kwh"}
    assert {rule["price"] for rule in main} == {13.5, *range(30, 54)}
    assert {rule["price_per_minute"] for rule in main} == {0, 1, 2, 3}
    assert (last["tariff_type"], last["price"]) == ("per_minute", 3)
    assert {last[name] for name in CONDITIONS} == {None}


def test_prices_beside_the_one_that_counts_most_take_no_rule_from_it() -> None:
    """By day and hour the energy takes 201 rules, by day alone 68."""
    columns = rules_of(feasts(33, 2))
    main = [rule for rule in columns if rule["tariff_type"] == "per_kwh"]
    assert (len(main), len(columns)) == (68, 72)
    assert {rule["price"] for rule in main} == {13.5, *range(30, 63)}
    assert {rule["price_per_minute"] for rule in main} == {2}


def test_dates_that_are_over_take_no_rule_from_those_to_come() -> None:
    """Of 90 feasts, each on a Thursday, the last is on 16 September 2027."""
    yearly = feasts(90, 0)
    first = rules_of(yearly, FIRST_DAY, most=90)
    assert [(rule["price"], rule["valid_from"]) for rule in first] == [(119, None)]
    last_feast = FIRST_DAY + timedelta(days=7 * 89)
    day_before, day, day_after, over = (
        rules_of(yearly, last_feast + timedelta(days=days), most=90) for days in (-8, 0, 1, 2)
    )
    assert [rule["price"] for rule in day_before] == [119, 118, 13.5, 13.5, 13.5, 119]
    feast, before, after, any_time = day
    assert (feast["price"], feast["valid_from"], feast["valid_until"]) == (
        119, "2027-09-16", "2027-09-16",
    )  # fmt: skip
    assert [rule["price"] for rule in (before, after, any_time)] == [13.5, 13.5, 119]
    assert [rule["price"] for rule in day_after] == [119, 13.5, 119]
    assert [rule["price"] for rule in over] == [13.5]


def test_rules_that_fit_do_not_change_because_a_date_is_over() -> None:
    plan, snapshot = str(uuid4()), Snapshot("day", 3, feasts(20, 2))
    later = FIRST_DAY + timedelta(days=60)
    assert rules(snapshot, plan, later) == rules(snapshot, plan, FIRST_DAY)


def whole(rates: Rates) -> Rates:
    return rates


@pytest.mark.parametrize(("of", "count"), [(attrgetter("per_minute"), 3), (whole, 21)])
def test_times_are_counted_until_there_are_too_many(
    of: Callable[[Rates], object], count: int
) -> None:
    card = RateCard(feasts(3, 2))
    entries = prices_by_time(card, of, most=count)
    assert entries is not None
    assert len(entries) == count
    assert prices_by_time(card, of, most=count - 1) is None


@settings(max_examples=15)
@given(strategies.tariffs(), st.sampled_from((4, 9, 200)), st.data())
def test_no_reader_sees_less_than_is_billed(drawn: Tariff, most: int, data: st.DataObject) -> None:
    card = RateCard(drawn)
    zone = ZoneInfo(drawn.time_zone)
    for _ in range(4):
        began = data.draw(st.sampled_from(strategies.STARTS))
        at = began + timedelta(seconds=data.draw(st.integers(0, 9 * 86_400)))
        columns = rules_of(drawn, at, most=most)
        billed = card.at(
            at,
            started_at=at - timedelta(seconds=data.draw(st.integers(0, 5_000))),
            energy_wh=data.draw(st.integers(0, 40_000)),
            power_w=data.draw(st.integers(0, 70_000)),
        )
        matching = [rule for rule in columns if matches(rule, at.astimezone(zone))]
        kinds: Sequence[tuple[str, str, float]] = (
            ("per_kwh", "price", billed.per_kwh),
            ("per_minute", "price_per_minute", billed.per_minute),
            ("session_fee", "session_fee", billed.session_fee),
            ("parking_fee", "parking_fee_per_minute", billed.parking_per_minute),
        )
        for kind, column, price in kinds:
            if price:
                first = matching[0]
                shown = first["price" if first["tariff_type"] == kind else column]
                assert shown >= price
                # So does a reader that takes the first rule of each kind.
                of_kind = [rule for rule in matching if rule["tariff_type"] == kind]
                assert of_kind[0]["price"] >= price

"""A tariff as the rules of an older backend's table `tariff_rules`.

Readers take the active rule of the highest priority whose conditions hold, and its price alone, or
with the columns beside it. So a rule has all prices of its times, dearest first, and none that is
below what may be billed then: the table has no condition on energy, current or a session's time,
and readers do not agree on power. A last rule without conditions has the highest of each price, for
readers that match none of the others.

Where the times would need too many rules, dates that are over are left out, and what still has too
many times is shown at its highest price. Fewer rules never change because a date passes.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date, datetime
from typing import Any, Final, NamedTuple
from uuid import UUID, uuid5
from zoneinfo import ZoneInfo

from evpower.sync.outbound.old_row import Write
from evpower.tariffs import (
    Conditions,
    Dimension,
    RateCard,
    Rates,
    Snapshot,
    Tariff,
    from_date,
    highest,
    only,
    prices_by_time,
)

_DAY_S: Final = 86_400
_HIGHEST_PRIORITY: Final = 1000
_MAX_RULES: Final = 200  # of a version


class _Kind(NamedTuple):
    name: str  # a tariff_type
    dimension: Dimension
    member: str  # of Rates


_KINDS: Final = (
    _Kind("per_kwh", "energy", "per_kwh"),
    _Kind("per_minute", "time", "per_minute"),
    _Kind("session_fee", "flat", "session_fee"),
    _Kind("parking_fee", "parking", "parking_per_minute"),
)


def rules(snapshot: Snapshot, plan: str, now: datetime, *, most: int = _MAX_RULES) -> list[Write]:
    """Returns the rules of a version, `most` of them: those of the times to come, at least.

    The first are of the kind of price that counts most, with the other prices beside it; then come
    those of each other kind, for a table that has no columns for them.
    """
    written = _written(snapshot.tariff, most)
    if not written.are_all:
        # At a reader in another zone it may still be yesterday.
        yesterday = now.astimezone(ZoneInfo(snapshot.tariff.time_zone)).toordinal() - 1
        written = _written(from_date(snapshot.tariff, yesterday), most)
    return [_numbered(snapshot, plan, number, rule) for number, rule in enumerate(written.rules)]


class _Written(NamedTuple):
    rules: list[dict[str, Any]]
    are_all: bool  # else some prices are shown at any time, at their highest


def _written(tariff: Tariff, most: int) -> _Written:
    priced = {name for element in tariff.elements for name, _ in element.prices}
    kinds = [kind for kind in _KINDS if kind.dimension in priced]
    if not kinds:
        return _Written([], are_all=True)
    highest_ever = RateCard(tariff).highest()
    main, *others = _charged(kinds, highest_ever)
    left = most - len(others)  # each of them has one rule, at least

    def beside_the_highest(rates: Rates) -> Rates:
        return replace(highest_ever, **{main.member: _price(rates, main)})

    are_all = True
    written = _by_time(tariff, main, _as_they_are, left, with_others=True)
    if written is None:
        are_all = False
        of_main = only(tariff, main.dimension)
        written = _by_time(of_main, main, beside_the_highest, left, with_others=True)
    if written is None:
        written = [_rule(main, Conditions(), highest_ever, with_others=True)]
    for number, kind in enumerate(others, 1):
        left = most - len(written) - len(others[number:])
        of_kind = _by_time(only(tariff, kind.dimension), kind, _as_they_are, left)
        if of_kind is None:
            of_kind, are_all = [_rule(kind, Conditions(), highest_ever)], False
        written += of_kind
    return _Written(written, are_all)


def _by_time(
    tariff: Tariff,
    kind: _Kind,
    of: Callable[[Rates], Rates],
    most: int,
    *,
    with_others: bool = False,
) -> list[dict[str, Any]] | None:
    """Returns a kind's rules of each time with its prices, `of` the rates; None: too many."""
    prices = prices_by_time(RateCard(tariff), of, most=most)
    if prices is None:
        return None
    written = [
        _rule(kind, conditions, rates, with_others=with_others)
        for conditions, rates in _dearest_first(prices, kind)
    ]
    return written if len(written) <= most else None


def _as_they_are(rates: Rates) -> Rates:
    return rates


def _charged(kinds: Sequence[_Kind], highest_ever: Rates) -> Sequence[_Kind]:
    """Returns the kinds that ever cost; where none does, the first of them."""
    return [kind for kind in kinds if _price(highest_ever, kind)] or kinds[:1]


def _price(rates: Rates, kind: _Kind) -> float:
    return getattr(rates, kind.member)


def _dearest_first(
    prices: Sequence[tuple[Conditions, Rates]], kind: _Kind
) -> list[tuple[Conditions, Rates]]:
    """Returns prices by their height, then the highest of all without a condition."""
    order = (kind, *_KINDS)
    by_price = sorted(
        prices, key=lambda entry: [_price(entry[1], each) for each in order], reverse=True
    )
    most = highest(rates for _, rates in prices)
    return by_price if len(prices) == 1 or most is None else [*by_price, (Conditions(), most)]


def _rule(
    kind: _Kind, conditions: Conditions, rates: Rates, *, with_others: bool = False
) -> dict[str, Any]:
    clock = conditions.clock
    others: dict[str, Any] = {}
    if with_others:
        others = {
            "price_per_minute": rates.per_minute,
            "session_fee": rates.session_fee,
            "parking_fee_per_minute": rates.parking_per_minute,
        }
    return {
        "tariff_type": kind.name,
        "connector_type": "ALL",
        "price": _price(rates, kind),
        **others,
        "time_start": None if clock is None else _clock(clock.lower),
        # The last second that belongs to it: the older backend's end is part of the time.
        "time_end": None if clock is None else _clock((clock.upper - 1) % _DAY_S),
        "days_of_week": sorted(conditions.days) or None,
        "is_weekend": None,  # else a default of the column may be a condition
        "valid_from": _day(conditions.dates.lower),
        "valid_until": _day(conditions.dates.upper, -1),
        "is_active": True,
    }


def _numbered(snapshot: Snapshot, plan: str, number: int, rule: dict[str, Any]) -> Write:
    always = rule | {
        "tariff_plan_id": plan,
        "name": f"{snapshot.tariff.name or snapshot.plan} {number + 1}",
        "currency": snapshot.tariff.currency,
        "priority": _HIGHEST_PRIORITY - number,
    }
    # Not the ids of the rules that were made of elements: those become inactive.
    rule_id = uuid5(UUID(plan), f"{snapshot.version}/rule/{number}")
    match = {"id": str(rule_id)}
    return {"table": "tariff_rules", "match": match, "always": always, "at_first": {}}


def _clock(second: int) -> str:
    return f"{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}"


def _day(ordinal: int | None, add: int = 0) -> str | None:
    return None if ordinal is None else date.fromordinal(ordinal + add).isoformat()

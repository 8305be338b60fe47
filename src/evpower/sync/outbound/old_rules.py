"""A tariff as the rules of an older backend's table `tariff_rules`.

Readers take the active rule of the highest priority whose conditions hold, and its price alone, or
with the columns beside it. So a rule has all prices of its times, dearest first, and none that is
below what may be billed then: the table has no condition on energy, current or a session's time,
and readers do not agree on power. A last rule without conditions has the highest of each price, for
readers that match none of the others. It is the only one where the times would need too many.
"""

from collections.abc import Sequence
from datetime import date
from typing import Any, Final, NamedTuple
from uuid import UUID, uuid5

from evpower.sync.outbound.old_row import Write
from evpower.tariffs import (
    Conditions,
    Dimension,
    RateCard,
    Rates,
    Snapshot,
    highest,
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


def rules(snapshot: Snapshot, plan: str) -> list[Write]:
    """Returns the rules of a version.

    The first are of the kind of price that counts most, with the other prices beside it; then come
    those of each other kind, for a table that has no columns for them.
    """
    card = RateCard(snapshot.tariff)
    priced = {name for element in snapshot.tariff.elements for name, _ in element.prices}
    kinds = [kind for kind in _KINDS if kind.dimension in priced]
    if not kinds:
        return []
    written = _by_time(card, kinds) or _at_any_time(card, kinds)
    return [_numbered(snapshot, plan, number, rule) for number, rule in enumerate(written)]


def _by_time(card: RateCard, kinds: Sequence[_Kind]) -> list[dict[str, Any]] | None:
    """Returns the rules of each price's times; None: they are too many."""
    whole = prices_by_time(card, lambda rates: rates, most=_MAX_RULES)
    if whole is None:
        return None
    main, *others = _charged(kinds, [rates for _, rates in whole])
    written = [
        _rule(main, conditions, _price(rates, main), _beside(rates))
        for conditions, rates in _dearest_first(whole, main)
    ]
    for kind in others:
        prices = prices_by_time(card, lambda rates, kind=kind: _only(rates, kind), most=_MAX_RULES)
        if prices is None:
            return None
        written += [
            _rule(kind, conditions, _price(rates, kind), {})
            for conditions, rates in _dearest_first(prices, kind)
        ]
    return written if len(written) <= _MAX_RULES else None


def _at_any_time(card: RateCard, kinds: Sequence[_Kind]) -> list[dict[str, Any]]:
    """Returns one rule of each kind, without conditions: the highest price of all times."""
    most = card.highest()
    main, *others = _charged(kinds, [most])
    written = [_rule(main, Conditions(), _price(most, main), _beside(most))]
    return written + [_rule(kind, Conditions(), _price(most, kind), {}) for kind in others]


def _charged(kinds: Sequence[_Kind], prices: Sequence[Rates]) -> Sequence[_Kind]:
    """Returns the kinds that ever cost; where none does, the first of them."""
    return [kind for kind in kinds if any(_price(rates, kind) for rates in prices)] or kinds[:1]


def _price(rates: Rates, kind: _Kind) -> float:
    return getattr(rates, kind.member)


def _only(rates: Rates, kind: _Kind) -> Rates:
    """Returns the price of one kind; the others are 0."""
    nothing = dict.fromkeys((other.member for other in _KINDS), 0.0)
    price = {kind.member: _price(rates, kind)}
    return Rates(**(nothing | price), currency=rates.currency, next_change_at=None)


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


def _beside(rates: Rates) -> dict[str, Any]:
    return {
        "price_per_minute": rates.per_minute,
        "session_fee": rates.session_fee,
        "parking_fee_per_minute": rates.parking_per_minute,
    }


def _rule(
    kind: _Kind, conditions: Conditions, price: float, beside: dict[str, Any]
) -> dict[str, Any]:
    clock = conditions.clock
    return {
        "tariff_type": kind.name,
        "connector_type": "ALL",
        "price": price,
        **beside,
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

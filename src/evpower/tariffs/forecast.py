"""When a running session has cost so much, and what it costs at each moment until then.

The limits of every running session are searched with each of its meter values. Where no price
changes on the way, which is nearly always, the cost is a sum of a few products; else the price
function itself is asked. Both give the same figures.
"""

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, lru_cache
from math import gcd
from typing import Final, NamedTuple, TypeAlias

from evpower.foundation.money import EXPONENTS
from evpower.tariffs.coverage import dearest_first
from evpower.tariffs.document import scale
from evpower.tariffs.matching import Elements
from evpower.tariffs.model import (
    FLAT,
    MWH_PER_WH,
    PPM,
    Dimension,
    MeteredPeriod,
    RoundedGroup,
    Tally,
    UseKind,
    VolumeKey,
)
from evpower.tariffs.pricing import ONCE, PER_MWH, PER_S, UNIT, Pricer, half_up

_HOUR_S: Final = 3_600
_GUESSES: Final = 8
FlowingUse: TypeAlias = tuple[int, UseKind]  # a power from now on, and what it is
_TIME_OF: Final[dict[UseKind, Dimension]] = {"charging": "time", "parked": "parking"}


class _Growth(NamedTuple):
    """The price of the dimension that grows, and what is rounded up with it."""

    surplus: int  # what is rounded up so far, priced, of the price that was used last
    used: int  # of the dimension
    step: int  # of the price at which it grows; 0: it has none
    weight: int  # that price, of one more

    def added(self, more: int) -> int:
        """Returns what some more of it adds; it ends what was rounded up at another price."""
        if more == 0 or self.step == 0:
            return self.surplus
        return self.weight * (more + -(self.used + more) % self.step)


class Forecast:
    """Costs of one tariff. It keeps nothing of a session."""

    def __init__(self, pricer: Pricer) -> None:
        self._pricer = pricer

    def total_minor(self, tally: Tally) -> int:
        """Returns what a tally costs, as `Pricer.cost` does."""
        amount = parking = 0
        for key, volume in tally.volumes.items():
            if key[0] == "parking":
                parking += self._weights[key] * volume
            else:
                amount += self._weights[key] * (1 if key[0] in FLAT else volume)
        for group, last in tally.last.items():
            if last[0] == "parking":
                parking += self._surplus(tally, group)
            else:
                amount += self._surplus(tally, group)
        return self._billed(tally, amount, parking)

    def seconds_until(
        self, tally: Tally, total_minor: int, uses: Sequence[FlowingUse], *, most_s: int
    ) -> list[int | None]:
        """Returns after how many seconds a session has cost so much, for each use that may follow.

        None: not within `most_s`. A cost never falls while a session goes on.
        """
        left_mwh: dict[VolumeKey, int] = {}
        seconds: list[int | None] = []
        for power_w, kind in uses:
            second = None
            if kind == "charging" and power_w > 0 and self._is_unlimited:
                second = self._by_energy(tally, total_minor, power_w, most_s, left_mwh)
            if second is None:
                second = self._search(tally, total_minor, max(power_w, 0), kind, most_s)
            seconds.append(second)
        return seconds

    def _search(
        self, tally: Tally, total_minor: int, power_w: int, kind: UseKind, most_s: int
    ) -> int | None:
        """Returns the second where prices of any kind, which may change, have added up."""
        straight_s, cost_at = self._straight(tally, power_w, kind)
        straight_s = min(straight_s, most_s)
        if straight_s >= 0 and (reached_minor := cost_at(straight_s)) >= total_minor:
            return _first(cost_at, total_minor, straight_s, reached_minor)
        at_s = tally.started_s if tally.at_s is None else tally.at_s

        def is_reached(seconds: int) -> bool:
            used_mwh = power_w * seconds * MWH_PER_WH // _HOUR_S
            period = MeteredPeriod(at_s, seconds, used_mwh, kind, power_w)
            return self.total_minor(self._pricer.advance(tally, [period])[0]) >= total_minor

        later = range(straight_s + 1, most_s + 1)
        place = bisect_left(later, True, key=is_reached)
        return later[place] if place < len(later) else None

    def _by_energy(
        self,
        tally: Tally,
        total_minor: int,
        power_w: int,
        most_s: int,
        left_mwh: dict[VolumeKey, int],
    ) -> int | None:
        """Returns the second where nothing but energy costs, at one price; None: look closer.

        `left_mwh`: how much may flow at each price, as far as it was asked for.
        """
        if not tally.is_started or tally.at_s is None:
            return None
        elements, until_s, until_mwh = self._pricer.matcher.match(
            tally.at_s, tally.started_s, tally.energy_mwh, power_w, None, is_timed=True
        )
        key = _energy_alone(elements)
        if key is None or not self._weights[key]:
            return None
        more_mwh = left_mwh.get(key)
        if more_mwh is None:
            more_mwh = left_mwh[key] = self._left_mwh(tally, total_minor, key)
        second = -(-more_mwh * _HOUR_S // (power_w * MWH_PER_WH))
        flown_mwh = power_w * second * MWH_PER_WH // _HOUR_S
        is_straight = tally.at_s + second <= until_s and tally.energy_mwh + flown_mwh <= until_mwh
        return second if 0 < second <= most_s and is_straight else None

    def _left_mwh(self, tally: Tally, total_minor: int, key: VolumeKey) -> int:
        """Returns how much has to flow at a price until a session costs so much."""
        missing, used = total_minor * self._minor - self._minor // 2, 0
        for volume_key, volume in tally.volumes.items():
            dimension = volume_key[0]
            missing -= self._weights[volume_key] * (1 if dimension in FLAT else volume)
            used += volume if dimension == "energy" else 0
        for group in tally.last:
            missing -= self._surplus(tally, group) if group != "energy" else 0
        # It is billed in whole steps, and the last of them is begun by its first thousandth.
        step = self._steps[key]
        return (-(-(used - -missing // self._weights[key]) // step) - 1) * step + 1 - used

    def _straight(
        self, tally: Tally, power_w: int, kind: UseKind
    ) -> tuple[int, Callable[[int], int]]:
        """Returns for how long no price changes (-1: it is not known), and the cost until then."""
        if not tally.is_started or tally.at_s is None or kind not in _TIME_OF:
            return -1, lambda _: 0
        match = self._pricer.matcher.match(
            tally.at_s, tally.started_s, tally.energy_mwh, power_w, None, is_timed=True
        )
        until_s = match.until_s - tally.at_s
        if power_w:
            left_mwh = match.until_mwh - tally.energy_mwh
            until_s = min(until_s, left_mwh * _HOUR_S // (power_w * MWH_PER_WH))
        chosen = _as_dict(match.elements)
        graced_s = self._pricer.grace_s - tally.parked_s
        if kind == "parked" and graced_s > 0:
            until_s = min(until_s, graced_s)
        is_unbilled = kind == "parked" and (graced_s > 0 or not self._pricer.tariff.bills_parking)
        parking = amount = used_mwh = used_s = 0
        growing = _TIME_OF[kind]
        for key, volume in tally.volumes.items():
            dimension = key[0]
            if dimension == "parking":
                parking += self._weights[key] * volume
            else:
                amount += self._weights[key] * (1 if dimension in FLAT else volume)
            used_mwh += volume if dimension == "energy" else 0
            used_s += volume if dimension == growing else 0
        energy = self._growth(tally, "energy", ("energy", chosen.get("energy")), used_mwh)
        index = None if is_unbilled else chosen.get(growing)
        time = self._growth(tally, "time", (growing, index), used_s)
        amount += self._surplus(tally, "reservation") if "reservation" in tally.last else 0
        last = tally.last.get("time", ("time", 0))[0]

        def cost_at(seconds: int) -> int:
            more_mwh = power_w * seconds * MWH_PER_WH // _HOUR_S
            grown = time.added(seconds)
            is_parking = (growing if seconds and time.step else last) == "parking"
            rest = amount + energy.added(more_mwh) + (0 if is_parking else grown)
            return self._billed(tally, rest, parking + (grown if is_parking else 0))

        return until_s, cost_at

    def _growth(
        self, tally: Tally, group: RoundedGroup, priced_by: tuple[Dimension, int | None], used: int
    ) -> _Growth:
        """Returns how a dimension grows; the element that prices it is None: none does."""
        surplus = self._surplus(tally, group) if group in tally.last else 0
        dimension, index = priced_by
        if index is None:
            return _Growth(surplus, used, 0, 0)
        key = (dimension, index)
        return _Growth(surplus, used, self._steps[key], self._weights[key])

    def _surplus(self, tally: Tally, group: RoundedGroup) -> int:
        last = tally.last[group]
        dimension, step, used = last[0], self._steps[last], 0
        if step == 1:
            return 0
        for key, volume in tally.volumes.items():
            if key[0] == dimension:
                used += volume
        return self._weights[last] * (-used % step)

    def _billed(self, tally: Tally, amount: int, parking: int) -> int:
        """Rounds what a session costs, and holds it to the limits of parking and of the whole."""
        tariff, minor = self._pricer.tariff, self._minor
        if tariff.parking_maximum is not None:
            parking = min(parking, tariff.parking_maximum.total_minor * minor)
        total_minor = half_up(amount + parking, minor)
        if tariff.minimum is not None and tally.is_started:
            total_minor = max(total_minor, tariff.minimum.total_minor)
        if tariff.maximum is not None:
            total_minor = min(total_minor, tariff.maximum.total_minor)
        return total_minor

    @cached_property
    def _is_unlimited(self) -> bool:
        """Whether nothing bounds what a session costs."""
        tariff = self._pricer.tariff
        return tariff.minimum is None and tariff.maximum is None and tariff.parking_maximum is None

    @cached_property
    def _minor(self) -> int:
        """The currency's minor unit, in the units of `_weights`."""
        return self._exact_minor // self._unit

    @cached_property
    def _weights(self) -> dict[VolumeKey, int]:
        """What one unit of a volume costs, with tax and discount, in the largest exact unit."""
        return {key: weight // self._unit for key, weight in self._exact_weights.items()}

    @cached_property
    def _unit(self) -> int:
        """What divides all weights and half a minor unit: small numbers are added faster."""
        return gcd(self._exact_minor // 2, *self._exact_weights.values())

    @cached_property
    def _exact_minor(self) -> int:
        return UNIT * PPM * PPM // scale(EXPONENTS[self._pricer.tariff.currency])

    @cached_property
    def _exact_weights(self) -> dict[VolumeKey, int]:
        tariff, discount = self._pricer.tariff, self._pricer.tariff.discount
        weights: dict[VolumeKey, int] = {}
        for key, component in self._pricer.components.items():
            with_tax = PPM if tariff.prices_include_tax else PPM + tariff.tax_ppm(component)
            off_ppm = discount.rate_ppm if discount and key[0] in discount.dimensions else 0
            per = ONCE if key[0] in FLAT else PER_MWH if key[0] == "energy" else PER_S
            weights[key] = component.price_micro * per * (PPM - off_ppm) * with_tax
        return weights

    @cached_property
    def _steps(self) -> dict[VolumeKey, int]:
        return {
            key: component.step * (MWH_PER_WH if key[0] == "energy" else 1)
            for key, component in self._pricer.components.items()
        }


@lru_cache(maxsize=256)
def forecast(pricer: Pricer) -> Forecast:
    """Returns the forecast of a price function; one for all sessions that have the same."""
    return Forecast(pricer)


@lru_cache(maxsize=256)
def foreseen(pricer: Pricer) -> Pricer:
    """Returns the price function of what is to come, which has no current yet: the dearest counts.

    The same one where no price depends on the current.
    """
    return Pricer(pricer.tariff, dearest_first) if pricer.matcher.current_edges else pricer


@lru_cache(maxsize=256)
def forecasts(pricer: Pricer) -> tuple[Forecast, ...]:
    """Returns the forecast of a price function, and that of what is foreseen if it is another."""
    return tuple(forecast(function) for function in dict.fromkeys((pricer, foreseen(pricer))))


@lru_cache(maxsize=1024)
def _as_dict(elements: Elements) -> Mapping[Dimension, int]:
    return dict(elements)


@lru_cache(maxsize=1024)
def _energy_alone(elements: Elements) -> VolumeKey | None:
    """Returns what prices energy; None: nothing, or the time costs as well."""
    chosen = _as_dict(elements)
    return None if "time" in chosen or "energy" not in chosen else ("energy", chosen["energy"])


def _first(
    cost_at: Callable[[int], int], total_minor: int, reached_s: int, reached_minor: int
) -> int:
    """Returns the first second that costs so much; `reached_s` is not before it.

    A cost is close to a line: a few guesses on it find the second, halving ends a search on a bad
    one.
    """
    low, low_minor = 0, cost_at(0)
    if low_minor >= total_minor:
        return 0
    high, high_minor = reached_s, reached_minor
    for _ in range(_GUESSES):
        if high - low == 1:
            return high
        ahead = (total_minor - low_minor) * (high - low) // max(high_minor - low_minor, 1)
        guess = min(max(low + ahead, low + 1), high - 1)
        minor = cost_at(guess)
        if minor >= total_minor:
            high, high_minor = guess, minor
        else:
            low, low_minor = guess, minor
    seconds = range(low + 1, high + 1)
    return seconds[bisect_left(seconds, True, key=lambda s: cost_at(s) >= total_minor)]

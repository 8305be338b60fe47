"""Adds what a session used to its tally, cut where prices change."""

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from evpower.tariffs.matching import FOREVER, Elements, Match, Matcher
from evpower.tariffs.model import (
    Dimension,
    MeteredPeriod,
    PricedPeriod,
    RoundedGroup,
    Tally,
    UseKind,
    VolumeKey,
)

_TIME_OF: Final[dict[UseKind, Dimension]] = {
    "charging": "time", "parked": "parking", "reserved": "reservation", "expired": "expiry",
}  # fmt: skip
_METERED: Final[dict[UseKind, frozenset[Dimension]]] = {
    "charging": frozenset({"energy", "time"}), "parked": frozenset({"energy", "parking"}),
    "reserved": frozenset({"reservation"}), "expired": frozenset({"reservation", "expiry"}),
}  # fmt: skip
_ENERGY: Final[frozenset[Dimension]] = frozenset({"energy"})
_ROUNDED_WITH: Final[dict[Dimension, RoundedGroup]] = {
    "energy": "energy", "time": "time", "parking": "time",
    "reservation": "reservation", "expiry": "reservation",
}  # fmt: skip


@dataclass(slots=True)
class _Stretch:
    """Consecutive use at the same prices."""

    kind: UseKind = "charging"
    elements: Elements = ()
    start_s: int = 0
    end_s: int = -FOREVER
    energy_mwh: int = 0
    duration_s: int = 0


@dataclass(slots=True)
class Fold:
    """Adds periods to a tally. A period within prices that are known costs a few steps."""

    matcher: Matcher
    begun: Tally
    bills_parking: bool = True
    grace_s: int = 0  # of parking
    priced: list[PricedPeriod] = field(default_factory=list[PricedPeriod])
    at_s: int = 0
    energy_mwh: int = 0
    is_started: bool = False
    parked_s: int = 0  # since the car took something; counted where there is a grace
    volumes: dict[VolumeKey, int] = field(default_factory=dict[VolumeKey, int])
    last: dict[RoundedGroup, VolumeKey] = field(default_factory=dict[RoundedGroup, VolumeKey])
    stretch: _Stretch = field(default_factory=_Stretch)
    # By kind, whether timed, bands of power and current: what applies, and how far.
    known: dict[object, Match] = field(default_factory=dict[object, Match])

    def __post_init__(self) -> None:
        begun = self.begun
        self.at_s = -FOREVER if begun.at_s is None else begun.at_s
        self.energy_mwh = begun.energy_mwh
        self.is_started = begun.is_started
        self.parked_s = begun.parked_s
        self.volumes = dict(begun.volumes)
        self.last = dict(begun.last)

    def use(self, periods: Iterable[MeteredPeriod]) -> None:
        """Adds each period, cut where prices change."""
        power_edges, current_edges = self.matcher.power_edges, self.matcher.current_edges
        needs_power = bool(power_edges or current_edges)
        grace_s = self.grace_s
        known, stretch = self.known, self.stretch
        for period in periods:
            start_s, duration_s, used_mwh, kind, power_w, current_ma, is_timed = period
            if duration_s < 0 or used_mwh < 0 or start_s < self.at_s:
                raise ValueError(f"a period that cannot be: {period}")
            key: object = (kind, is_timed)
            if needs_power:
                if power_w is None and duration_s:
                    power_w = used_mwh * 18 // (duration_s * 5)  # the average
                power_band = -1 if power_w is None else bisect_right(power_edges, power_w)
                current_band = -1 if current_ma is None else bisect_right(current_edges, current_ma)
                key = (kind, is_timed, power_band, current_band)
            end_s, end_mwh = start_s + duration_s, self.energy_mwh + used_mwh
            match = known.get(key)
            if grace_s and kind != "parked" and duration_s:
                self.parked_s = 0
            in_grace = kind == "parked" and self.parked_s < grace_s
            if (
                match is not None
                and not in_grace
                and start_s < match.until_s >= end_s
                and self.energy_mwh < match.until_mwh >= end_mwh
            ):
                if (
                    stretch.elements != match.elements
                    or stretch.end_s != start_s
                    or stretch.kind != kind
                ):
                    self._begin_stretch(kind, match.elements, start_s)
                stretch.end_s = end_s
                stretch.duration_s += duration_s
                stretch.energy_mwh += used_mwh
            elif used_mwh or duration_s or not self.is_started:
                exact = (start_s, duration_s, used_mwh, kind, power_w, current_ma, is_timed)
                self._cut(MeteredPeriod(*exact), key)
            if grace_s and kind == "parked":
                self.parked_s += duration_s
            self.at_s, self.energy_mwh = end_s, end_mwh

    def _cut(self, period: MeteredPeriod, key: object) -> None:
        at = start = (period.start_s, self.energy_mwh)
        end = (start[0] + period.duration_s, start[1] + period.energy_mwh)
        stretch = self.stretch
        graced_until_s = -FOREVER
        if period.kind == "parked" and self.parked_s < self.grace_s:
            graced_until_s = period.start_s + self.grace_s - self.parked_s
        while True:
            match = self.matcher.match(
                at[0], self.begun.started_s, at[1], period.power_w, period.current_ma,
                is_timed=period.is_timed,
            )  # fmt: skip
            in_grace = at[0] < graced_until_s
            until_s = min(match.until_s, graced_until_s) if in_grace else match.until_s
            next_at = end
            if until_s < end[0]:
                flowed = period.energy_mwh * (until_s - start[0]) // period.duration_s
                next_at = (until_s, start[1] + flowed)
            if match.until_mwh < end[1]:
                passed = period.duration_s * (match.until_mwh - start[1]) // period.energy_mwh
                next_at = min(next_at, (start[0] + passed, match.until_mwh))
            self._charge_start(period.kind, match.elements)
            metered = self._metered(period, in_grace=in_grace)
            elements = tuple(chosen for chosen in match.elements if chosen[0] in metered)
            if (stretch.kind, stretch.elements, stretch.end_s) != (period.kind, elements, at[0]):
                self._begin_stretch(period.kind, elements, at[0])
            stretch.end_s = next_at[0]
            stretch.duration_s += next_at[0] - at[0]
            stretch.energy_mwh += next_at[1] - at[1]
            if next_at == end:
                if not in_grace:
                    self.known[key] = Match(elements, match.until_s, match.until_mwh)
                return
            at = next_at

    def _metered(self, period: MeteredPeriod, *, in_grace: bool) -> frozenset[Dimension]:
        """Returns the dimensions that a period uses. How long untimed parking took is unknown."""
        is_free = in_grace or not self.bills_parking or not period.is_timed
        return _ENERGY if period.kind == "parked" and is_free else _METERED[period.kind]

    def _begin_stretch(self, kind: UseKind, elements: Elements, at_s: int) -> None:
        self._end_stretch()
        stretch = self.stretch
        stretch.kind, stretch.elements, stretch.start_s = kind, elements, at_s
        stretch.duration_s = stretch.energy_mwh = 0

    def _charge_start(self, kind: UseKind, elements: Elements) -> None:
        if kind in {"charging", "parked"}:
            if not self.is_started:
                self._charge_once("flat", elements)
            self.is_started = True
            return
        self._charge_once("reservation_flat", elements)
        if kind == "expired":
            self._charge_once("expiry_flat", elements)

    def _charge_once(self, dimension: Dimension, elements: Elements) -> None:
        index = dict(elements).get(dimension)
        if index is not None and all(key[0] != dimension for key in self.volumes):
            self.volumes[dimension, index] = 1

    def _end_stretch(self) -> None:
        stretch = self.stretch
        chosen = dict(stretch.elements)
        time = _TIME_OF[stretch.kind]
        if time == "expiry" and time not in chosen:
            time = "reservation"
        used: tuple[tuple[Dimension, int], ...] = (
            ("energy", stretch.energy_mwh), (time, stretch.duration_s),
        )  # fmt: skip
        for dimension, volume in used:
            index = chosen.get(dimension)
            if volume and index is not None:
                key = (dimension, index)
                self.volumes[key] = self.volumes.get(key, 0) + volume
                self.last[_ROUNDED_WITH[dimension]] = key
        if stretch.energy_mwh or stretch.duration_s:
            self.priced.append(
                PricedPeriod(
                    stretch.start_s, stretch.end_s, stretch.energy_mwh, stretch.kind,
                    stretch.elements,
                )
            )  # fmt: skip

    def finish(self) -> Tally:
        """Returns the tally with everything that was added."""
        self._end_stretch()
        return Tally(
            self.begun.started_s,
            None if self.at_s == -FOREVER else self.at_s,
            self.energy_mwh,
            self.is_started,
            self.parked_s,
            self.volumes,
            self.last,
        )

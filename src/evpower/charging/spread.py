"""Spreads the energy of wrong meter values, known once the register is back, over their time."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from evpower.charging.register import TOLERANCE_WH, Outcome
from evpower.tariffs import Sample

_NONE = timedelta()


class CountedSample(NamedTuple):
    """A stored sample, and what its meter value was taken for."""

    sample: Sample
    outcome: Outcome | None  # None: trusted
    is_metered: bool = True  # False: of a status, so that its energy is that of the value before


def spread(counted: Sequence[CountedSample], started_at: datetime) -> list[Sample]:
    """Returns the samples as they come, those of wrong values with the energy that flowed by then.

    Values that were taken back by a later one have no energy of their own: what that one has more
    than the last good one flowed evenly between the two while the car was not done.
    """
    samples = [each.sample for each in counted]
    first: int | None = None  # since when values are lower, and no energy flowed
    base_wh = 0
    for place, (sample, outcome, _) in enumerate(counted):
        if outcome == "segment":
            base_wh = samples[place - 1].energy_wh if place else 0
            first = place if first is None else first
        elif outcome == "return" and first is not None:
            while first and not counted[first - 1].is_metered:
                first -= 1
            _fill(samples, first, place, started_at)
            first = None
        if outcome == "jump" or sample.energy_wh - base_wh > TOLERANCE_WH:
            first = None
    return samples


def _fill(samples: list[Sample], first: int, last: int, started_at: datetime) -> None:
    """Spreads the energy between the sample before `first` and `last`."""
    begin_at, begin_wh = started_at, 0
    if first:
        begin_at, begin_wh = samples[first - 1].at, samples[first - 1].energy_wh
    spans: list[timedelta] = []
    at = begin_at
    is_all_parked = all(sample.is_parked for sample in samples[first : last + 1])
    for sample in samples[first : last + 1]:
        flows = is_all_parked or not sample.is_parked
        spans.append(max(sample.at - at, _NONE) if flows else _NONE)
        at = max(at, sample.at)
    whole, passed = sum(spans, _NONE), _NONE
    grown_wh = samples[last].energy_wh - begin_wh
    for place, span in zip(range(first, last), spans, strict=False):
        passed += span
        if whole:
            energy_wh = begin_wh + grown_wh * passed // whole
            samples[place] = samples[place]._replace(energy_wh=energy_wh)

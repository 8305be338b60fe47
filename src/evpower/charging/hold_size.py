"""How much money is put on hold for a session."""

from datetime import datetime
from typing import NamedTuple

from evpower.charging.course import even_course, flow_s, price_course
from evpower.charging.rules import Rules
from evpower.tariffs import Tariff


class HoldSize(NamedTuple):
    """How much is put on hold; `least_minor` where what is free may be less."""

    amount_minor: int
    least_minor: int | None


def hold_size(
    rules: Rules,
    tariff: Tariff,
    *,
    energy_wh: int | None,
    amount_minor: int | None,
    rated_power_w: int,
    now: datetime,
) -> HoldSize:
    """Returns the limit of money, or what the energy is estimated to cost, or the usual amount.

    Both limits limit, so the smaller of the two is enough. The usual amount is cut to what is free.
    """
    estimate_minor = (
        None if energy_wh is None else estimate(tariff, energy_wh, rated_power_w, now=now)
    )
    sizes = [size for size in (amount_minor, estimate_minor) if size]
    if sizes:
        return HoldSize(min(sizes), None)
    return HoldSize(max(rules.hold_minor, rules.minimum_minor), rules.minimum_minor)


def estimate(tariff: Tariff, energy_wh: int, power_w: int, *, now: datetime) -> int:
    """Returns what this energy costs at this power from now on, minor units."""
    course = even_course(now, energy_wh, flow_s(energy_wh, power_w), power_w=power_w)
    return price_course(tariff, course).cost_minor

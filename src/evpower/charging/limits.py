"""When a session has to stop, and how much money it may still use.

A limit is predicted from what flows now, because the next meter value may come too late; when
values go missing, the connector's power bounds what may have flowed since.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final, Literal, get_args

from evpower import tariffs
from evpower.foundation.money import to_som
from evpower.foundation.value import Value
from evpower.tariffs import FlowingUse, Pricer, Tally

MAX_PERCENT: Final = 100
_GROW_FROM_PERCENT: Final = 80  # of a hold
_MISSED_INTERVALS: Final = 2  # so late may a meter value be
_FAR_S: Final = 7 * 24 * 3600  # beyond this nothing is predicted
_HOUR_S: Final = 3600

LimitReason = Literal["energy_limit", "amount_limit", "soc_limit", "balance_limit"]
# A stop for one of these ends nothing by itself: the car may well go on, and its values count.
LIMIT_REASONS: Final[frozenset[str]] = frozenset(get_args(LimitReason))


class Limits(Value, frozen=True):
    """What a session may use; all given ones limit together."""

    energy_wh: int | None
    amount_minor: int | None
    soc_percent: int | None
    held_minor: int  # on hold for it

    @property
    def rests_on_hold(self) -> bool:
        """Whether the money on hold is the limit: it grows while the wallet has more."""
        return self.energy_wh is None and self.amount_minor is None

    @property
    def money_minor(self) -> int | None:
        """At which cost it stops; None: at none.

        A session that has to have money and has none on hold is stopped where it begins.
        """
        return (self.held_minor or None) if self.rests_on_hold else self.amount_minor


class Flow(Value, frozen=True):
    """A running session at its last meter value."""

    at: datetime  # received
    tally: Tally
    energy_wh: int
    cost_minor: int
    power_w: int | None  # None: not known yet
    soc_percent: int | None = None
    is_parked: bool = False  # the car takes nothing
    interval: timedelta | None = None  # between meter values; None: there was none yet


def reached(limits: Limits, flow: Flow) -> LimitReason | None:
    """Returns which limit a session has reached; None: it may go on."""
    if limits.energy_wh is not None and flow.energy_wh >= limits.energy_wh:
        return "energy_limit"
    money_minor = limits.money_minor
    if money_minor is not None and flow.cost_minor >= money_minor:
        return "balance_limit" if limits.rests_on_hold else "amount_limit"
    if (
        limits.soc_percent is not None
        and flow.soc_percent is not None
        and flow.soc_percent >= limits.soc_percent
    ):
        return "soc_limit"
    return None


def stop_due_at(
    pricer: Pricer | None, limits: Limits, flow: Flow, rated_power_w: int
) -> datetime | None:
    """Returns when it has to stop if no further meter value comes; None: not by itself.

    `pricer`: None where it costs nothing, so that no money limits it.
    """
    if reached(limits, flow):
        return flow.at
    by_rate: FlowingUse = (rated_power_w, "charging")
    if flow.power_w is None or flow.interval is None:
        [due_s] = _seconds_left(pricer, limits, flow, [by_rate])
    else:
        uses = [by_rate, _measured(flow, flow.power_w)]
        late_s, measured_s = _seconds_left(pricer, limits, flow, uses)
        if late_s is not None:
            late_s += _MISSED_INTERVALS * int(flow.interval.total_seconds())
        due_s = _sooner(measured_s, late_s)
    return None if due_s is None else flow.at + timedelta(seconds=due_s)


def reached_by_time(pricer: Pricer, limits: Limits, flow: Flow, rated_power_w: int) -> LimitReason:
    """Returns which limit `stop_due_at` predicted."""
    if known := reached(limits, flow):
        return known
    power_w = rated_power_w if flow.power_w is None else flow.power_w
    energy_s = _energy_s(limits, flow, power_w)
    [money_s] = _money_s(pricer, limits, flow, [_measured(flow, power_w)])
    if money_s is None or (energy_s is not None and energy_s <= money_s):
        return "energy_limit" if limits.energy_wh is not None else _money_reason(limits)
    return _money_reason(limits)


def billed_minor(cost_minor: int, amount_minor: int | None) -> int:
    """Returns what is billed: at most the amount the driver chose. What is above it is a loss."""
    return cost_minor if amount_minor is None else min(cost_minor, amount_minor)


def parts_as_billed(
    parts: Sequence[dict[str, Any]], unbilled_minor: int, kind: str = "not_billed"
) -> list[dict[str, Any]]:
    """Returns the lines of a price as a bill has them: what it leaves out is the last one."""
    if unbilled_minor == 0:
        return [*parts]
    return [*parts, {"kind": kind, "amount": to_som(-unbilled_minor)}]


def grown_hold(limits: Limits, cost_minor: int, available_minor: int, step_minor: int) -> int:
    """Returns how much should be on hold: more by whole steps once most of it is used.

    Never more than the wallet has, and never for a session that has a limit of its own.
    """
    held_minor = limits.held_minor
    if not limits.rests_on_hold:
        return held_minor
    wanted_minor = held_minor
    while cost_minor * MAX_PERCENT >= wanted_minor * _GROW_FROM_PERCENT:
        wanted_minor += step_minor
    return min(wanted_minor, held_minor + max(available_minor, 0))


def _money_reason(limits: Limits) -> LimitReason:
    return "balance_limit" if limits.rests_on_hold else "amount_limit"


def _measured(flow: Flow, power_w: int) -> FlowingUse:
    return power_w, "parked" if flow.is_parked else "charging"


def _seconds_left(
    pricer: Pricer | None, limits: Limits, flow: Flow, uses: Sequence[FlowingUse]
) -> list[int | None]:
    """Returns after how many seconds of each use a limit is reached; None: after none."""
    money_s = None if pricer is None else _money_s(pricer, limits, flow, uses)
    if money_s is not None and limits.energy_wh is None:
        return money_s
    energy_s = [_energy_s(limits, flow, power_w) for power_w, _ in uses]
    return energy_s if money_s is None else list(map(_sooner, energy_s, money_s))


def _sooner(one_s: int | None, other_s: int | None) -> int | None:
    if one_s is None or other_s is None:
        return one_s if other_s is None else other_s
    return min(one_s, other_s)


def _energy_s(limits: Limits, flow: Flow, power_w: int) -> int | None:
    if limits.energy_wh is None or power_w <= 0:
        return None
    seconds = -((flow.energy_wh - limits.energy_wh) * _HOUR_S // power_w)
    return max(seconds, 0) if seconds <= _FAR_S else None


def _money_s(
    pricer: Pricer, limits: Limits, flow: Flow, uses: Sequence[FlowingUse]
) -> list[int | None]:
    """Returns after how many seconds of each use the money is used up.

    A price may depend on time, power and energy: the price function itself has the last word. Of
    prices by current the dearest counts, and the one of a bill where rounding makes that cost more.
    """
    money_minor = limits.money_minor
    if money_minor is None:
        return [None] * len(uses)
    if flow.cost_minor >= money_minor:
        return [0] * len(uses)
    known, *foreseen = tariffs.forecasts(pricer)
    due_s = known.seconds_until(flow.tally, money_minor, uses, most_s=_FAR_S)
    for forecast in foreseen:
        sooner_s = forecast.seconds_until(flow.tally, money_minor, uses, most_s=_FAR_S)
        due_s = list(map(_sooner, due_s, sooner_s))
    return due_s

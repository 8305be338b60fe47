"""What a session used from its start to its end, and its price: of estimates, bills, previews."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from evpower import tariffs
from evpower.charging import store_samples
from evpower.charging.limits import billed_minor
from evpower.charging.running import Progress, RunningSession, RunningTransaction
from evpower.charging.spread import spread
from evpower.foundation.db import Connection
from evpower.tariffs import PricedSession, Sample, Tariff

_WS_PER_WH: Final = 3_600


@dataclass(frozen=True, slots=True)
class Course:
    """A session from its start to the last of its samples."""

    started_at: datetime
    samples: Sequence[Sample]
    is_foreseen: bool = False  # its current is not known yet


@dataclass(frozen=True, slots=True)
class PricedCourse:
    """What a course costs by a tariff; at most the amount that its driver chose is billed."""

    session: PricedSession
    cost_minor: int


def price_course(
    tariff: Tariff, course: Course, *, limit_amount_minor: int | None = None
) -> PricedCourse:
    """Returns the price of a course. The estimate, the bill and a preview are this function."""
    session = tariffs.price(
        tariff, course.started_at, course.samples, is_foreseen=course.is_foreseen
    )
    return PricedCourse(session, billed_minor(session.cost.total_minor, limit_amount_minor))


async def metered_course(
    connection: Connection,
    running: RunningTransaction,
    session: RunningSession,
    *,
    energy_wh: int,
    ended_at: datetime,
    is_timed: bool | None = None,
) -> Course:
    """Returns the course of a session by its meter values, with the energy that it ended with.

    None of the values counts for more than that: a stop may be a little below the last of them.
    `is_timed`: whether it is known when it ended, else the lowest price applies to what came
    last; None: as it was stored with the end.
    """
    counted = await store_samples.samples(connection, running.transaction.id)
    samples = [
        sample._replace(energy_wh=min(sample.energy_wh, energy_wh))
        for sample in spread(counted, session.started_at)
        if sample.at <= ended_at
    ]
    is_parked = running.progress.parked_since is not None
    if is_timed is None:
        is_timed = running.transaction.is_end_timed
    samples.append(Sample(ended_at, energy_wh, is_parked=is_parked, is_timed=is_timed))
    return Course(session.started_at, samples)


async def tallied_anew(connection: Connection, running: RunningTransaction) -> Progress:
    """Returns the progress with all that was stored of it priced again: values were wrong."""
    progress, pricer, started_at = running.progress, running.pricer, running.transaction.started_at
    if pricer is None:
        return progress
    counted = await store_samples.samples(connection, running.transaction.id)
    tally = tariffs.price(pricer.tariff, started_at, spread(counted, started_at)).tally
    return progress.replace(tally=tally, cost_minor=tariffs.forecast(pricer).total_minor(tally))


def even_course(
    started_at: datetime,
    energy_wh: int,
    duration_s: int,
    parked_s: int = 0,
    *,
    power_w: int | None = None,
) -> Course:
    """Returns a course whose energy flows evenly; then the car takes nothing for a time.

    `power_w`: the power that its prices go by, of a charge to come; None: the average of one that
    is over. Whole seconds and Wh make that a little less than the power they were reckoned from.
    """
    done_at = started_at + timedelta(seconds=duration_s)
    samples = [Sample(done_at, energy_wh, power_w)]
    if parked_s:
        samples.append(Sample(done_at + timedelta(seconds=parked_s), energy_wh, is_parked=True))
    return Course(started_at, samples, is_foreseen=power_w is not None)


def flow_s(energy_wh: int, power_w: int) -> int:
    """Returns how many seconds an energy takes at a power, rounded up."""
    return -(-energy_wh * _WS_PER_WH // power_w)


def flown_wh(power_w: int, duration_s: int) -> int:
    """Returns the energy of a power in some seconds, rounded down."""
    return power_w * duration_s // _WS_PER_WH

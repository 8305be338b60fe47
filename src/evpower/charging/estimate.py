"""What a charge would cost: the price function of the bill on a course that is not known yet."""

from bisect import bisect_right
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal, NamedTuple
from uuid import UUID

from evpower import stations
from evpower.charging import store_sessions
from evpower.charging.course import PricedCourse, even_course, flow_s, flown_wh, price_course
from evpower.charging.facts import MAX_ENERGY_KWH
from evpower.charging.frozen_tariff import frozen_tariff
from evpower.foundation.db import Connection
from evpower.foundation.errors import Conflict, Invalid, NotFound
from evpower.foundation.money import MAX_MINOR
from evpower.tariffs import Snapshot, Tariff

MAX_DURATION_S: Final = 7 * 24 * 3600
MAX_POWER_W: Final = 1_000_000
_MOST_AHEAD: Final = timedelta(days=366)
_CLOCK_SKEW: Final = timedelta(minutes=5)

EstimateLimit = Literal["energy", "amount", "time"]


class EstimateRequest(NamedTuple):
    """A charge that a driver has in mind; every given limit limits, and one is needed."""

    station: str  # any of its names
    connector: int
    client_id: UUID | None = None  # whose own tariff counts; None: no client's
    energy_wh: int | None = None
    amount_minor: int | None = None
    duration_s: int | None = None
    parked_s: int = 0  # how long the car stays when it is done
    power_w: int | None = None  # what the car takes; None: what the connector delivers
    starts_at: datetime | None = None  # None: now


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a charge would be, and cost."""

    station_id: str
    connector: int
    snapshot: Snapshot
    starts_at: datetime
    power_w: int
    energy_wh: int
    duration_s: int  # while energy flows
    parked_s: int
    limited_by: EstimateLimit  # what ends it
    priced: PricedCourse


async def estimate_cost(
    connection: Connection, request: EstimateRequest, *, now: datetime
) -> Estimate:
    """Returns what a charge would cost by the tariff that would be frozen for it.

    Raises NotFound("station_not_found" | "connector_not_found"), Conflict("tariff_missing"),
    Invalid("estimate_limit_missing" | "invalid_energy" | "invalid_amount" | "invalid_duration" |
    "invalid_power" | "invalid_time").
    """
    _check(request, now)
    station = await stations.resolve_station(connection, request.station)
    if station is None or station.retired_at is not None:
        raise NotFound("station_not_found", "there is no such station")
    facts = await store_sessions.find_connector(connection, station.id, request.connector)
    if facts is None:
        raise NotFound("connector_not_found", f"station {station.id!a:.80} has no such connector")
    starts_at = request.starts_at or now
    snapshot = await frozen_tariff(
        connection, station, request.connector, request.client_id, starts_at
    )
    if snapshot is None:
        raise Conflict("tariff_missing", "no tariff applies to this connector")
    power_w = min(request.power_w or facts.rated_power_w, facts.rated_power_w)
    duration_s, limited_by = _duration(snapshot.tariff, request, starts_at, power_w)
    energy_wh = flown_wh(power_w, duration_s)
    if limited_by == "energy":
        assert request.energy_wh is not None, "it limits"  # noqa: S101
        energy_wh = request.energy_wh
    course = even_course(starts_at, energy_wh, duration_s, request.parked_s, power_w=power_w)
    return Estimate(
        station.id, request.connector, snapshot, starts_at, power_w, energy_wh, duration_s,
        request.parked_s, limited_by,
        price_course(snapshot.tariff, course, limit_amount_minor=request.amount_minor),
    )  # fmt: skip


def _check(request: EstimateRequest, now: datetime) -> None:
    energy_wh, amount_minor, duration_s = (
        request.energy_wh, request.amount_minor, request.duration_s,
    )  # fmt: skip
    if energy_wh is None and amount_minor is None and duration_s is None:
        raise Invalid("estimate_limit_missing", "an energy, an amount or a duration is needed")
    if energy_wh is not None and not 0 < energy_wh <= MAX_ENERGY_KWH * 1000:
        raise Invalid("invalid_energy", f"the energy is above 0 and at most {MAX_ENERGY_KWH} kWh")
    if amount_minor is not None and not 0 < amount_minor <= MAX_MINOR:
        raise Invalid("invalid_amount", "the amount is above 0")
    if (
        duration_s is not None and not 0 < duration_s <= MAX_DURATION_S
    ) or not 0 <= request.parked_s <= MAX_DURATION_S:
        raise Invalid("invalid_duration", "a duration is above 0 and at most 7 days")
    if request.power_w is not None and not 0 < request.power_w <= MAX_POWER_W:
        raise Invalid("invalid_power", "the power is above 0 and at most 1000 kW")
    if request.starts_at is not None and not (
        now - _CLOCK_SKEW <= request.starts_at <= now + _MOST_AHEAD
    ):
        raise Invalid("invalid_time", "start_time is in the past, or more than a year ahead")


def _duration(
    tariff: Tariff, request: EstimateRequest, starts_at: datetime, power_w: int
) -> tuple[int, EstimateLimit]:
    """Returns how many seconds the energy flows, and which limit ends it."""
    ends: list[tuple[int, EstimateLimit]] = [(MAX_DURATION_S, "time")]
    if request.duration_s is not None:
        ends.append((request.duration_s, "time"))
    if request.energy_wh is not None:
        ends.append((flow_s(request.energy_wh, power_w), "energy"))
    if request.amount_minor is not None:
        amount_minor = request.amount_minor

        def cost_minor(duration_s: int) -> int:
            energy_wh = flown_wh(power_w, duration_s)
            course = even_course(starts_at, energy_wh, duration_s, power_w=power_w)
            return price_course(tariff, course).cost_minor

        # A cost never falls while a charge goes on, so the last second that it pays is searched.
        longest_s = min(ends)[0]
        affordable = bisect_right(range(longest_s + 1), amount_minor, key=cost_minor)
        if affordable <= longest_s:
            ends.append((max(affordable - 1, 0), "amount"))
    return min(ends)

"""A charging session as its driver sees it: what it is, what it used, and how it is shown."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final, Literal, cast
from uuid import UUID

from evpower.charging.limits import billed_minor, parts_as_billed
from evpower.charging.model import SessionState, SessionStatus
from evpower.foundation.clock import to_z
from evpower.foundation.json_reader import as_object, read_stored_json
from evpower.foundation.money import to_som
from evpower.stations import ONLINE_FOR
from evpower.tariffs import (
    Pricer,
    RateCard,
    Rates,
    Tally,
    cost_parts,
    read_snapshot,
    read_tally,
)

_KILO: Final = 1000
_MINUTE: Final = timedelta(minutes=1)
_MAX_PERCENT: Final = 100.0
_NO_CHARGE: Final = frozenset({"expired", "refused", "cancelled", "failed"})
_FINAL: Final = _NO_CHARGE | {"settled"}
_TARIFFS: Final = 1024  # read ones that are remembered

LimitType = Literal["energy", "amount", "none"]


@dataclass(frozen=True, slots=True)
class SessionView:
    """A session with its limits, hold, transaction, newest values, station and tariff."""

    id: UUID
    client_id: UUID
    station_id: str
    connector_id: int
    state: SessionState
    status: SessionStatus
    started_by: str | None  # app or card; None: another system ran it
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    updated_at: datetime
    energy_wh: int
    cost_minor: int
    revision: int
    details: Mapping[str, str]  # optional facts that are known, by their names
    limit_energy_wh: int | None
    limit_amount_minor: int | None
    limit_soc_percent: int | None
    start_failure: str | None
    start_window_ends_at: datetime | None
    end_reason: str | None
    is_estimated: bool
    station_lost_notified_at: datetime | None  # when its driver was notified
    quarantined_at: datetime | None  # an operator checks its figures
    charged_minor: int | None  # of its bills, less what was given back; None: it has no bill
    held_minor: int | None  # the newest hold, open or resolved
    transaction_id: int | None
    transaction_text_id: str | None
    meter_start_wh: Decimal | None
    meter_stop_wh: Decimal | None
    power_w: int | None
    soc_percent: int | None
    current_ma: int | None
    voltage_mv: int | None
    ev_current_ma: int | None
    ev_voltage_mv: int | None
    body_temperature: int | None
    outlet_temperature: int | None
    inlet_temperature: int | None
    register_wh: Decimal | None
    last_value_at: datetime | None
    last_frame_at: datetime | None  # of the station
    snapshot: str | None
    parked_since: datetime | None = None  # while it runs: since when the car takes nothing
    tally: str | None = None  # while it runs
    parts: str | None = None  # the lines of its newest bill
    billed_element: int | None = None  # which priced the last energy of that bill; the first is 1

    @property
    def is_open(self) -> bool:
        """Whether it may still use energy."""
        return self.status == "started"

    @property
    def is_final(self) -> bool:
        """Whether its bill is made, or no charge took place; another bill may still correct it."""
        return self.state in _FINAL or (self.started_by is None and not self.is_open)

    def may_begin(self, now: datetime) -> bool:
        """Whether it was cancelled, but its station has the start and may begin by it.

        It is stopped at once then, and what it delivered is billed.
        """
        ends_at = self.start_window_ends_at
        return self.state == "cancelled" and ends_at is not None and now < ends_at

    @property
    def changed_at(self) -> datetime:
        """When anything of it changed last."""
        return max(self.updated_at, self.last_value_at or self.updated_at)

    def is_online(self, now: datetime) -> bool:
        """Whether the station is connected."""
        return self.last_frame_at is not None and now - self.last_frame_at < ONLINE_FOR

    def rates(self, now: datetime) -> Rates | None:
        """Returns the prices that apply now, or did at its end; None: it has no tariff.

        While it runs they are those of its newest power and current, as far as the bill so far
        agrees; after its end the energy's is the one that was billed last.
        """
        if self.snapshot is None:
            return None
        card, at = _card(self.snapshot), self.ended_at or now
        started_at = self.started_at or at
        if self.is_open and self.tally is not None:
            rates = card.as_billed(
                at,
                tally=_tally(self.tally),
                energy_wh=self.energy_wh,
                power_w=self.power_w,
                current_ma=self.current_ma,
            )
        else:
            rates = card.at(at, started_at=started_at, energy_wh=self.energy_wh)
        if self.billed_element is not None:
            rates = replace(rates, per_kwh=card.billed_per_kwh(self.billed_element - 1))
        # It is paid once, at the start.
        fee = card.at(started_at, started_at=started_at, energy_wh=0).session_fee
        return replace(rates, session_fee=fee)

    def cost_parts(self) -> list[dict[str, Any]]:
        """Returns the lines that its cost is the sum of, so far or as billed."""
        if self.parts is not None:
            return cast("list[dict[str, Any]]", read_stored_json(self.parts))
        if self.snapshot is None or self.tally is None:
            return []
        return _parts_so_far(self.snapshot, self.tally, self.limit_amount_minor)

    def parking(self) -> dict[str, Any]:
        """Returns since when the car takes nothing, and from when on that costs."""
        if self.parked_since is None or not self.is_open:
            return {}
        known: dict[str, Any] = {"parked_since": to_z(self.parked_since)}
        tariff = None if self.snapshot is None else _pricer(self.snapshot).tariff
        if tariff is not None and tariff.bills_parking and tariff.prices_parking:
            grace = timedelta(seconds=tariff.parking_grace_s)
            known["parking_fee_from"] = to_z(self.parked_since + grace)
        return known

    def message_codes(self, now: datetime) -> tuple[str, ...]:
        """Returns the codes of sentences that tell how it stands; the first with a text counts."""
        if self.may_begin(now):
            return ("session_may_begin",)
        if self.status == "error":
            return f"failed_{self.start_failure}", f"session_{self.state}"
        if not self.is_open and self.quarantined_at is not None:
            return ("session_under_review",)
        if not self.is_open:
            return f"ended_{self.end_reason}", "session_finished"
        if self.state in ("requested", "starting"):
            return ("session_starting",)
        return (self._running_code(now),)

    def _running_code(self, now: datetime) -> str:
        is_lost = self.station_lost_notified_at is not None and not self.is_online(now)
        if self.state == "charging" and is_lost:
            return "session_station_lost"
        if self.state == "stopping":
            return "session_stopping"
        parking = self.parking()
        if "parking_fee_from" in parking:
            return "session_parking_costs"
        return "session_parked" if parking else "session_charging"


def flat_status(view: SessionView, now: datetime, message: str) -> dict[str, Any]:
    """Returns the session in the old API's flat form, of HTTP answers and live updates.

    It has no null: what is unknown is absent, or 0 where the old API sent 0. `status` is `started`
    or `stopped`; the finer word is `state`. kWh, som, kW, V, A, whole minutes.
    """
    energy_kwh = 0.0 if view.status == "error" else view.energy_wh / _KILO
    cost_som = 0.0 if view.status == "error" else to_som(view.cost_minor)
    start = view.started_at or view.created_at
    rates = view.rates(now)
    return {
        "success": True,
        "session_id": str(view.id),
        "station_id": view.station_id,
        "client_id": str(view.client_id),
        "status": "started" if view.is_open else "stopped",
        "state": view.state,
        "connector_id": view.connector_id,
        "start_time": to_z(start),
        "duration_minutes": max((view.ended_at or _end(view, now)) - start, timedelta()) // _MINUTE,
        "energy_consumed": energy_kwh,
        "energy_consumed_kwh": energy_kwh,
        "current_energy": energy_kwh,
        "cost": cost_som,
        "current_cost": cost_som,
        "current_amount": cost_som,
        "final_amount_som": cost_som,
        "amount_charged_som": (
            cost_som if view.charged_minor is None else to_som(view.charged_minor)
        ),
        **_limit(view),
        **_meter(view, now),
        "rate_per_kwh": 0.0 if rates is None else rates.per_kwh,
        "session_fee": 0.0 if rates is None else rates.session_fee,
        "reserved_amount": to_som(view.held_minor or 0),
        "is_estimated": view.is_estimated,
        "message": message,
        "cost_parts": view.cost_parts(),
        **view.parking(),
        **_known(view),
    }


def _end(view: SessionView, now: datetime) -> datetime:
    return now if view.is_open else view.updated_at


def limit_of(view: SessionView) -> tuple[LimitType, float]:
    """Returns the limit's kind and value, kWh or som; SoC is no kind that apps know."""
    if view.limit_energy_wh is not None:
        return "energy", view.limit_energy_wh / _KILO
    if view.limit_amount_minor is not None:
        return "amount", to_som(view.limit_amount_minor)
    return "none", 0.0


def _limit(view: SessionView) -> dict[str, Any]:
    kind, value = limit_of(view)
    shares: list[float] = []
    if view.limit_energy_wh:
        shares.append(view.energy_wh / view.limit_energy_wh)
    if view.limit_amount_minor:
        shares.append(view.cost_minor / view.limit_amount_minor)
    if view.limit_soc_percent and view.soc_percent is not None:
        shares.append(view.soc_percent / view.limit_soc_percent)
    percent = min(round(max(shares, default=0.0) * _MAX_PERCENT, 1), _MAX_PERCENT)
    limit: dict[str, Any] = {
        "limit_type": kind,
        "limit_value": value,
        "limit_reached": percent >= _MAX_PERCENT,
        "limit_percentage": percent,
        "progress_percent": percent,
    }
    if view.limit_soc_percent is not None:
        limit["limit_soc_percent"] = view.limit_soc_percent
    return limit


def _meter(view: SessionView, now: datetime) -> dict[str, Any]:
    power_w = view.power_w if view.is_open else 0
    meter_start = int(view.meter_start_wh or 0)
    meter = view.meter_stop_wh
    if meter is None or view.is_estimated:  # an end that can't be right is not what is billed
        meter = view.register_wh
    temperatures = {
        "station_body": view.body_temperature,
        "station_outlet": view.outlet_temperature,
        "station_inlet": view.inlet_temperature,
    }
    return {
        "charging_power": round((power_w or 0) / _KILO, 1),
        "station_current": round((view.current_ma or 0) / _KILO, 1),
        "station_voltage": round((view.voltage_mv or 0) / _KILO, 1),
        "temperatures": {name: at for name, at in temperatures.items() if at is not None},
        "meter_start": meter_start,
        "meter_current": meter_start + view.energy_wh if meter is None else int(meter),
        "has_meter_data": view.meter_start_wh is not None,
        "station_online": view.is_online(now),
    }


def _known(view: SessionView) -> dict[str, Any]:
    """Returns the members that are absent while they are unknown."""
    known: dict[str, Any] = dict(view.details)
    if view.ended_at is not None:
        known["stop_time"] = to_z(view.ended_at)
    elif not view.is_open:
        known["stop_time"] = to_z(view.updated_at)
    if view.soc_percent is not None:
        known["ev_battery_soc"] = view.soc_percent
    if view.ev_current_ma is not None:
        known["ev_current"] = round(view.ev_current_ma / _KILO, 1)
    if view.ev_voltage_mv is not None:
        known["ev_voltage"] = round(view.ev_voltage_mv / _KILO, 1)
    if view.last_value_at is not None:
        known["last_update"] = to_z(view.last_value_at)
    if view.transaction_id is not None:
        known["transaction_id"] = known["ocpp_transaction_id"] = str(view.transaction_id)
        known["ocpp_status"] = "Started" if view.is_open else "Stopped"
    if view.start_failure is not None:
        known["start_failure"] = view.start_failure
    if view.end_reason is not None:
        known["end_reason"] = view.end_reason
    return known


@lru_cache(maxsize=_TARIFFS)
def _card(snapshot: str) -> RateCard:
    return RateCard(_pricer(snapshot).tariff)


@lru_cache(maxsize=_TARIFFS)
def _pricer(snapshot: str) -> Pricer:
    return Pricer(read_snapshot(as_object(read_stored_json(snapshot))).tariff)


@lru_cache(maxsize=_TARIFFS)
def _tally(tally: str) -> Tally:
    return read_tally(as_object(read_stored_json(tally)))


@lru_cache(maxsize=_TARIFFS)
def _parts_so_far(
    snapshot: str, tally: str, limit_amount_minor: int | None
) -> list[dict[str, Any]]:
    pricer = _pricer(snapshot)
    cost = pricer.cost(_tally(tally))
    total_minor = cost.total_minor
    unbilled_minor = total_minor - billed_minor(total_minor, limit_amount_minor)
    return parts_as_billed(cost_parts(pricer.tariff, cost), unbilled_minor)

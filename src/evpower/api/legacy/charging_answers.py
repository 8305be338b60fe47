"""The old shapes of a charging session: started, stopped, polled. No member is ever null."""

from datetime import datetime, timedelta
from typing import Any, Final

from evpower.charging import SessionView, StartedSession, StartRequest, flat_status
from evpower.foundation.clock import to_z
from evpower.foundation.money import to_som
from evpower.tariffs import RateCard, Rates, Sample, Tariff, cost_parts, frozen_terms, price

_WH_PER_KWH: Final = 1000
_MINUTE: Final = timedelta(minutes=1)


def status(view: SessionView, now: datetime, message: str) -> dict[str, Any]:
    """Returns a session flat and, in `session`, nested: each revision of the app reads one."""
    flat = flat_status(view, now, message)
    return {**flat, "session": _nested(view, flat)}


def _nested(view: SessionView, flat: dict[str, Any]) -> dict[str, Any]:
    """Returns the members under `session`; the transaction's id is a number there."""
    minutes: int = flat["duration_minutes"]
    session: dict[str, Any] = {
        name: flat[name]
        for name in (
            "session_id", "status", "station_id", "client_id", "connector_id", "start_time",
            "energy_consumed", "current_cost", "current_amount", "reserved_amount", "rate_per_kwh",
            "session_fee", "limit_type", "limit_value", "limit_reached", "limit_percentage",
            "progress_percent", "meter_start", "meter_current", "station_online",
        )
    }  # fmt: skip
    session |= {
        "id": flat["session_id"],
        "energy_kwh": flat["energy_consumed"],
        "power_kw": flat["charging_power"],
        "charging_duration_minutes": minutes,
        "duration_seconds": minutes * 60,
    }
    for name in ("stop_time", "ev_battery_soc"):
        if name in flat:
            session[name] = flat[name]
    if view.transaction_id is not None:
        session["ocpp_transaction_id"] = view.transaction_id
    return session


def started(
    session: StartedSession, request: StartRequest, now: datetime, message: str
) -> dict[str, Any]:
    """Returns a session that begins: its hold, and the price frozen for it."""
    rates = RateCard(session.snapshot.tariff).at(now)
    reserved = to_som(session.held_minor)
    answer: dict[str, Any] = {
        "success": True,
        "session_id": str(session.session_id),
        "station_id": session.station_id,
        "client_id": str(session.client_id),
        "connector_id": session.connector,
        "status": "started",
        "state": session.state,
        **_requested_limit(request),
        "rate_per_kwh": rates.per_kwh,
        "session_fee": rates.session_fee,
        "pricing": _pricing(session, rates),
        "estimated_cost": reserved,
        "reserved_amount": reserved,
        "required_amount": reserved,
        "current_balance": to_som(session.balance_minor),
        "new_balance": to_som(session.available_minor),
        "cost_parts": _parts_at_start(session.snapshot.tariff, now),
        "station_online": session.is_online,
        "message": message,
    }
    if request.energy_wh is not None:
        answer["energy_kwh"] = request.energy_wh / _WH_PER_KWH
    if request.amount_minor is not None:
        answer["amount_som"] = to_som(request.amount_minor)
    if request.soc_percent is not None:
        answer["soc_percent"] = answer["limit_soc_percent"] = request.soc_percent
    return answer


def _requested_limit(request: StartRequest) -> dict[str, Any]:
    if request.energy_wh is not None:
        return {"limit_type": "energy", "limit_value": request.energy_wh / _WH_PER_KWH}
    if request.amount_minor is not None:
        return {"limit_type": "amount", "limit_value": to_som(request.amount_minor)}
    return {"limit_type": "none", "limit_value": 0.0}


def _pricing(session: StartedSession, rates: Rates) -> dict[str, Any]:
    pricing: dict[str, Any] = {
        "rate_per_kwh": rates.per_kwh,
        "rate_per_minute": rates.per_minute,
        "session_fee": rates.session_fee,
        "parking_fee_per_minute": rates.parking_per_minute,
        "currency": rates.currency,
        "active_rule": session.snapshot.tariff.name or session.snapshot.plan,
        "rule_details": {},
        "time_based": rates.next_change_at is not None,
        "tariff_plan_id": session.snapshot.plan,
        "tariff_version": session.snapshot.version,
        **frozen_terms(session.snapshot.tariff),
    }
    if rates.next_change_at is not None:
        pricing["next_rate_change"] = to_z(rates.next_change_at)
    return pricing


def _parts_at_start(tariff: Tariff, now: datetime) -> list[dict[str, Any]]:
    """Returns what a session costs before any energy flows: what is charged once."""
    return cost_parts(tariff, price(tariff, now, [Sample(now, 0)]).cost)


def stopped(
    view: SessionView, balance_minor: int, held_minor: int, now: datetime, message: str
) -> dict[str, Any]:
    """Returns a session that was stopped, with its bill, or what it cost so far.

    `held_minor`: all that is on hold of the client's balance, which is less without it.
    """
    flat = flat_status(view, now, message)
    cost_minor = 0 if view.status == "error" else view.cost_minor
    reserved_minor = view.held_minor or 0
    # Until the bill is made all of the hold stays on hold.
    beyond_minor = cost_minor - reserved_minor if view.is_final else 0
    refund = to_som(max(-beyond_minor, 0))
    cost = to_som(cost_minor)
    return {
        **{
            name: flat[name]
            for name in (
                "success", "session_id", "station_id", "client_id", "connector_id", "state",
                "start_time", "duration_minutes", "energy_consumed", "rate_per_kwh", "session_fee",
                "reserved_amount", "station_online", "is_estimated", "message",
            )
        },
        "status": "stopped",
        "stop_time": flat.get("stop_time", to_z(now)),
        "actual_cost": cost,
        "final_cost": cost,
        "refund_amount": refund,
        "refunded_amount": refund,
        "cost_parts": flat["cost_parts"],
        "additional_charge": to_som(max(beyond_minor, 0)),
        "new_balance": to_som(balance_minor - held_minor),
        "final": view.is_final and not view.may_begin(now) and view.quarantined_at is None,
    }  # fmt: skip

"""The shapes of the older family `/api/...`, member for member; null where that API sent null."""

from collections.abc import Mapping
from typing import Any, Final

from evpower.charging import SessionView

_STARTED: Final = (
    "success", "session_id", "station_id", "client_id", "connector_id", "rate_per_kwh",
    "estimated_cost", "reserved_amount", "new_balance", "message", "station_online",
)  # fmt: skip
_STOPPED: Final = (
    "success", "session_id", "station_id", "client_id", "start_time", "stop_time",
    "energy_consumed", "rate_per_kwh", "reserved_amount", "actual_cost", "refund_amount",
    "new_balance", "message", "station_online", "final",
)  # fmt: skip
_STATUS: Final = (
    "success", "session_id", "station_id", "client_id", "status", "start_time",
    "duration_minutes", "energy_consumed", "energy_consumed_kwh", "current_energy", "cost",
    "final_amount_som", "amount_charged_som", "current_amount", "limit_type", "limit_value",
    "progress_percent", "charging_power", "station_current", "station_voltage", "meter_start",
    "meter_current", "station_online", "rate_per_kwh", "has_meter_data", "message",
)  # fmt: skip
_MAY_BE_NULL: Final = ("stop_time", "last_update", "transaction_id", "ocpp_status")
_ZERO: Final = {"ev_battery_soc": 0, "ev_current": 0.0, "ev_voltage": 0.0}
_PLACES: Final = ("station_body", "station_outlet", "station_inlet")
_BALANCE: Final = ("client_id", "balance", "currency", "last_topup_at", "total_spent")


def started(answer: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a session that begins, from the newer family's answer."""
    return {name: answer[name] for name in _STARTED} | {"energy_kwh": answer.get("energy_kwh")}


def stopped(answer: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a session that was stopped, from the newer family's answer."""
    return {name: answer[name] for name in _STOPPED}


def status(flat: Mapping[str, Any], view: SessionView) -> dict[str, Any]:
    """Returns a session as it stands; the number of its transaction is a number here."""
    temperatures: Mapping[str, int] = flat["temperatures"]
    return {
        **{name: flat[name] for name in _STATUS},
        **{name: flat.get(name) for name in _MAY_BE_NULL},
        **{name: flat.get(name, zero) for name, zero in _ZERO.items()},
        "temperatures": {place: temperatures.get(place, 0) for place in _PLACES},
        "ocpp_transaction_id": view.transaction_id,
    }


def balance(answer: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a balance; the time of the last top-up is null before the first."""
    return {name: answer.get(name) for name in _BALANCE}


def topping_up(answer: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a QR to pay."""
    return {**answer, "error": None}


def payment(answer: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a payment as it stands."""
    unknown = {"paid_amount": None, "last_status_check_at": None, "error": None}
    return {**unknown, **answer}


def unknown_payment(invoice_id: str, message: str) -> dict[str, Any]:
    """Returns that there is no such payment: as the old API did, with every member."""
    return {
        "success": False,
        "status": 0,
        "status_text": "processing",
        "amount": 0.0,
        "paid_amount": None,
        "invoice_id": invoice_id,
        "can_proceed": False,
        "can_start_charging": False,
        "qr_expired": True,
        "invoice_expired": True,
        "qr_expires_at": None,
        "invoice_expires_at": None,
        "last_status_check_at": None,
        "needs_callback_check": False,
        "error": "payment_not_found",
        "error_code": "payment_not_found",
        "message": message,
    }

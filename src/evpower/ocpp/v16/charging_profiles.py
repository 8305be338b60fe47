"""SetChargingProfile and ClearChargingProfile, in the one form that stations in the field obey.

A profile is a TxProfile bound to its transaction, so that none outlives the session: a limit of 0
that stays would end every later session. It has one period (some stations fail with more), the
stack level of the vendor profile, 0 in nearly all (several accept no other), and the kind Relative.
"""

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final

_PROFILE_ID: Final = 1  # one profile a connector: a second one replaces the first
_STEP: Final = Decimal("0.1")
_LARGEST_LIMIT: Final = 10_000_000  # W
_UNITS: Final = frozenset({"A", "W"})


def write_set(payload: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns the request that limits a transaction: `limit` in `unit`, A or W."""
    unit = payload["unit"]
    if unit not in _UNITS:
        raise ValueError("unit is none of A, W")
    return [
        {
            "connectorId": _number(payload, "connector"),
            "csChargingProfiles": {
                "chargingProfileId": _PROFILE_ID,
                "transactionId": _number(payload, "transaction_id"),
                "stackLevel": payload.get("stack_level", 0),
                "chargingProfilePurpose": "TxProfile",
                "chargingProfileKind": "Relative",
                "chargingSchedule": {
                    "chargingRateUnit": unit,
                    "chargingSchedulePeriod": [{"startPeriod": 0, "limit": _limit(payload)}],
                },
            },
        }
    ]


def write_clear(payload: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns the request that removes the TxProfiles of a connector, of all for connector 0."""
    if payload["connector"] == 0:
        return [{"chargingProfilePurpose": "TxProfile"}]
    return [{"connectorId": _number(payload, "connector"), "chargingProfilePurpose": "TxProfile"}]


def _limit(payload: Mapping[str, Any]) -> float:
    try:
        limit = Decimal(str(payload["limit"]))
    except InvalidOperation:
        limit = Decimal(-1)
    if not limit.is_finite() or not 0 <= limit <= _LARGEST_LIMIT or limit % _STEP:
        raise ValueError("limit is no number of 0 or more, in steps of 0.1")
    return float(limit)


def _number(payload: Mapping[str, Any], name: str) -> int:
    value: object = payload[name]
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name} is no number from 1")
    return value

"""Refusals of a start, with the members that each family reads."""

from typing import Any, Final
from uuid import UUID

from fastapi import Request
from fastapi.responses import Response

from evpower.api import messages
from evpower.api.legacy.charging_request import MAX_AMOUNT_SOM, MAX_ENERGY_KWH
from evpower.api.legacy.families import Family
from evpower.api.legacy.respond import explained, language_of, refused
from evpower.charging import Rules, StartRequest
from evpower.foundation.db import Database
from evpower.foundation.errors import Conflict, EvPowerError, Invalid
from evpower.foundation.money import to_minor, to_som, to_text
from evpower.wallet import get_wallet

_PAYMENT_REQUIRED: Final = 402
# Refusals that more money on the balance would change.
_FOR_MONEY: Final = frozenset({"insufficient_balance", "zero_balance", "amount_exceeds_balance"})
# The sentences that name the range of a limit.
RANGES: Final = {"invalid_amount": "start_amount_range", "invalid_energy": "start_energy_range"}
# What the oldest app knows instead.
_MOBILE_CODES: Final = {
    "station_not_found": "station_unavailable",
    "station_offline": "station_unavailable",
    "station_free": "station_unavailable",
    "tariff_missing": "station_unavailable",
    "plug_in_first": "station_unavailable",
    "unplug_first": "connector_occupied",
    "charging_limit_exceeded": "amount_exceeds_balance",
}


def refused_range(rules: Rules, request: Request, error: EvPowerError, family: Family) -> Response:
    """Returns the refusal of a limit with the range that a limit may have."""
    params = {
        "minimum": to_text(rules.minimum_minor),
        "maximum": str(MAX_AMOUNT_SOM),
        "most_kwh": str(MAX_ENERGY_KWH),
    }
    language = language_of(request)
    sentence = messages.text(RANGES[error.code], error.http_status, language, params)
    return refused(error, request, explained(sentence, family), family=family)


async def refused_start(
    db: Database,
    rules: Rules,
    request: Request,
    error: EvPowerError,
    start: StartRequest,
    family: Family,
) -> Response | None:
    """Returns the refusal of a well-formed start; None: it has no members of its own."""
    if error.code in _FOR_MONEY:
        return await _refused_for_money(db, request, error, start, family)
    if isinstance(error, Invalid) and error.code in RANGES:
        if family == "mobile":
            error.http_status = Conflict.status  # its 422 means a body of the wrong shape
        return refused_range(rules, request, error, family)
    if family == "mobile" and error.code in _MOBILE_CODES:
        members: dict[str, Any] = {"error": _MOBILE_CODES[error.code]}
        if error.code == "charging_limit_exceeded":
            members["max_allowed_amount"] = float(str(error.params["maximum"]))
        return refused(error, request, members, family=family)
    return None


async def _refused_for_money(
    db: Database, request: Request, error: EvPowerError, start: StartRequest, family: Family
) -> Response:
    error.http_status = _PAYMENT_REQUIRED
    available_minor, debt_minor = await _money_of(db, start.client_id)
    error.params = {**error.params, "available": to_text(available_minor)}
    members: dict[str, Any] = {"current_balance": to_som(available_minor)}
    required = error.params.get("required")
    if required is not None:
        required_minor = to_minor(str(required)) + debt_minor
        members["required_amount"] = to_som(required_minor)
        if family == "mobile" and error.code == "insufficient_balance":
            members["missing_amount"] = to_som(max(required_minor - available_minor, 0))
    if error.code == "amount_exceeds_balance" and start.amount_minor is not None:
        members["requested_amount"] = to_som(start.amount_minor)
        if family == "mobile":
            members["max_allowed_amount"] = to_som(available_minor)
    if debt_minor:
        members["debt"] = to_som(debt_minor)
        language = language_of(request)
        params = {"debt": to_text(debt_minor)}
        sentence = messages.text("insufficient_balance_debt", _PAYMENT_REQUIRED, language, params)
        members |= explained(sentence, family)
    return refused(error, request, members, family=family)


async def _money_of(db: Database, client_id: UUID) -> tuple[int, int]:
    """Returns what is free and what is owed, minor units."""
    async with db.connection() as connection:
        wallet = await get_wallet(connection, client_id)
    return (0, 0) if wallet is None else (wallet.available_minor, wallet.debt_minor)

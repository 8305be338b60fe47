"""Parses the bodies of charging start and stop. Numbers stay exact."""

from collections.abc import Mapping
from decimal import ROUND_FLOOR, Decimal
from typing import Any, Final, NamedTuple
from uuid import UUID

from evpower.charging import StartRequest, normalized_plate
from evpower.foundation.errors import Forbidden, Invalid, NotFound
from evpower.foundation.json_numbers import exact
from evpower.foundation.json_reader import NotAnObject, NotJson, read_exact_object
from evpower.foundation.money import to_minor
from evpower.foundation.text import checked

MAX_BYTES: Final = 16 * 1024
MAX_ENERGY_KWH: Final = 200
MAX_AMOUNT_SOM: Final = 100_000
_MAX_NAME: Final = 255
_MAX_CONNECTOR: Final = 1000
_MAX_PLATE: Final = 16
_MAX_PERCENT: Final = 100
_MAX_SESSION_ID: Final = 100
_WH_PER_KWH: Final = 1000
_NO_CLIENT: Final = UUID(int=0)


class ParsedStart(NamedTuple):
    """A requested start, and the client that the body names, as older apps do."""

    request: StartRequest  # of no client yet
    client: str | None


def parse_start(raw: bytes) -> ParsedStart:
    """Parses the body of a client's start; members that are unknown or null are passed over.

    Raises Invalid("invalid_request" | "invalid_energy" | "invalid_amount"), Forbidden("forbidden").
    """
    body = read_object(raw)
    station = body.get("station_id")
    if not isinstance(station, str) or not station.strip():
        raise Invalid("invalid_request", "station_id must be a text")
    request = StartRequest(
        client_id=_NO_CLIENT,
        station=checked(station.strip(), "station_id", most=_MAX_NAME),
        connector=_whole(body.get("connector_id"), "connector_id", _MAX_CONNECTOR),
        energy_wh=_energy_wh(body.get("energy_kwh")),
        amount_minor=_amount_minor(body.get("amount_som")),
        soc_percent=_optional_percent(body.get("soc_percent")),
        vehicle_plate=_plate(body.get("vehicle_plate")),
    )
    return ParsedStart(request, client_of(body))


def parse_stop(raw: bytes) -> UUID:
    """Returns the session that the body of a stop names.

    Raises Invalid("invalid_request"), NotFound("session_not_found") for an id that none has.
    """
    session_id = read_object(raw).get("session_id")
    if not isinstance(session_id, str) or not 0 < len(session_id) <= _MAX_SESSION_ID:
        raise Invalid("invalid_request", "session_id must be a text")
    try:
        return UUID(session_id)
    except ValueError as error:
        raise NotFound("session_not_found", "there is no such session") from error


def client_of(body: Mapping[str, Any]) -> str | None:
    """Returns the client that a body names. Raises Forbidden("forbidden") if it is no text."""
    named = body.get("client_id")
    if named is not None and not isinstance(named, str):
        raise Forbidden("forbidden", "client_id is not the token's")
    return named


def read_object(raw: bytes) -> dict[str, Any]:
    """Returns the object of a body, its numbers exact. Raises Invalid("invalid_request")."""
    try:
        return read_exact_object(raw, exact, constant=exact)
    except NotAnObject as error:
        raise Invalid("invalid_request", "the body must be an object") from error
    except NotJson as error:
        raise Invalid("invalid_request", "the body is not JSON") from error


def _whole(value: object, name: str, most: int) -> int:
    number = _finite(value)
    if number is None or not 1 <= number <= most or number != int(number):
        raise Invalid("invalid_request", f"{name} must be a whole number from 1 to {most}")
    return int(number)


def _finite(value: object) -> Decimal | None:
    return value if isinstance(value, Decimal) and value.is_finite() else None


def _optional_percent(value: object) -> int | None:
    return None if value is None else _whole(value, "soc_percent", _MAX_PERCENT)


def _energy_wh(value: object) -> int | None:
    """Returns kWh as whole Wh, rounded down: a limit is never exceeded by rounding."""
    if value is None:
        return None
    energy_kwh = _finite(value)
    if energy_kwh is None or not 0 < energy_kwh <= MAX_ENERGY_KWH:
        raise Invalid("invalid_energy", f"energy_kwh must be above 0 and at most {MAX_ENERGY_KWH}")
    energy_wh = int((energy_kwh * _WH_PER_KWH).to_integral_value(ROUND_FLOOR))
    if energy_wh == 0:
        raise Invalid("invalid_energy", "energy_kwh is less than 1 Wh")
    return energy_wh


def _amount_minor(value: object) -> int | None:
    if value is None:
        return None
    amount = _finite(value)
    if amount is None or not 0 < amount <= MAX_AMOUNT_SOM:
        raise Invalid("invalid_amount", f"amount_som must be above 0 and at most {MAX_AMOUNT_SOM}")
    return to_minor(amount)


def _plate(value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not 0 < len(value) <= _MAX_PLATE:
        raise Invalid("invalid_request", f"vehicle_plate must be 1 to {_MAX_PLATE} characters")
    plate = normalized_plate(value)
    if not plate or not plate.isprintable() or len(plate) > _MAX_PLATE:
        raise Invalid("invalid_request", "vehicle_plate holds nothing to read")
    return plate

"""A bill as charge detail records of OCPI 2.2.1, module CDRs (10.3.1, 10.4).

A CDR is never changed: a later bill is a credit CDR, which says what the one before said with its
costs negative, and a new CDR.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, Final, cast
from uuid import UUID

from evpower import tariffs
from evpower.charging.store_cdrs import CdrRow
from evpower.foundation.clock import read_time, to_z
from evpower.foundation.money import CURRENCY, EXPONENTS

# Where no EVSE id of the station says it: KG*EVP*E0042*1.
_PARTY: Final = ("KG", "EVP")
_NONE: Final = "#NA"  # what OCPI writes for an EVSE that is not named
_HOUR: Final = timedelta(hours=1)
_DIMENSIONS: Final = {"charging": "TIME", "parked": "PARKING_TIME", "reserved": "RESERVATION_TIME"}
_HOURS: Final = Decimal("0.0001")
_WH_PER_KWH: Final = 1000
# Auth methods (10.4.1): a start by app is a command of ours, a card was asked for or is known.
_METHODS: Final = {"app": "COMMAND", "card": "AUTH_REQUEST"}


def ocpi_cdrs(row: CdrRow) -> Iterator[dict[str, Any]]:
    """Yields the CDRs of a bill: the credit of the bill before, if there is one, and its own."""
    if row.previous_record_id is not None:
        record = _cdr(_before(row, row.previous_record_id))
        yield record | {
            "id": f"{row.previous_record_id}-C",  # CiString(39): a UUID and the mark of a credit
            "credit": True,
            "credit_reference_id": str(row.previous_record_id),
            "total_cost": {name: -cost for name, cost in record["total_cost"].items()},
            "remark": "replaced by a later bill",
        }
    yield _cdr(row)


def _before(row: CdrRow, record_id: UUID) -> CdrRow:
    """Returns the bill before this one."""
    return replace(
        row,
        record_id=record_id,
        total_minor=row.previous_minor,
        energy_wh=row.previous_energy_wh,
        ended_at=row.previous_ended_at,
        snapshot=row.previous_snapshot,
        periods=row.previous_periods,
        parts=row.previous_parts,
    )


def _cdr(row: CdrRow) -> dict[str, Any]:
    currency = _currency(row)
    country, party = _party(row.evse_id)
    periods = [cast("Mapping[str, Any]", period) for period in row.periods]
    cdr: dict[str, Any] = {
        "country_code": country,
        "party_id": party,
        "id": str(row.record_id),
        "start_date_time": to_z(row.started_at),
        "end_date_time": to_z(row.ended_at),
        "session_id": str(row.session_id),
        "cdr_token": _token(row),
        "auth_method": _METHODS.get(row.started_by or "", "WHITELIST"),
        "cdr_location": _location(row),
        "currency": currency,
        "charging_periods": [_period(period) for period in periods] or [_whole(row)],
        "total_cost": {
            "excl_vat": float(_excl(row, row.total_minor)),
            "incl_vat": float(_som(row.total_minor, currency)),
        },
        "total_energy": row.energy_wh / _WH_PER_KWH,
        "total_time": _hours(row.ended_at - row.started_at),
        "last_updated": to_z(row.created_at),
    }
    parked = sum((_length(period) for period in periods if period["kind"] == "parked"), timedelta())
    if parked:
        cdr["total_parking_time"] = _hours(parked)
    if row.reason:
        cdr["remark"] = row.reason[:255]
    return cdr


def _party(evse_id: str | None) -> tuple[str, str]:
    letters = (evse_id or "").replace("*", "")
    return (letters[:2], letters[2:5]) if letters else _PARTY


def _token(row: CdrRow) -> dict[str, str]:
    contract = str(row.client_id)
    is_card = row.started_by == "card"
    country, party = _party(row.evse_id)
    return {
        "country_code": country,
        "party_id": party,
        "uid": (row.id_tag or contract)[:36],
        "type": "RFID" if is_card else "APP_USER",
        "contract_id": contract,
    }


def _location(row: CdrRow) -> dict[str, Any]:
    location: dict[str, Any] = {
        "id": row.location_id[:36],
        "name": row.location_name[:255],
        "address": row.address[:45] or _NONE,
        "city": row.city[:45] or _NONE,
        "country": row.country,
        "evse_uid": f"{row.station_id}-{row.evse_number or row.connector}"[:36],
        "evse_id": row.evse_id or _NONE,
        "connector_id": str(row.evse_connector or row.connector),
        "connector_standard": row.standard or "IEC_62196_T2",
        "connector_format": row.format or "SOCKET",
        "connector_power_type": row.power_type or "AC_3_PHASE",
    }
    if row.latitude is not None and row.longitude is not None:
        location["coordinates"] = {
            "latitude": f"{row.latitude:.6f}", "longitude": f"{row.longitude:.6f}",
        }  # fmt: skip
    return location


def _period(period: Mapping[str, Any]) -> dict[str, Any]:
    dimensions: list[dict[str, Any]] = []
    if float(period["energy_kwh"]):
        dimensions.append({"type": "ENERGY", "volume": float(period["energy_kwh"])})
    kind = _DIMENSIONS.get(period["kind"], "TIME")
    dimensions.append({"type": kind, "volume": _hours(_length(period))})
    return {"start_date_time": period["start"], "dimensions": dimensions}


def _whole(row: CdrRow) -> dict[str, Any]:
    """Returns the one period of a bill without any: OCPI asks for one at least."""
    volume = row.energy_wh / _WH_PER_KWH
    return {
        "start_date_time": to_z(row.started_at),
        "dimensions": [{"type": "ENERGY", "volume": volume}],
    }


def _length(period: Mapping[str, Any]) -> timedelta:
    begins: datetime = read_time(period["start"])
    return read_time(period["end"]) - begins


def _hours(length: timedelta) -> float:
    seconds = Decimal(length // timedelta(seconds=1))
    hours = seconds / Decimal(_HOUR // timedelta(seconds=1))
    return float(hours.quantize(_HOURS, ROUND_HALF_UP))


def _currency(row: CdrRow) -> str:
    return str((row.snapshot or {}).get("currency", CURRENCY))


def _som(minor: int, currency: str) -> Decimal:
    return Decimal(minor).scaleb(-EXPONENTS[currency])


def _excl(row: CdrRow, total_minor: int) -> Decimal:
    """Returns a total without its taxes: each line by the rates of its price."""
    currency = _currency(row)
    if row.snapshot is None:
        return _som(total_minor, currency)
    tariff = tariffs.read_snapshot(row.snapshot).tariff
    parts = [cast("Mapping[str, Any]", part) for part in row.parts]
    with_tax = sum((Decimal(str(part["amount"])) for part in parts), Decimal())
    if not with_tax or _som(total_minor, currency) != with_tax:  # of another bill: by its share
        share = _before_tax(tariff, parts) / with_tax if with_tax else Decimal(1)
        return _rounded(_som(total_minor, currency) * share, currency)
    return _rounded(_before_tax(tariff, parts), currency)


def _before_tax(tariff: tariffs.Tariff, parts: Sequence[Mapping[str, Any]]) -> Decimal:
    return sum(
        (
            Decimal(str(part["amount"])) * 1_000_000 / (1_000_000 + _tax_ppm(tariff, part))
            for part in parts
        ),
        Decimal(),
    )


def _tax_ppm(tariff: tariffs.Tariff, part: Mapping[str, Any]) -> int:
    """Returns the tax of a line: that of its price, else the tariff's."""
    number = part.get("element")
    if isinstance(number, int) and 0 < number <= len(tariff.elements):
        for dimension, component in tariff.elements[number - 1].prices:
            if dimension == part["kind"]:
                return tariff.tax_ppm(component)
    return sum(tax.rate_ppm for tax in tariff.taxes)


def _rounded(amount: Decimal, currency: str) -> Decimal:
    return amount.quantize(Decimal(1).scaleb(-EXPONENTS[currency]), ROUND_HALF_UP)

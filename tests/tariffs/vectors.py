"""The published test vectors: OCPI's numbers, in a shape of their own.

`rates` are the elements in order: `d` the dimension, `p` its price before tax, `vat` %, `step` in
Wh or s, `if` the conditions. `use` is what a session used, in order. `ex` and `inc` are the total
before and after tax. EVPOWER_TARIFF_VECTORS names another file of the same shape.
"""

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from evpower.foundation.money import to_minor
from evpower.tariffs import Tariff, read_tariff
from evpower.tariffs.document import scaled
from evpower.tariffs.model import MeteredPeriod

OWN_FILE = Path(__file__).parent / "vectors.jsonl"


def read_vectors(file: Path) -> dict[str, dict[str, Any]]:
    lines = [line for line in file.read_text("utf-8").splitlines() if line.strip()]
    return {vector["id"]: vector for vector in map(json.loads, lines)}


OWN_VECTORS = read_vectors(OWN_FILE)
VECTORS = read_vectors(Path(os.environ.get("EVPOWER_TARIFF_VECTORS") or OWN_FILE))
PRICES = {
    "energy": "energy_per_kwh", "time": "time_per_hour", "park": "parking_per_hour",
    "flat": "flat", "reserve": "reservation_per_hour", "reserve_flat": "reservation_flat",
    "expire": "expiry_per_hour", "expire_flat": "expiry_flat",
}  # fmt: skip
CONDITIONS = {
    "from": "from", "to": "to", "kw_below": "below_kw", "kw_from": "from_kw",
    "a_below": "below_a", "a_from": "from_a", "kwh_below": "below_kwh", "kwh_from": "from_kwh",
    "before_s": "below_elapsed_s", "after_s": "from_elapsed_s",
}  # fmt: skip
START_S = int(datetime(2026, 1, 5, tzinfo=UTC).timestamp())


def tariff_of(vector: Mapping[str, Any]) -> Tariff:
    """The vector's tariff, by way of the project's own document."""
    rates = {**(OWN_VECTORS | VECTORS)[vector.get("rates_of", vector["id"])], **vector}
    document = {
        "name": vector["id"],
        "time_zone": rates.get("tz", "UTC"),
        "prices_include_tax": False,
        "elements": [element(rate) for rate in rates["rates"]],
    }
    for name, short in (("minimum", "min"), ("maximum", "max")):
        if limit := rates.get(short):
            document[name] = {"before_tax": limit["ex"], "total": limit["inc"]}
    return read_tariff(document)


def element(rate: Mapping[str, Any]) -> dict[str, Any]:
    price: dict[str, Any] = {"price": rate["p"]}
    if "step" in rate:
        price["step"] = rate["step"]
    price["taxes"] = [{"name": "VAT", "percent": rate.get("vat", "0")}]
    conditions = {
        CONDITIONS[name]: value for name, value in rate.get("if", {}).items() if name != "days"
    }
    if "days" in rate.get("if", {}):
        conditions["days"] = [int(day) for day in rate["if"]["days"]]
    return {"prices": {PRICES[rate["d"]]: price}, "if": conditions}


def periods_of(vector: Mapping[str, Any]) -> tuple[int, list[MeteredPeriod]]:
    """When the session starts (after a reservation), and what it used."""
    zone = ZoneInfo(vector.get("tz", "UTC"))
    at_s = START_S
    started_s: int | None = None
    periods: list[MeteredPeriod] = []
    for use in vector["use"]:
        if "at" in use:
            at_s = int(datetime.fromisoformat(use["at"]).replace(tzinfo=zone).timestamp())
        elif "at_s" in use:
            at_s = (START_S if started_s is None else started_s) + use["at_s"]
        duration_s = use.get("time_s", 0) + use.get("park_s", 0) + use.get("reserve_s", 0)
        kind = "parked" if "park_s" in use else "charging"
        if "reserve_s" in use:
            kind = "expired" if use.get("expired") else "reserved"
        elif started_s is None:
            started_s = at_s
        energy = scaled(use["kwh"], 6) if "kwh" in use else 0
        power = scaled(use["kw"], 3) if "kw" in use else None
        current = scaled(use["a"], 3) if "a" in use else None
        assert energy is not None
        periods.append(MeteredPeriod(at_s, duration_s, energy, kind, power, current))
        at_s += duration_s
    return at_s if started_s is None else started_s, periods


def totals(vector: Mapping[str, Any]) -> tuple[int, int]:
    """What it costs before and after tax, in minor units."""
    return to_minor(vector["ex"]), to_minor(vector["inc"])

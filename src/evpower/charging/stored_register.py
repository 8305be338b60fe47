"""A transaction's register as JSON."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from evpower.charging.register import MeterPoint, MeterRegister


def write_register(register: MeterRegister) -> dict[str, Any]:
    """Returns a register as JSON, its times as they are."""
    stored: dict[str, Any] = {
        "format": 1,
        "since": register.since,
        "begun": _write_point(register.begun),
        "last": _write_point(register.last),
        "closed_wh": str(register.closed_wh),
        "has_values": register.has_values,
        "suspects": [_write_point(value) for value in register.suspects],
    }
    if register.before is not None:
        stored["before"] = write_register(register.before)
    return stored


def read_register(stored: Mapping[str, Any]) -> MeterRegister:
    """Returns a stored register."""
    before = stored.get("before")
    return MeterRegister(
        since=datetime.fromisoformat(stored["since"]).astimezone(UTC),
        begun=_read_point(stored["begun"]),
        last=_read_point(stored["last"]),
        closed_wh=Decimal(stored["closed_wh"]),
        has_values=stored["has_values"],
        suspects=tuple(
            value for raw in stored["suspects"] if (value := _read_point(raw)) is not None
        ),
        before=None if before is None else read_register(before),
    )


def _write_point(value: MeterPoint | None) -> list[object] | None:
    if value is None:
        return None
    return [str(value.wh), value.at, value.station_at, str(value.resolution_wh)]


def _read_point(raw: Sequence[str | None] | None) -> MeterPoint | None:
    if raw is None:
        return None
    wh, at, station_at, resolution_wh = raw
    assert wh is not None  # noqa: S101 - written by _write_point
    assert at is not None  # noqa: S101
    return MeterPoint(
        Decimal(wh),
        datetime.fromisoformat(at).astimezone(UTC),
        None if station_at is None else datetime.fromisoformat(station_at).astimezone(UTC),
        Decimal(resolution_wh or 1),
    )

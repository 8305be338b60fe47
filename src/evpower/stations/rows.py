"""A station as rows of a file: one a connector, the station's own values in the first."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal, InvalidOperation
from typing import Any, Final, cast

from evpower.foundation.errors import Invalid
from evpower.stations.check import check_draft, usual_connector
from evpower.stations.model import ConnectorDraft, Location, Name, NameKind, StationDraft

LOCATION_FIELDS: Final = (
    "location", "location_name", "address", "city", "country", "latitude", "longitude", "time_zone",
)  # fmt: skip
STATION_FIELDS: Final = (
    "station", "post_code", "names", "owner", "availability", "no_auth", "paid_only",
    "cards_without_auth", "simulated", "pinned_version", "retired", "profile",
    "profile_members",
)  # fmt: skip
CONNECTOR_FIELDS: Final = (
    "connector", "evse", "evse_connector", "evse_id", "standard", "format", "power_type",
    "power_kw",
)  # fmt: skip
FIELDS: Final = STATION_FIELDS + LOCATION_FIELDS + CONNECTOR_FIELDS
_KINDS: Final[Mapping[str, NameKind]] = {"ocpp": "ocpp", "old_id": "old_id", "serial": "serial"}
LISTS: Final = frozenset({"names", "profile_members"})  # a line each; in JSON lists
_W_PER_KW: Final = 1000
_TRUE: Final = {"true", "yes", "1"}
_FALSE: Final = {"false", "no", "0"}
_MAX_DIGITS: Final = 20


def write_rows(draft: StationDraft) -> list[dict[str, str]]:
    """Returns the rows of a station: texts, "" where there is nothing."""
    location = draft.location
    own = {
        "station": draft.id,
        "post_code": draft.post_code or "",
        "names": "\n".join(f"{name.kind}:{name.name}" for name in draft.names),
        "owner": draft.owner or "",
        "availability": draft.availability,
        "no_auth": _word(draft.no_auth),
        "paid_only": _word(draft.paid_only),
        "cards_without_auth": _word(draft.cards_without_auth),
        "simulated": _word(draft.is_simulated),
        "pinned_version": draft.pinned_version or "",
        "retired": _word(draft.is_retired),
        "profile": draft.profile or "",
        "profile_members": "\n".join(f"{name}={text}" for name, text in draft.profile_members),
        "location": location.id,
        "location_name": location.name,
        "address": location.address,
        "city": location.city,
        "country": location.country,
        "latitude": _number(location.latitude),
        "longitude": _number(location.longitude),
        "time_zone": location.time_zone,
    }
    return [own | _connector_row(connector) for connector in draft.connectors]


def read_rows(rows: Sequence[Mapping[str, str]]) -> StationDraft:
    """Returns the station of its rows. What is left out is as usual.

    A value of the station that stands in a later row must be that of the first. Raises
    Invalid("station_invalid").
    """
    first = rows[0]
    for row in rows:
        if unknown := sorted(row.keys() - set(FIELDS)):
            raise _invalid(f"there is no field {unknown[0]!a:.70}")
        for field in STATION_FIELDS + LOCATION_FIELDS:
            if row.get(field, "") not in {"", first.get(field, "")}:
                raise _invalid(f"{field} is another than in the station's first row")
    values = {field: first.get(field, "") for field in FIELDS}
    draft = StationDraft(
        id=values["station"],
        location=_read_location(values),
        connectors=tuple(_read_connector(row, at) for at, row in enumerate(rows, 1)),
        names=_read_names(values["names"]),
        post_code=values["post_code"].lower() or None,
        owner=values["owner"] or None,
        availability=values["availability"] or "operative",
        no_auth=_truth(values, "no_auth", usual=False),
        paid_only=_truth(values, "paid_only", usual=True),
        cards_without_auth=_truth(values, "cards_without_auth", usual=False),
        is_simulated=_truth(values, "simulated", usual=False),
        pinned_version=values["pinned_version"] or None,
        is_retired=_truth(values, "retired", usual=False),
        profile=values["profile"] or None,
        profile_members=_read_members(values["profile_members"]),
    )
    check_draft(draft)
    return draft


def _connector_row(connector: ConnectorDraft) -> dict[str, str]:
    return {
        "connector": str(connector.number),
        "evse": str(connector.evse_number),
        "evse_connector": str(connector.evse_connector),
        "evse_id": connector.evse_id or "",
        "standard": connector.standard,
        "format": connector.format,
        "power_type": connector.power_type,
        "power_kw": _number(Decimal(connector.rated_power_w) / _W_PER_KW),
    }


def _read_connector(row: Mapping[str, str], at: int) -> ConnectorDraft:
    power_w = read_power_w(row.get("power_kw", ""))
    number = _whole(row, "connector", at)
    usual = usual_connector(
        number,
        power_w,
        standard=row.get("standard", ""),
        format_=row.get("format", ""),
        power_type=row.get("power_type", ""),
    )
    return replace(
        usual,
        evse_number=_whole(row, "evse", number),
        evse_connector=_whole(row, "evse_connector", 1),
        evse_id=row.get("evse_id", "") or None,
    )


def read_power_w(text: str) -> int:
    """Returns watts from a text of kW. Raises Invalid("station_invalid")."""
    power = _decimal(text, "power_kw") * _W_PER_KW
    if power != int(power):
        raise _invalid("power_kw has parts of a watt")
    return int(power)


def _read_location(values: Mapping[str, str]) -> Location:
    return Location(
        id=values["location"],
        name=values["location_name"],
        address=values["address"],
        city=values["city"],
        country=values["country"] or "KGZ",
        latitude=_decimal(values["latitude"], "latitude") if values["latitude"] else None,
        longitude=_decimal(values["longitude"], "longitude") if values["longitude"] else None,
        time_zone=values["time_zone"] or "Asia/Bishkek",
    )


def _read_names(text: str) -> tuple[Name, ...]:
    names: list[Name] = []
    for line in text.splitlines():
        kind, separator, name = line.partition(":")
        if not separator or kind not in _KINDS:
            raise _invalid(f"names has a line {line!a:.70}: one reads old_id:CHR-1 or serial:123")
        names.append(Name(name, _KINDS[kind]))
    return tuple(names)


def _read_members(text: str) -> tuple[tuple[str, str], ...]:
    members: dict[str, str] = {}
    for line in text.splitlines():
        member, separator, value = line.partition("=")
        if not separator or not value.strip() or member.strip() in members:
            raise _invalid(f"profile_members has a line {line!a:.70}: one reads settle_s=5")
        members[member.strip()] = value.strip()
    return tuple(sorted(members.items()))


def _truth(values: Mapping[str, str], field: str, *, usual: bool) -> bool:
    text = values[field].strip().lower()
    if text and text not in _TRUE | _FALSE:
        raise _invalid(f"{field} must be true or false")
    return text in _TRUE if text else usual


def _whole(row: Mapping[str, str], field: str, usual: int) -> int:
    text = row.get(field, "").strip()
    if not text:
        return usual
    if not text.isascii() or not text.isdecimal() or len(text) > _MAX_DIGITS:
        raise _invalid(f"{field} must be a whole number")
    return int(text)


def _decimal(text: str, field: str) -> Decimal:
    """Returns a number; a decimal comma is one, too."""
    plain = text.strip().replace(",", ".")
    try:
        number = Decimal(plain)
    except InvalidOperation:
        number = Decimal("NaN")
    if len(plain) > _MAX_DIGITS or not plain.isascii() or "e" in plain.lower() or "_" in plain:
        number = Decimal("NaN")
    if not number.is_finite():
        raise _invalid(f"{field} must be a number")
    return number


def _number(number: Decimal | None) -> str:
    if number is None:
        return ""
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _word(truth: bool) -> str:  # noqa: FBT001 - the value that is written
    return "true" if truth else "false"


def _invalid(detail: str) -> Invalid:
    return Invalid("station_invalid", detail)


def text_of(value: Any, field: str) -> str:  # noqa: ANN401 - a value of JSON
    """Returns a JSON value as a cell has it. Raises Invalid("station_invalid")."""
    match value:
        case None:
            return ""
        case bool():
            return _word(value)
        case str():
            return value
        case int() | float():
            return format(Decimal(str(value)), "f")
        case list() if field in LISTS:
            lines = cast("list[object]", value)
            return "\n".join(text_of(line, field.removesuffix("s")) for line in lines)
        case _:
            raise _invalid(f"{field} must be a text, a number, true or false")

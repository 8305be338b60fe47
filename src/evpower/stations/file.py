"""Files of stations, CSV and JSON: the same fields in both, and what is written is read equal."""

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from evpower.foundation.errors import Invalid
from evpower.foundation.json_reader import MAX_BYTES, NotJson, read_handwritten_json
from evpower.stations.model import StationDraft
from evpower.stations.rows import (
    CONNECTOR_FIELDS,
    FIELDS,
    LISTS,
    LOCATION_FIELDS,
    STATION_FIELDS,
    read_rows,
    text_of,
    write_rows,
)

_SHOWN: Final = 20
_TRUTHS: Final = {"no_auth", "paid_only", "cards_without_auth", "simulated", "retired"}
_NUMBERS: Final = {"connector", "evse", "evse_connector"}


@dataclass(frozen=True, slots=True)
class ReadStation:
    """A station of a file, and the line or place where it stands."""

    where: str
    draft: StationDraft


class InvalidStationFile(Invalid):
    """A file of which nothing is stored, with every line that is wrong."""

    def __init__(self, flaws: Sequence[tuple[str, str]]) -> None:
        shown = "; ".join(f"{where}: {detail}" for where, detail in flaws[:_SHOWN])
        super().__init__("station_invalid", shown)
        self.flaws = tuple(flaws)


def read_stations(raw: bytes, *, is_json: bool) -> list[ReadStation]:
    """Returns the stations of a file. Raises InvalidStationFile with every line that is wrong."""
    stations: list[ReadStation] = []
    flaws: list[tuple[str, str]] = []
    groups = _json_groups(raw, flaws) if is_json else _csv_groups(raw, flaws)
    for where, rows in groups:
        try:
            stations.append(ReadStation(where, read_rows(rows)))
        except Invalid as error:
            flaws.append((where, error.detail))
    if not stations and not flaws:
        flaws.append(("file", "has no station"))
    if flaws:
        raise InvalidStationFile(flaws)
    return stations


def write_csv(drafts: Sequence[StationDraft]) -> str:
    """Returns the stations as CSV: a line of names, then a line a connector."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(FIELDS)
    for draft in drafts:
        writer.writerows([row[field] for field in FIELDS] for row in write_rows(draft))
    return text.getvalue()


def write_json(drafts: Sequence[StationDraft]) -> str:
    """Returns the stations as JSON: a list, each with its connectors."""
    return json.dumps([_object(draft) for draft in drafts], indent=2, ensure_ascii=False) + "\n"


def _object(draft: StationDraft) -> dict[str, object]:
    rows = write_rows(draft)
    own = {
        field: _json_value(field, rows[0][field])
        for field in STATION_FIELDS + LOCATION_FIELDS
        if rows[0][field]
    }
    connectors = [
        {field: _json_value(field, row[field]) for field in CONNECTOR_FIELDS if row[field]}
        for row in rows
    ]
    return own | {"connectors": connectors}


def _json_value(field: str, text: str) -> object:
    if field in _TRUTHS:
        return text == "true"
    if field in LISTS:
        return text.split("\n")
    return int(text) if field in _NUMBERS else text


def _csv_groups(
    raw: bytes, flaws: list[tuple[str, str]]
) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """Yields the rows of each station, which stand together or apart, by its first line."""
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        flaws.append(("file", f"is not UTF-8: {error.reason} at byte {error.start}"))
        return
    head = text.partition("\n")[0]
    delimiter = ";" if head.count(";") > head.count(",") else ","
    # Its own line ends are kept: a name of a station may stand on a line of its own in a cell.
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    groups: dict[str, tuple[str, list[dict[str, str]]]] = {}
    no_cells: list[str] = []
    try:
        names = [name.strip() for name in next(reader, no_cells)]
        if unknown := [name for name in names if name not in FIELDS]:
            flaws.append(("line 1", f"there is no field {unknown[0]!a:.70}"))
            return
        if len(set(names)) != len(names) or "station" not in names:
            flaws.append(("line 1", "names each field once, station among them"))
            return
        begins = reader.line_num + 1
        for cells in reader:
            where, begins = f"line {begins}", reader.line_num + 1
            if not any(cells):
                continue
            if len(cells) != len(names):
                flaws.append((where, f"has {len(cells)} fields, the first line {len(names)}"))
                continue
            row = dict(zip(names, cells, strict=True))
            groups.setdefault(row["station"], (where, []))[1].append(row)
    except csv.Error as error:
        flaws.append((f"line {reader.line_num}", f"is no CSV: {error}"))
    yield from groups.values()


def _json_groups(
    raw: bytes, flaws: list[tuple[str, str]]
) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """Yields the rows of each station of a JSON list."""
    if len(raw) > MAX_BYTES:
        flaws.append(("file", f"is larger than {MAX_BYTES} bytes"))
        return
    try:
        value = read_handwritten_json(raw)
    except NotJson as error:
        flaws.append(("file", str(error)))
        return
    if not isinstance(value, list):
        flaws.append(("file", "is no JSON list of stations"))
        return
    for number, station in enumerate(cast("list[object]", value), 1):
        where = f"station {number}"
        try:
            yield where, _json_rows(station)
        except Invalid as error:
            flaws.append((where, error.detail))


def _json_rows(station: object) -> list[dict[str, str]]:
    own = dict(_members(station, STATION_FIELDS + LOCATION_FIELDS, and_connectors=True))
    connectors = own.pop("connectors", None)
    if not isinstance(connectors, list):
        raise Invalid("station_invalid", "connectors must be a list")
    first = {field: text_of(value, field) for field, value in own.items()}
    rows = [
        {
            field: text_of(value, field)
            for field, value in _members(connector, CONNECTOR_FIELDS).items()
        }
        for connector in cast("list[object]", connectors)
    ]
    if not rows:
        raise Invalid("station_invalid", "a station has 1 to 100 connectors")
    rows[0] = first | rows[0]
    return rows


def _members(
    value: object, fields: Sequence[str], *, and_connectors: bool = False
) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise Invalid("station_invalid", "stations and connectors are JSON objects")
    members = cast("dict[str, Any]", value)
    allowed = {*fields, "connectors"} if and_connectors else set(fields)
    if unknown := sorted(members.keys() - allowed):
        raise Invalid("station_invalid", f"there is no field {unknown[0]!a:.70}")
    return members

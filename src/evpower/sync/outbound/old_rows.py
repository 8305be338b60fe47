"""What the tables of an older backend show of locations, stations and tariffs.

Phones read these tables, so their words and units stay: som as decimals, three words for the
status of a connector. Which columns a project has is found out in Supabase (evpower.write_row).
"""

import hashlib
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

from evpower import stations, tariffs
from evpower.foundation.clock import to_z
from evpower.foundation.db import Connection
from evpower.foundation.errors import NotFound
from evpower.stations import Connector, StationView
from evpower.sync.outbound.old_row import OldRow, Write
from evpower.sync.outbound.old_rules import rules
from evpower.sync.outbound.presence import REFRESHED_WITHIN
from evpower.sync.outbound.store_rows import RowIds
from evpower.tariffs import ClientTariff, Place, RateCard, Rates, Snapshot

_W_PER_KW: Final = 1000
_DISCOUNTED: Final = frozenset({"energy", "time"})
_ORDER: Final = {"location": 0, "tariff": 1, "station": 2, "client_tariff": 3}
_OCCUPIED: Final = frozenset(
    {"preparing", "occupied", "charging", "suspended_ev", "suspended_evse", "finishing", "reserved"}
)


async def read_rows(connection: Connection, ids: RowIds, now: datetime) -> list[OldRow]:
    """Returns the rows of these keys: locations and tariffs before the stations that name them."""
    if not ids:
        return []
    views = await stations.list_stations(connection, with_retired=True)
    wanted = {id_ for topic, id_ in ids.values() if topic == "station"}
    chosen = [view for view in views if view.station.id in wanted]
    priced = await _find_prices(connection, chosen, now)
    by_station = {
        view.station.id: _station(view, priced.get(view.station.id), now) for view in chosen
    }
    by_location: dict[str, list[StationView]] = {}
    for view in views:
        if view.station.retired_at is None:
            by_location.setdefault(view.location.id, []).append(view)
    locations: dict[str, stations.Location] = {}
    if any(topic == "location" for topic, _ in ids.values()):
        listed = await stations.list_locations(connection)
        locations = {view.location.id: view.location for view in listed}
    rows: list[OldRow] = []
    for key, (topic, id_) in sorted(ids.items(), key=lambda item: (_ORDER[item[1][0]], item[1][1])):
        if topic == "location" and id_ in locations:
            writes = [_location(locations[id_], by_location.get(id_, []))]
        elif topic == "tariff":
            writes = await _tariff(connection, key, id_, now)
        elif topic == "client_tariff":
            writes = await _client_tariff(connection, key, id_, now)
        else:
            writes = by_station.get(id_, [])
        rows.append(OldRow(topic, key, id_, writes))
    return rows


def plan_key(code: str) -> UUID:
    """Returns a tariff plan's id in the older table, as sync.row_key makes it."""
    return UUID(hashlib.md5(f"tariff:{code}".encode(), usedforsecurity=False).hexdigest())


class _StationPrice(NamedTuple):
    """What a station shows of its tariffs."""

    snapshot: Snapshot  # of the connector with the highest price
    rates: Rates
    volatile: Sequence[str]  # columns that change with time alone


async def _find_prices(
    connection: Connection, views: Sequence[StationView], now: datetime
) -> dict[str, _StationPrice]:
    """Returns by station the highest prices of its connectors, until its row is sent again."""
    places = [place for view in views for place in _places(view)]
    by_station: dict[str, list[tuple[Snapshot, Rates]]] = {}
    snapshots = await tariffs.find_tariffs(connection, places, now) if places else []
    shown = _rates_until_refresh(filter(None, snapshots), now)
    for place, snapshot in zip(places, snapshots, strict=True):
        if snapshot is not None:
            rates = shown[snapshot.plan, snapshot.version]
            by_station.setdefault(place.station or "", []).append((snapshot, rates))
    return {station_id: _highest(prices) for station_id, prices in by_station.items()}


def _rates_until_refresh(
    snapshots: Iterable[Snapshot], now: datetime
) -> dict[tuple[str, int], Rates]:
    """Returns by plan and version the highest prices until a station's row is sent again.

    Each tariff is read once, however many connectors have it.
    """
    tariffs_by_version = {(each.plan, each.version): each.tariff for each in snapshots}
    return {
        key: RateCard(tariff).ahead_until(now, now + REFRESHED_WITHIN)
        for key, tariff in tariffs_by_version.items()
    }


def _places(view: StationView) -> list[Place]:
    station_id, location_id = view.station.id, view.location.id
    numbers = [f"{station_id}/{connector.number}" for connector in view.connectors]
    return [Place(number, station_id, location_id) for number in numbers or [None]]


def _highest(prices: Sequence[tuple[Snapshot, Rates]]) -> _StationPrice:
    snapshot, _ = max(prices, key=lambda entry: (entry[1].per_kwh, entry[1].session_fee))
    rates = tariffs.highest(rates for _, rates in prices) or prices[0][1]
    volatile: tuple[str, ...] = ()
    if rates.next_change_at is not None:  # by the hour: it follows within minutes
        volatile = ("price_per_kwh", "session_fee")
        if len({snapshot.plan for snapshot, _ in prices}) > 1:
            volatile += ("tariff_plan_id",)
    return _StationPrice(snapshot, rates, volatile)


def _location(location: stations.Location, views: Sequence[StationView]) -> Write:
    place = {"latitude": location.latitude, "longitude": location.longitude}
    return {
        "table": "locations",
        "match": {"id": location.id},
        "always": {
            "name": location.name,
            "address": location.address,
            "status": "active",
            "stations_count": len(views),
            "connectors_count": sum(len(view.connectors) for view in views),
            **{name: str(value) for name, value in place.items() if value is not None},
        },
        "at_first": {"city": location.city, "country": location.country},
    }


def _station(view: StationView, priced: _StationPrice | None, now: datetime) -> list[Write]:
    station, connectors = view.station, view.connectors
    status = "active"
    if station.retired_at is not None:
        status = "inactive"
    elif not view.in_service:
        status = "maintenance"
    always: dict[str, Any] = {
        "location_id": view.location.id,
        "status": status,
        "connectors_count": len(connectors),
        "is_available": status == "active" and view.is_online(now),
    }
    if view.last_frame_at is not None:
        always["last_heartbeat_at"] = to_z(view.last_frame_at)
    if station.firmware is not None:
        always["firmware_version"] = station.firmware
    writes = [_present("locations", _location(view.location, ()))]
    volatile: Sequence[str] = ()
    if priced is not None:
        volatile = priced.volatile
        always |= _prices(priced.snapshot, priced.rates)
        plan = {
            "match": {"id": always["tariff_plan_id"]},
            "at_first": {"name": _name(priced.snapshot)},
        }
        writes.append({"table": "tariff_plans", "always": {}, **plan})
    row: Write = {
        "table": "stations",
        "match": {"id": station.id},
        "always": always,
        "volatile": volatile,
        "at_first": {
            "serial_number": stations.shown_serial(view),
            "model": station.model or "",
            "manufacturer": station.vendor or "",
            "power_capacity": max((row.rated_power_w for row in connectors), default=0) / _W_PER_KW,
            "connector_types": sorted(
                {stations.connector_label(connector.standard) for connector in connectors}
            ),
        },
    }
    return [*writes, row, *(_connector(view, connector) for connector in connectors)]


def _present(table: str, write: Write) -> Write:
    """Returns a write that only makes a row where there is none."""
    first = write["at_first"] | write["always"]
    return {"table": table, "match": write["match"], "always": {}, "at_first": first}


def _prices(snapshot: Snapshot, rates: Rates) -> dict[str, object]:
    return {
        "tariff_plan_id": str(plan_key(snapshot.plan)),
        "price_per_kwh": rates.per_kwh,
        "session_fee": rates.session_fee,
        "currency": rates.currency,
    }


def _connector(view: StationView, connector: Connector) -> Write:
    always: dict[str, Any] = {
        "status": _status(view, connector),
        "error_code": connector.reported_error,
    }
    if connector.reported_at is not None:
        always["last_status_update"] = to_z(connector.reported_at)
    return {
        "table": "connectors",
        "match": {"station_id": connector.station_id, "connector_number": connector.number},
        "always": always,
        "at_first": {
            "connector_type": stations.connector_label(connector.standard),
            "power_kw": connector.rated_power_w / _W_PER_KW,
        },
    }


def _status(view: StationView, connector: Connector) -> str:
    if view.station.forward_url is not None:
        return "unavailable"
    if connector.reported_status in _OCCUPIED:
        return "occupied"
    wanted = {view.station.wanted_availability, connector.wanted_availability}
    if "inoperative" in {*wanted, view.station.reported_availability}:
        return "unavailable"
    return connector.reported_status or "unavailable"


async def _tariff(connection: Connection, key: UUID, code: str, now: datetime) -> list[Write]:
    """Returns the plan and the rules of the version in force."""
    try:
        snapshot = await tariffs.get_plan(connection, code, at=now)
    except NotFound:  # only drafts and later versions: nothing is priced by it yet
        return []
    plan = {
        "table": "tariff_plans",
        "match": {"id": str(key)},
        "always": {"name": _name(snapshot), "is_active": True},
    }
    written = rules(snapshot, str(key), now)
    others: Write = {
        "table": "tariff_rules",
        "match": {"tariff_plan_id": str(key)},
        "keep": [rule["match"]["id"] for rule in written],
        "always": {"is_active": False},
    }
    # A date that is over since then may have other rules, which are not sent yet.
    earlier = now - 2 * REFRESHED_WITHIN
    may_be_late = _has_turned(snapshot, earlier, now) and (
        rules(snapshot, str(key), earlier) != written
    )
    return [plan, *(rule | {"may_be_late": may_be_late} for rule in (*written, others))]


def _has_turned(snapshot: Snapshot, earlier: datetime, now: datetime) -> bool:
    """Returns whether a tariff's date has changed."""
    zone = ZoneInfo(snapshot.tariff.time_zone)
    return earlier.astimezone(zone).date() != now.astimezone(zone).date()


async def _client_tariff(
    connection: Connection, key: UUID, number: str, now: datetime
) -> list[Write]:
    """Returns a client's tariff: a discount, on the tariff of the place or on a plan of its own."""
    own = await tariffs.get_client_tariff(connection, int(number))
    if own is None:
        return []
    writes: list[Write] = []
    plan = None
    if own.plan is not None:
        plan = str(plan_key(own.plan))
        named = {"match": {"id": plan}, "at_first": {"name": own.plan}}
        writes.append({"table": "tariff_plans", "always": {}, **named})
    row: Write = {
        "table": "client_tariffs",
        "match": {"id": str(key)},
        "always": {
            "client_id": str(own.client_id),
            "tariff_plan_id": plan,
            "discount_percent": _discount(own),
            "is_active": own.valid_until is None or own.valid_until > now,
            "valid_from": to_z(own.valid_from),
            "valid_until": None if own.valid_until is None else to_z(own.valid_until),
        },
        "volatile": ("is_active",),
        "at_first": {"created_at": to_z(own.created_at)},
    }
    return [*writes, row]


def _discount(own: ClientTariff) -> str | None:
    """Returns the percentage that readers take off energy and time; 0: it is not on both."""
    if own.discount_ppm is not None and not own.discount_on >= _DISCOUNTED:
        return "0"
    return tariffs.discount_text(own.discount_ppm)


def _name(snapshot: Snapshot) -> str:
    return snapshot.tariff.name or snapshot.plan

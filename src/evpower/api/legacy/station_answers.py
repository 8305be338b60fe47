"""The old shapes of stations and locations. A null only where every app accepts one."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Literal, NamedTuple

from evpower.stations import (
    Connector,
    Location,
    LocationView,
    StationView,
    connector_label,
    shown_serial,
)
from evpower.tariffs import Rates, highest

StationWord = Literal["available", "occupied", "offline", "maintenance"]
ConnectorWord = Literal["available", "occupied", "faulted", "unknown"]
LocationWord = Literal["available", "partial", "occupied", "offline", "maintenance"]

_CURRENCY: Final = "KGS"
_W_PER_KW: Final = 1000
_WORKING_HOURS: Final = "Круглосуточно"
_RUSSIAN: Final[Mapping[ConnectorWord, str]] = {
    "available": "Свободен",
    "occupied": "Занят",
    "faulted": "Неисправен",
    "unknown": "Неизвестно",
}
_OCCUPIED: Final = frozenset(
    {"occupied", "charging", "suspended_ev", "suspended_evse", "finishing", "reserved"}
)
# Older apps know three words, which stand for a station in itself; "inactive" can't be charged at.
_OLD_WORDS: Final = {"available": "active", "occupied": "inactive"}


def old_word(word: StationWord) -> str:
    """Returns the word of a station for apps that call a free one active."""
    return _OLD_WORDS.get(word, word)


class ShownStation(NamedTuple):
    """A station as it stands at a moment, with its prices."""

    view: StationView
    connectors: tuple[tuple[Connector, str], ...]  # with what they are to an app
    prices: tuple[Rates | None, ...]  # of each connector; None: it has none, and starts no session
    is_online: bool
    in_maintenance: bool
    is_free: bool  # for a time every card charges there, and no app begins a session

    @property
    def rates(self) -> Rates | None:
        """The highest prices of its connectors; None: none has one."""
        return highest(rates for rates in self.prices if rates is not None)

    @property
    def word(self) -> StationWord:
        """Its word on the map, where a plugged-in connector is occupied."""
        if self.in_maintenance:
            return "maintenance"
        words = {connector_word(status, on_map=True) for _, status in self.connectors}
        if self.is_online and "available" in words:
            return "available"
        return "occupied" if self.is_online and "occupied" in words else "offline"


def show(
    view: StationView, prices: Sequence[Rates | None], now: datetime, *, is_free: bool = False
) -> ShownStation:
    """Returns a station as it stands now; `prices` are of its connectors, in their order."""
    return ShownStation(
        view=view,
        connectors=tuple(
            (connector, view.status_of(connector, now)) for connector in view.connectors
        ),
        prices=tuple(prices),
        is_online=view.is_online(now),
        in_maintenance=not view.in_service,
        is_free=is_free,
    )


def connector_word(status: str, *, on_map: bool = False) -> ConnectorWord:
    """Returns the old word of a connector's status; a plugged-in one is free for its driver."""
    if status == "available" or (status == "preparing" and not on_map):
        return "available"
    if status in _OCCUPIED or status == "preparing":
        return "occupied"
    return "faulted" if status == "faulted" else "unknown"


def station_status(station: ShownStation, message: str) -> dict[str, Any]:
    """Returns one station with its connectors, in Russian words as the apps print them."""
    view = station.view
    connectors = [
        _connector(connector, status, rates)
        for (connector, status), rates in zip(station.connectors, station.prices, strict=True)
    ]
    words = [connector_word(status) for _, status in station.connectors]
    return {
        "success": True,
        "station_id": view.station.id,
        "serial_number": shown_serial(view),
        "model": view.station.model or "",
        "manufacturer": view.station.vendor or "",
        "online": station.is_online,
        "station_status": "maintenance" if station.in_maintenance else "active",
        "location_status": "active",
        "available_for_charging": can_start(station),
        "location_id": view.location.id,
        "location_name": view.location.name,
        "location_address": view.location.address,
        "connectors": connectors,
        "total_connectors": len(words),
        "available_connectors": words.count("available"),
        "occupied_connectors": words.count("occupied"),
        "faulted_connectors": words.count("faulted") + words.count("unknown"),
        "tariff_rub_kwh": 0.0 if station.rates is None else station.rates.per_kwh,
        "session_fee": 0.0 if station.rates is None else station.rates.session_fee,
        "currency": _CURRENCY if station.rates is None else station.rates.currency,
        "working_hours": _WORKING_HOURS,
        "message": message,
    }


def can_start(station: ShownStation) -> bool:
    """Returns whether a session could begin now."""
    is_wanted = station.is_online and not station.in_maintenance and not station.is_free
    return is_wanted and any(
        connector_word(status) == "available" and rates is not None
        for (_, status), rates in zip(station.connectors, station.prices, strict=True)
    )


def message_codes(station: ShownStation) -> tuple[str, ...]:
    """Returns the code of the sentence that tells whether a session could begin."""
    if can_start(station):
        return ("station_ready",)
    if station.in_maintenance:
        return ("station_unavailable",)
    if not station.is_online:
        return ("station_offline",)
    if station.is_free:
        return ("station_free",)
    return ("tariff_missing",) if station.rates is None else ("station_no_free_connector",)


def _connector(connector: Connector, status: str, rates: Rates | None) -> dict[str, Any]:
    word = connector_word(status)
    error = connector.reported_error
    return {
        "id": connector.number,
        "type": connector_label(connector.standard),
        "status": _RUSSIAN[word],
        "available": word == "available",
        "power_kw": connector.rated_power_w / _W_PER_KW,
        "error": None if error in (None, "", "NoError") else error,
        "price_per_kwh": 0.0 if rates is None else rates.per_kwh,
        "session_fee": 0.0 if rates is None else rates.session_fee,
    }


def location(
    place: Location, stations: Sequence[ShownStation], *, old_words: bool, with_stations: bool
) -> dict[str, Any]:
    """Returns a location; `old_words`: for apps that call a free station active."""
    words: list[StationWord] = [station.word for station in stations]
    connectors = [_summary(station) for station in stations]
    total = {name: sum(summary[name] for summary in connectors) for name in _COUNTS}
    answer: dict[str, Any] = {
        "id": place.id,
        "name": place.name,
        "address": place.address,
        "city": place.city,
        "country": place.country,
        "coordinates": {
            "latitude": None if place.latitude is None else float(place.latitude),
            "longitude": None if place.longitude is None else float(place.longitude),
        },
        "status": location_word(words),
        "stations_count": len(words),
        "connectors_count": total["total"],
        "available_connectors": total["available"],
        "stations_summary": stations_summary(words),
        "connectors_summary": total,
        "stations": (
            [_station(station, old_words=old_words) for station in stations]
            if with_stations
            else []
        ),
    }
    if place.latitude is not None and place.longitude is not None:
        answer |= {"latitude": float(place.latitude), "longitude": float(place.longitude)}
    return answer


def location_word(words: Sequence[StationWord]) -> LocationWord:
    """Returns the word of a location: where a station is free, drivers may go there."""
    if not words:
        return "offline"
    if "available" in words:
        return "available" if set(words) == {"available"} else "partial"
    if "occupied" in words:
        return "occupied"
    return "maintenance" if "maintenance" in words else "offline"


def stations_summary(words: Sequence[StationWord]) -> dict[str, int]:
    """Returns how many stations have each word."""
    counted = {word: words.count(word) for word in _STATION_WORDS}
    return {"total": len(words), **counted}


_COUNTS: Final = ("total", "available", "occupied", "faulted")
_STATION_WORDS: Final[tuple[StationWord, ...]] = ("available", "occupied", "offline", "maintenance")


def _summary(station: ShownStation) -> dict[str, int]:
    words = [connector_word(status, on_map=True) for _, status in station.connectors]
    return {
        "total": len(words),
        "available": words.count("available"),
        "occupied": words.count("occupied"),
        "faulted": words.count("faulted") + words.count("unknown"),
    }


def _station(station: ShownStation, *, old_words: bool) -> dict[str, Any]:
    view, word = station.view, station.word
    rates = station.rates
    tariff = {
        "price_per_kwh": 0.0 if rates is None else rates.per_kwh,
        "session_fee": 0.0 if rates is None else rates.session_fee,
        "currency": _CURRENCY if rates is None else rates.currency,
    }
    powers = [connector.rated_power_w for connector in view.connectors]
    labels = [connector_label(connector.standard) for connector in view.connectors]
    return {
        "id": view.station.id,
        "serial_number": shown_serial(view),
        "model": view.station.model or "",
        "manufacturer": view.station.vendor or "",
        "location_id": view.location.id,
        "status": old_word(word) if old_words else word,
        "is_available": can_start(station),
        "power_capacity": max(powers, default=0) / _W_PER_KW,
        "connectors_count": len(view.connectors),
        "connector_types": list(dict.fromkeys(labels)),
        **tariff,
        "tariff": tariff,
        "connectors_summary": _summary(station),
    }


def locations(
    shown: Sequence[tuple[LocationView, Sequence[ShownStation]]],
    *,
    old_words: bool,
    with_stations: bool,
) -> dict[str, Any]:
    """Returns every location."""
    return {
        "success": True,
        "locations": [
            location(view.location, stations, old_words=old_words, with_stations=with_stations)
            for view, stations in shown
        ],
        "total": len(shown),
    }

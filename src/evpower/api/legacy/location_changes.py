"""Sends changes of stations to the old live sockets: also that one went offline."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Final, TypeAlias
from uuid import UUID

from evpower.api.legacy.location_feed import ALL, LocationFeed
from evpower.api.legacy.station_answers import (
    ShownStation,
    StationWord,
    connector_word,
    location_word,
    old_word,
    stations_summary,
)
from evpower.api.legacy.station_board import Board, StationBoard
from evpower.foundation.bus import Bus, Topic
from evpower.foundation.clock import Clock, to_z
from evpower.foundation.loops import Loop, Pause, Round, Wakeup
from evpower.stations import STATION_CHANGED, Location, connector_label, shown_serial

_PERIOD_S: Final = 5.0  # a station that falls silent announces nothing
_AT_MOST_EVERY_S: Final = 0.5
_W_PER_KW: Final = 1000

_ShownState: TypeAlias = dict[str, Any]


class LocationChanges:
    """Compares the newest board with the one that was sent last."""

    def __init__(self, feed: LocationFeed, board: StationBoard, bus: Bus, clock: Clock) -> None:
        self._feed = feed
        self._board = board
        self._bus = bus
        self._clock = clock
        self._wakeup = Wakeup()
        self._sent: dict[tuple[str, ...], _ShownState] | None = None  # None: no socket was open
        feed.joined = self._on_join

    def loop(self) -> Loop:
        """Returns the loop that listens to the bus and sends."""
        return Loop(
            "old_location_changes",
            self._round,
            period_s=_PERIOD_S,
            wakeup=self._wakeup,
            around=self._listening,
        )

    @asynccontextmanager
    async def _listening(self) -> AsyncGenerator[None]:
        unsubscribe = self._bus.subscribe(self._on_change)
        try:
            yield
        finally:
            unsubscribe()

    def _on_change(self, topic: Topic, _: UUID) -> None:
        if topic == STATION_CHANGED and len(self._feed):
            self._board.expire()
            self._wakeup.notify()

    def _on_join(self) -> None:
        if self._sent is None:  # what is sent later is what differs from now
            self._wakeup.notify()

    async def _round(self, _: Round) -> Pause | None:
        if not len(self._feed):
            self._sent = None
            return None
        await self.send()
        return Pause(_AT_MOST_EVERY_S, wakeable=False) if self._wakeup.is_set else None

    async def send(self) -> None:
        """Sends what is other than at the last time; the first time sends nothing."""
        known, now = self._sent, self._clock()
        self._sent = states = _states(await self._board.get())
        if known is None:
            return
        for key, state in states.items():
            if known.get(key) != state:
                self._push(state, now)

    def _push(self, state: _ShownState, now: datetime) -> None:
        """Sends one message, with its members also under `data`, as the old server wrote it."""
        facts = {**state["facts"], "timestamp": to_z(now)}
        message = {"type": state["type"], **facts, "data": facts}
        old_message = None
        if "old_status" in state:
            facts = {**facts, "status": state["old_status"]}
            old_message = {"type": state["type"], **facts, "data": facts}
        self._feed.push_once((ALL, *state["channels"]), message, old_message)


def _states(board: Board) -> dict[tuple[str, ...], _ShownState]:
    """Returns the message of every location, station and connector, without its time."""
    states: dict[tuple[str, ...], _ShownState] = {}
    for view, stations in board.shown:
        place = view.location
        for station in stations:
            station_id = station.view.station.id
            states[place.id, station_id] = _station_state(place, station)
            states.update(_connector_states(place, station))
        states[(place.id,)] = _location_state(place, stations)
    return states


def _location_state(place: Location, stations: Sequence[ShownStation]) -> _ShownState:
    words: list[StationWord] = [station.word for station in stations]
    connectors = [
        connector_word(status, on_map=True)
        for station in stations
        for _, status in station.connectors
    ]
    return {
        "type": "location_status_update",
        "channels": (f"location:{place.id}",),
        "facts": {
            "location_id": place.id,
            "location_name": place.name,
            "status": location_word(words),
            "stations_summary": stations_summary(words),
            "connectors_summary": {
                "total": len(connectors),
                "available": connectors.count("available"),
                "occupied": connectors.count("occupied"),
                "faulted": connectors.count("faulted") + connectors.count("unknown"),
            },
        },
    }


def _station_state(place: Location, station: ShownStation) -> _ShownState:
    words = [(connector, connector_word(status)) for connector, status in station.connectors]
    names = [word for _, word in words]
    return {
        "type": "station_status_update",
        "old_status": old_word(station.word),
        "channels": (
            f"location_stations:{place.id}",
            *station_channels("station:", station),
        ),
        "facts": {
            "station_id": station.view.station.id,
            "serial_number": shown_serial(station.view),
            "location_id": place.id,
            "status": station.word,
            "available_connectors": names.count("available"),
            "occupied_connectors": names.count("occupied"),
            "connectors": [
                {
                    "id": connector.number,
                    "connector_id": connector.number,
                    "status": word,
                    "available": word == "available",
                    "power_kw": connector.rated_power_w / _W_PER_KW,
                }
                for connector, word in words
            ],
        },
    }


def _connector_states(
    place: Location, station: ShownStation
) -> Mapping[tuple[str, ...], _ShownState]:
    station_id = station.view.station.id
    return {
        (place.id, station_id, str(connector.number)): {
            "type": "connector_status_update",
            "channels": (
                f"location_stations:{place.id}",
                *station_channels("station:", station),
                *(
                    f"{channel}:{connector.number}"
                    for channel in station_channels("connector_updates:", station)
                ),
            ),
            "facts": {
                "connector_id": connector.number,
                "station_id": station_id,
                "location_id": place.id,
                "status": connector_word(status),
                "error_code": connector.reported_error or "NoError",
                "connector_type": connector_label(connector.standard),
                "power_kw": connector.rated_power_w / _W_PER_KW,
            },
        }
        for connector, status in station.connectors
    }


def station_channels(prefix: str, station: ShownStation) -> tuple[str, ...]:
    """Returns a station's channels: apps know it by its id or its serial number."""
    names = {station.view.station.id, shown_serial(station.view)}
    return tuple(f"{prefix}{name}" for name in sorted(names))

"""What everyone may read of stations: read once for all callers, at most two seconds old."""

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import orjson

from evpower.api import messages
from evpower.api.legacy import station_answers
from evpower.api.legacy.station_answers import ShownStation
from evpower.charging import list_free_stations
from evpower.foundation.cache import CachedValue, TtlCache
from evpower.foundation.clock import Clock
from evpower.foundation.db import Database
from evpower.stations import LocationView, key_of, list_locations
from evpower.tariffs import Place, RateCard, Rates, Snapshot, find_tariffs

TTL_S: Final = 1.5  # and half a second to read them
_RENEW_S: Final = 1.0  # read ahead of the end, so that no phone waits for it
REFRESH_S: Final = 5.0
_SHORTEST_S: Final = 0.5  # between two boards
_REFRESHED: Final = 10_000  # locations


@dataclass(frozen=True, slots=True)
class Body:
    """A whole response body and its entity tag."""

    content: bytes
    etag: str


@dataclass(slots=True)
class Board:
    """All locations as they stood at a moment. Bodies are made when they are first asked for."""

    shown: Sequence[tuple[LocationView, Sequence[ShownStation]]]
    _by_name: Mapping[str, ShownStation] = field(default_factory=dict[str, ShownStation])
    _bodies: dict[tuple[object, ...], Body] = field(default_factory=dict[tuple[object, ...], Body])

    def locations(self, *, old_words: bool, with_stations: bool) -> Body:
        """Returns the list of locations."""
        return self._body(
            ("locations", old_words, with_stations),
            lambda: station_answers.locations(
                self.shown, old_words=old_words, with_stations=with_stations
            ),
        )

    def location(self, location_id: str, *, old_words: bool) -> Body | None:
        """Returns one location with its stations; None: there is none of this id."""
        answer = self.location_answer(location_id, old_words=old_words)
        if answer is None:
            return None
        return self._body(("location", location_id, old_words), lambda: answer)

    def location_answer(self, location_id: str, *, old_words: bool) -> dict[str, Any] | None:
        """Returns one location as a JSON object."""
        for view, stations in self.shown:
            if view.location.id == location_id:
                return station_answers.location(
                    view.location, stations, old_words=old_words, with_stations=True
                )
        return None

    def find(self, name: str) -> ShownStation | None:
        """Returns a station by any of its names."""
        return self._by_name.get(key_of(name))

    def station(self, name: str, language: str) -> Body | None:
        """Returns the answer for a station by any of its names; None: no station has this one."""
        station = self.find(name)
        if station is None:
            return None

        def answer() -> dict[str, Any]:
            message = messages.sentence(station_answers.message_codes(station), language)
            return station_answers.station_status(station, message)

        return self._body(("station", station.view.station.id, language), answer)

    def _body(self, key: tuple[object, ...], answer: Callable[[], dict[str, Any]]) -> Body:
        body = self._bodies.get(key)
        if body is None:
            content = orjson.dumps(answer())
            tag = hashlib.blake2b(content, digest_size=12).hexdigest()
            body = self._bodies[key] = Body(content, f'"{tag}"')
        return body


class StationBoard:
    """The newest board of this process."""

    def __init__(
        self, db: Database, clock: Clock, *, now_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._db = db
        self._clock = clock
        self._now_s = now_s
        self._board = CachedValue(self._read, ttl_s=TTL_S, now_s=now_s, renew_s=_RENEW_S)
        self._refreshed = TtlCache[str, bool](_REFRESHED, now_s)
        self._read_at_s = -_SHORTEST_S
        self._cards: dict[tuple[str, int], RateCard] = {}  # by plan and version: they never change

    async def get(self) -> Board:
        """Returns a board that is at most two seconds old."""
        return await self._board.get()

    def expire(self) -> None:
        """Makes the next caller read."""
        self._board.expire()

    async def refresh(self, location_id: str) -> Board:
        """Returns a board of the last half second, once in 5 s for each location; else as `get`."""
        board = await self._board.get()
        is_known = any(view.location.id == location_id for view, _ in board.shown)
        if not is_known or self._refreshed.get(location_id):
            return board
        now_s = self._now_s()
        self._refreshed.put(location_id, value=True, expires_at=now_s + REFRESH_S)
        if now_s - self._read_at_s >= _SHORTEST_S:  # whoever refreshes all locations reads no more
            self._board.expire()
        return await self._board.get()

    async def _read(self) -> Board:
        now = self._clock()
        self._read_at_s = self._now_s()
        async with self._db.connection() as connection:
            views = await list_locations(connection)
            listed = [station for view in views for station in view.stations]
            places = [
                Place(
                    connector=f"{view.station.id}/{connector.number}",
                    station=view.station.id,
                    location=view.location.id,
                )
                for view in listed
                for connector in view.connectors
            ]
            snapshots = await find_tariffs(connection, places, now) if places else []
            free = await list_free_stations(connection, now)
        prices: dict[str, list[Rates | None]] = {view.station.id: [] for view in listed}
        for place, snapshot in zip(places, snapshots, strict=True):
            prices[place.station or ""].append(self._rates(snapshot, now))
        shown = [
            (
                view,
                [
                    station_answers.show(
                        station,
                        prices[station.station.id],
                        now,
                        is_free=station.station.id in free,
                    )
                    for station in view.stations
                ],
            )
            for view in views
        ]
        names = {
            key_of(name.name): station
            for _, stations in shown
            for station in stations
            for name in station.view.names
        }
        return Board(shown, names)

    def _rates(self, snapshot: Snapshot | None, now: datetime) -> Rates | None:
        if snapshot is None:
            return None
        key = snapshot.plan, snapshot.version
        card = self._cards.get(key)
        if card is None:
            card = self._cards[key] = RateCard(snapshot.tariff)
        return card.ahead(now)

"""What the old live sockets are sent of stations, as they change."""

import asyncio
from datetime import timedelta
from typing import Any

import orjson
import pytest

from evpower.api.legacy.location_changes import LocationChanges
from evpower.api.legacy.location_feed import LocationFeed, Viewer
from evpower.api.legacy.station_board import StationBoard
from evpower.foundation.bus import LocalBus
from evpower.foundation.db import Database
from evpower.stations import STATION_CHANGED, station_key
from tests.api.scenario import Turning, WallClock
from tests.api.stations_scenario import YARD, Site, serial
from tests.api.test_location_feed import Wire
from tests.old_api.golden_answers import compare
from tests.waiting import until


class Feed:
    """The old feed over real stations, and phones."""

    def __init__(self, db: Database) -> None:
        self.clock, self.now_s, self.bus = WallClock(), Turning(), LocalBus()
        self.site = Site(db, self.clock)
        self.feed = LocationFeed()
        board = StationBoard(db, self.clock, now_s=self.now_s)
        self.changes = LocationChanges(self.feed, board, self.bus, self.clock)
        self._board = board

    def phone(self, *channels: str) -> tuple[Viewer, Wire]:
        wire = Wire()
        viewer = self.feed.join(wire)
        if channels:
            self.feed.unsubscribe(viewer, "all")
        for channel in channels:
            self.feed.subscribe(viewer, channel)
        return viewer, wire

    async def send(self) -> None:
        self._board.expire()
        await self.changes.send()


def messages(wire: Wire) -> list[dict[str, Any]]:
    read = [orjson.loads(frame[frame.index(b"{") :]) for frame in wire.frames]
    return [message for message in read if message["type"] != "ping"]


@pytest.fixture
async def feed(db: Database) -> Feed:
    feed = Feed(db)
    await feed.site.price({"energy_per_kwh": "13.5"})
    await feed.site.ready("EVP-1", connectors=2, names=serial("SN-1"))
    await feed.site.ready("EVP-2", location=YARD)
    return feed


async def test_a_change_is_sent_once_to_each_of_its_channels(feed: Feed) -> None:
    phones = {
        channel: feed.phone(channel)[1]
        for channel in (
            "all", "location:mall", "location_stations:mall", "station:EVP-1", "station:SN-1",
            "location:yard", "station:EVP-2", "connector_updates:EVP-1:2",
            "connector_updates:SN-1:2", "connector_updates:EVP-1:1",
        )
    }  # fmt: skip
    both = feed.phone("all", "station:EVP-1")[1]
    await feed.send()
    assert not any(messages(wire) for wire in phones.values()), "the first state is no change"
    await feed.site.report("EVP-1", 2, "charging")
    await feed.send()
    compare(
        "v1/ws/locations/messages", {channel: messages(wire) for channel, wire in phones.items()}
    )
    kinds = sorted(message["type"] for message in messages(both))
    assert kinds == [
        "connector_status_update", "location_status_update", "station_status_update",
    ]  # fmt: skip
    for wire in phones.values():
        wire.frames.clear()
    await feed.send()
    assert not any(messages(wire) for wire in phones.values()), "nothing changed since"


async def test_the_older_apps_get_their_words(feed: Feed) -> None:
    old, new = Wire(), Wire()
    feed.feed.join(old, old_words=True)
    feed.feed.join(new)
    await feed.send()
    words: list[list[str]] = []
    for status in ("charging", "available"):
        for number in (1, 2):
            await feed.site.report("EVP-1", number, status)
        await feed.send()
    for wire in (old, new):
        stations = [each for each in messages(wire) if each["type"] == "station_status_update"]
        words.append([station["status"] for station in stations])
        assert [station["data"]["status"] for station in stations] == words[-1]
    assert words == [["inactive", "active"], ["occupied", "available"]]


async def test_a_station_that_falls_silent_is_sent_as_offline(feed: Feed) -> None:
    wire = feed.phone("station:EVP-2")[1]
    await feed.send()
    feed.clock.ahead = timedelta(seconds=100)
    await feed.send()
    [station] = [each for each in messages(wire) if each["type"] == "station_status_update"]
    assert (station["status"], station["available_connectors"]) == ("offline", 0)


async def test_a_notified_change_is_sent_by_the_loop(feed: Feed) -> None:
    stop = asyncio.Event()
    running = asyncio.create_task(feed.changes.loop().run(stop))
    try:
        wire = feed.phone()[1]
        await until(lambda: feed.changes._sent is not None)
        await feed.site.report("EVP-1", 1, "charging")
        feed.bus.publish(STATION_CHANGED, station_key("EVP-1"))
        await until(lambda: bool(messages(wire)))
    finally:
        stop.set()
        await running


async def test_without_a_socket_nothing_is_read(feed: Feed, db: Database) -> None:
    await db.close()
    stop = asyncio.Event()
    loop = feed.changes.loop()
    running = asyncio.create_task(loop.run(stop))
    feed.bus.publish(STATION_CHANGED, station_key("EVP-1"))
    await until(lambda: loop.record.finished_at is not None)
    assert loop.record.error == ""
    stop.set()
    await running

"""Stations that are lost together: a power cut, a network, a certificate, not one post."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from evpower import alerts
from evpower.foundation.db import Connection, Database
from evpower.stations import metrics, store_lost
from evpower.stations.model import ONLINE_FOR

WITHIN: Final = timedelta(minutes=5)
AT_A_LOCATION: Final = 3  # and half of its stations
IN_ALL: Final = 5  # and a tenth of all stations, at several locations
_KIND: Final = "stations_lost_together"
_SHOWN: Final = 100


async def watch_lost(connection: Connection, now: datetime) -> None:
    """Opens an alert for each location, and for all, of which many were lost within 5 minutes.

    It closes when less than half of the stations that it names are still away.
    """
    away_since = now - ONLINE_FOR
    recent = await store_lost.recent(connection, away_since - WITHIN)
    lost = [entry for entry in recent if entry.last_frame_at <= away_since]
    causes: dict[str, dict[str, Any]] = {}
    by_location: dict[str, list[str]] = {}
    for entry in lost:
        by_location.setdefault(entry.location_id, []).append(entry.station_id)
    for location, stations in by_location.items():
        there = sum(entry.location_id == location for entry in recent)
        if len(stations) >= AT_A_LOCATION and 2 * len(stations) >= there:
            causes[f"location {location}"] = _detail(stations)
    if len(by_location) > 1 and len(lost) >= IN_ALL and 10 * len(lost) >= len(recent):
        causes["all"] = _detail([entry.station_id for entry in lost])
    for alert in await alerts.list_alerts(connection, kinds=[_KIND]):
        named: Sequence[str] = alert.detail["stations"]
        away = await store_lost.count_away(connection, named, away_since)
        if alert.subject not in causes and 2 * away >= len(named):
            causes[alert.subject] = dict(alert.detail)
    await alerts.set_alerts(connection, _KIND, causes, now)


def _detail(stations: Sequence[str]) -> dict[str, Any]:
    return {"count": len(stations), "stations": sorted(stations)[:_SHOWN]}


async def measure(db: Database, now: datetime) -> None:
    """Refreshes the gauges: stations online and offline, connectors that are down."""
    async with db.connection() as connection:
        online, offline, down = await store_lost.count_online(connection, now - ONLINE_FOR)
    metrics.STATIONS.labels("online").set(online)
    metrics.STATIONS.labels("offline").set(offline)
    metrics.FAULTED.set(down)

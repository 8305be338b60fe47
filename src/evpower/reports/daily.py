"""A day's report: what the ledger moved that day, and how available the stations were."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from evpower import charging
from evpower.foundation.db import Database
from evpower.foundation.errors import Invalid
from evpower.reports import store
from evpower.reports.model import (
    DailyReport,
    Figures,
    OnlineRow,
    ReportedStation,
    ReportRow,
    StatusRow,
)
from evpower.reports.uptime import Window, available_s
from evpower.stations import ONLINE_FOR

ZONE: Final = ZoneInfo("Asia/Bishkek")  # of the books
_FIRST: Final = date(2000, 1, 1)
_Key = tuple[str, str]  # station, owner


def last_day(now: datetime) -> date:
    """Returns the last day that is over."""
    return now.astimezone(ZONE).date() - timedelta(days=1)


async def daily_report(db: Database, day: date, now: datetime) -> DailyReport:
    """Returns the report of a day in Asia/Bishkek, from one snapshot of the database.

    A transaction belongs to the day on which it was posted. Raises Invalid("invalid_request") for a
    day that has not begun.
    """
    if not _FIRST <= day <= now.astimezone(ZONE).date():
        raise Invalid("invalid_request", f"{day} is no day that has begun")
    begins_at = datetime.combine(day, time(), ZONE)
    ends_at = datetime.combine(day + timedelta(days=1), time(), ZONE)
    until = min(ends_at, now)
    async with (
        db.connection() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        facts = await store.stations(connection, begins_at, ends_at)
        money = await store.money(connection, begins_at, ends_at)
        bills = await store.bills(connection, begins_at, ends_at)
        unpaid = await charging.unpaid_energy(connection, begins_at, ends_at)
        quarantined = await store.quarantined(connection, begins_at, ends_at)
        online = await store.online(connection, begins_at, until, now - ONLINE_FOR)
        statuses = await store.statuses(connection, begins_at, until)
    figures: defaultdict[_Key, Figures] = defaultdict(Figures)
    owner_of = {station.id: station.owner for station in facts}
    for station in facts:
        figures[station.id, station.owner] = Figures()
    for row in money:
        entry = figures[row.station_id, row.owner]
        entry.charged_minor += row.charged_minor
        entry.debts_collected_minor += row.debts_collected_minor
        entry.refunded_minor += row.refunded_minor
    for row in bills:
        entry = figures[row.station_id, row.owner]
        entry.energy_wh += row.energy_wh
        entry.sessions += row.sessions
        entry.free_sessions += row.free_sessions
    for given in unpaid:
        entry = figures[given.station_id, owner_of.get(given.station_id, "")]
        entry.unbilled_tail_wh += given.unbilled_tail_wh
        entry.outside_charges += given.outside_charges
        entry.outside_wh += given.outside_wh
    for station_id, number in quarantined.items():
        figures[station_id, owner_of.get(station_id, "")].quarantined_sessions += number
    _add_uptime(figures, facts, online, statuses, Window(begins_at, until))
    return _report(day, Window(begins_at, ends_at), figures, facts, is_complete=now >= ends_at)


def _add_uptime(
    figures: Mapping[_Key, Figures],
    facts: Sequence[ReportedStation],
    online: Iterable[OnlineRow],
    statuses: Iterable[StatusRow],
    day: Window,
) -> None:
    online_of: defaultdict[str, list[OnlineRow]] = defaultdict(list)
    for entry in online:
        online_of[entry.station_id].append(entry)
    statuses_of: defaultdict[tuple[str, int], list[StatusRow]] = defaultdict(list)
    for status in statuses:
        statuses_of[status.station_id, status.connector].append(status)
    for station in facts:
        window = Window(
            max(day.begins_at, station.created_at),
            day.ends_at if station.retired_at is None else min(day.ends_at, station.retired_at),
        )
        sums = figures[station.id, station.owner]
        for number in station.connectors:
            sums.observed_s += window.seconds
            sums.available_s += available_s(
                window,
                online_of[station.id],
                statuses_of[station.id, number],
                statuses_of[station.id, 0],
            )


def _report(
    day: date,
    window: Window,
    figures: Mapping[_Key, Figures],
    facts: Sequence[ReportedStation],
    *,
    is_complete: bool,
) -> DailyReport:
    known = {station.id: station for station in facts}
    names = {station.location_id: station.location_name for station in facts}

    def location_of(station_id: str) -> str:
        return known[station_id].location_id if station_id in known else ""

    def owner_now(station_id: str) -> str:
        return known[station_id].owner if station_id in known else ""

    by_station = _sums(figures, lambda key: key[0])
    by_location = _sums(figures, lambda key: location_of(key[0]))
    by_owner = _sums(figures, lambda key: key[1])
    total = Figures()
    for entry in figures.values():
        total.add(entry)
    return DailyReport(
        day,
        ZONE.key,
        window.begins_at,
        window.ends_at,
        is_complete,
        total,
        [
            ReportRow(station_id, station_id, location_of(station_id), owner_now(station_id), sums)
            for station_id, sums in by_station.items()
        ],
        [
            ReportRow(location, names.get(location, ""), location, "", sums)
            for location, sums in by_location.items()
        ],
        [ReportRow(owner, owner, "", owner, sums) for owner, sums in by_owner.items()],
    )


def _sums(figures: Mapping[_Key, Figures], key_of: Callable[[_Key], str]) -> dict[str, Figures]:
    sums: defaultdict[str, Figures] = defaultdict(Figures)
    for key, entry in sorted(figures.items()):
        sums[key_of(key)].add(entry)
    return dict(sorted(sums.items()))

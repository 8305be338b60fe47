"""Alerts of charging that no single frame raises: many bad ends, sessions past every rule."""

from datetime import datetime, timedelta
from typing import Any, Final

from evpower import alerts
from evpower.charging import metrics, store_alarms
from evpower.charging.due import IDLE_FOR
from evpower.charging.rules import Rules
from evpower.foundation.clock import Clock
from evpower.foundation.db import Connection, Database
from evpower.foundation.loops import Loop, Round, every

PERIOD_S: Final = 60.0
WITHIN: Final = timedelta(minutes=10)
MOST_BY_DISCONNECT: Final = 5
MOST_WITHOUT_ENERGY: Final = 3
LONGEST: Final = timedelta(hours=48)
_OVERDUE: Final = timedelta(minutes=10)  # every rule is looked at each second
# Why a session ended where its station was away or without power.
_DISCONNECTS: Final = ("no_frames", "station_booted", "power_loss", "reboot")

_OPEN: Final = ("requested", "starting", "charging", "stopping")


def alarms_loop(db: Database, clock: Clock, rules: Rules) -> Loop:
    """Returns the loop that opens and closes them."""

    async def work(_: Round) -> None:
        async with db.transaction() as connection:
            await watch_ends(connection, clock())
        async with db.transaction() as connection:
            await watch_overdue(connection, clock(), rules)

    return every(PERIOD_S, "charging_alarms", work)


async def watch_ends(connection: Connection, now: datetime) -> None:
    """Opens alerts while too many sessions ended by a disconnect, or without energy.

    They close when none did for 10 minutes.
    """
    ends = await store_alarms.recent_ends(connection, WITHIN, _DISCONNECTS)
    disconnects = {end.station_id: end.by_disconnect for end in ends if end.by_disconnect}
    empty = {end.station_id: end.without_energy for end in ends if end.without_energy}
    await alerts.set_level(
        connection, "stops_by_disconnect", "all", sum(disconnects.values()),
        opens_over=MOST_BY_DISCONNECT, closes_at=0, detail={"stations": disconnects}, now=now,
    )  # fmt: skip
    await alerts.set_level(
        connection, "zero_energy_stops", "all", sum(empty.values()),
        opens_over=MOST_WITHOUT_ENERGY, closes_at=0, detail={"stations": empty}, now=now,
    )  # fmt: skip


async def watch_overdue(connection: Connection, now: datetime, rules: Rules) -> None:
    """Opens an alert for each session that a rule should have ended, and that is still open."""
    sessions = await store_alarms.past_rules(
        connection,
        due_before=now - _OVERDUE,
        silent_before=now - rules.close_after_no_frame - _OVERDUE,
        begun_before=now - LONGEST,
        idle_for=IDLE_FOR,
    )
    causes: dict[str, dict[str, Any]] = {
        str(session.id): {
            "station": session.station_id,
            "connector": session.connector_id,
            "state": session.state,
            "rule": session.rule,
        }
        for session in sessions
    }
    await alerts.set_alerts(connection, "session_past_rules", causes, now)


async def measure(db: Database) -> None:
    """Refreshes the gauges: open sessions, their power."""
    async with db.connection() as connection:
        by_state = await store_alarms.count_open(connection)
        watts = await store_alarms.sum_power(connection)
    for state in _OPEN:
        metrics.SESSIONS.labels(state).set(by_state.get(state, 0))
    metrics.POWER.set(watts)

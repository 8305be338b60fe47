"""Alerts of the sync: changes that are late, refused ones, differences."""

from datetime import datetime, timedelta
from typing import Final

from evpower import alerts
from evpower.foundation.clock import Clock
from evpower.foundation.db import Connection, Database
from evpower.foundation.loops import Loop, Round, every
from evpower.sync import store_status
from evpower.sync.reconciliation import store_runs

PERIOD_S: Final = 30.0
LATE_S: Final = 300.0
DOWN_FOR: Final = timedelta(minutes=5)
_IN_TIME_S: Final = 60.0
_SUBJECT: Final = "supabase"
_MOST_ERROR: Final = 200


def alarms_loop(db: Database, clock: Clock) -> Loop:
    """Returns the loop that opens and closes them."""
    has_looked = False

    async def work(_: Round) -> None:
        nonlocal has_looked
        async with db.transaction() as connection:
            await watch_sync(connection, clock(), is_first=not has_looked)
        has_looked = True

    return every(PERIOD_S, "sync_alarms", work)


async def watch_sync(connection: Connection, now: datetime, *, is_first: bool = False) -> None:
    """Opens and closes the alerts by what the outbox and the last reconciliations hold.

    `is_first`: the process has just started, and how old the last reading of the log is says only
    how long none ran.
    """
    row = await store_status.outbound(connection)
    target = await store_status.target(connection)
    down = await store_status.down_since(connection, now - DOWN_FOR)
    await alerts.set_alerts(
        connection,
        "supabase_down",
        {
            row["name"]: {"state": row["state"], "error": (row["error"] or "")[:_MOST_ERROR]}
            for row in down
        },
        now,
    )
    inbound = await store_status.inbound(connection)
    if inbound["state"] == "up" and not is_first:  # else the log is not read for that reason
        age_s: float = inbound["age_s"] or 0.0
        await alerts.set_level(
            connection, "changes_lag", _SUBJECT, age_s, opens_over=LATE_S, closes_at=_IN_TIME_S,
            detail={"minutes": int(age_s // 60)}, now=now,
        )  # fmt: skip
    drift, _ = await store_runs.open_drift(connection)
    error = row["last_error"] or (target["error"] if target is not None else None) or ""
    await alerts.set_level(
        connection, "outbox_lag", _SUBJECT, row["oldest_s"] or 0.0,
        opens_over=LATE_S, closes_at=_IN_TIME_S,
        detail={"pending": row["pending"], "error": error[:_MOST_ERROR]}, now=now,
    )  # fmt: skip
    await alerts.set_level(
        connection, "outbox_parked", _SUBJECT, row["parked"],
        opens_over=0, closes_at=0, detail={"keys": row["parked"]}, now=now,
    )  # fmt: skip
    await alerts.set_level(
        connection, "drift_open", _SUBJECT, drift,
        opens_over=0, closes_at=0, detail={"differences": drift}, now=now,
    )  # fmt: skip

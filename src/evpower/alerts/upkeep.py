"""Upkeep of the alerts: loops that stand still, repeats, alerts not seen any more, old messages."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

from evpower.alerts import store_messages
from evpower.alerts.model import ChannelName
from evpower.alerts.open_close import close_alert, close_unseen, list_alerts, open_alert
from evpower.foundation import loop_rounds
from evpower.foundation.clock import Clock
from evpower.foundation.db import Connection, Database
from evpower.foundation.loop_rounds import LoopRounds
from evpower.foundation.loops import Loop, Round, every
from evpower.foundation.purge import purge

PERIOD_S: Final = 30.0
REPEATS_EVERY: Final = timedelta(hours=24)
KEEP_MESSAGES: Final = timedelta(days=30)


def upkeep_loop(db: Database, clock: Clock, channels: Sequence[ChannelName]) -> Loop:
    """Returns the loop that does it."""

    async def work(current: Round) -> None:
        now = clock()
        async with db.transaction() as connection:
            await watch_loops(connection, clock)
        async with db.transaction() as connection:
            await close_unseen(connection, now)
        async with db.transaction() as connection:
            await store_messages.write_missing(connection, channels, now)
            await store_messages.write_repeats(connection, channels, now, REPEATS_EVERY)
        await purge(
            db,
            lambda connection, at_most: store_messages.purge(
                connection, now - KEEP_MESSAGES, at_most
            ),
            current,
        )

    return every(PERIOD_S, "alert_upkeep", work)


async def watch_loops(connection: Connection, clock: Clock) -> None:
    """Opens an alert for each loop that stands still on a node, or that no node runs any more.

    It closes when the loop runs: rows of lost nodes are deleted after an hour, which says nothing.
    """
    rounds: dict[str, list[LoopRounds]] = {}
    for row in await loop_rounds.stored(connection):
        rounds.setdefault(row.loop, []).append(row)
    now = clock()
    standing = {
        loop: detail for loop, rows in rounds.items() if (detail := _flaw(rows)) is not None
    }
    open_now = {alert.subject for alert in await list_alerts(connection, kinds=["loop_overdue"])}
    for loop, detail in sorted(standing.items()):
        if loop not in open_now:
            await open_alert(connection, "loop_overdue", loop, detail, now)
    for loop in sorted(open_now & rounds.keys() - standing.keys()):
        await close_alert(connection, "loop_overdue", loop, now)


def _flaw(rows: Sequence[LoopRounds]) -> dict[str, Any] | None:
    present = [row for row in rows if not row.lost]
    if not present:  # a node that was killed and came back has another name
        return {"nodes": sorted(row.node for row in rows), "error": "no node runs it"}
    late = [row for row in present if row.overdue]
    if not late:
        return None
    return {
        "nodes": sorted(row.node for row in late),
        "idle_s": round(max(row.idle_s for row in late)),
        "error": late[0].error,
    }

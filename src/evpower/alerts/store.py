"""The SQL of the alerts."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from evpower.alerts.model import Alert
from evpower.foundation.db import Connection
from evpower.foundation.rows import columns, read_row


async def open_alert(
    connection: Connection, kind: str, subject: str, detail: Mapping[str, Any], now: datetime
) -> bool:
    """Inserts an alert, or counts the open one; returns whether it was inserted."""
    count = await connection.fetchval(
        """
        insert into alerts.alerts as a (kind, subject, detail, opened_at, last_seen_at)
        values ($1, $2, $3, $4, $4)
        on conflict (kind, subject) where closed_at is null do update
          set count = a.count + 1, detail = excluded.detail,
              last_seen_at = greatest(a.last_seen_at, excluded.last_seen_at)
        returning count
        """,
        kind,
        subject,
        dict(detail),
        now,
    )
    return count == 1


async def close_alert(connection: Connection, kind: str, subject: str, now: datetime) -> bool:
    """Closes the open alert of a kind and subject; returns whether there was one."""
    closed = await connection.fetchval(
        """
        update alerts.alerts set closed_at = greatest(opened_at, $3)
         where kind = $1 and subject = $2 and closed_at is null
        returning true
        """,
        kind,
        subject,
        now,
    )
    return closed is True


async def list_alerts(
    connection: Connection, kind: str | None, subject: str | None, limit: int, *, with_closed: bool
) -> list[Alert]:
    """Returns alerts, the newest first."""
    rows = await connection.fetch(
        f"""
        select {columns(Alert)} from alerts.alerts
         where ($1::text is null or kind = $1) and ($2::text is null or subject = $2)
           and ($3 or closed_at is null)
         order by opened_at desc, id desc limit $4
        """,
        kind,
        subject,
        with_closed,
        limit,
    )
    return [read_row(Alert, row) for row in rows]


async def count_open(connection: Connection) -> dict[str, int]:
    """Returns the number of open alerts of each kind that has any."""
    rows = await connection.fetch(
        """
        select kind, count(*) as open from alerts.alerts where closed_at is null group by kind
        """
    )
    return {row["kind"]: row["open"] for row in rows}

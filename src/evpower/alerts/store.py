"""The SQL of the alerts."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
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


async def open_details(connection: Connection, kind: str) -> dict[str, Mapping[str, Any]]:
    """Returns the subjects of the open alerts of a kind, each with its detail."""
    rows = await connection.fetch(
        "select subject, detail from alerts.alerts where kind = $1 and closed_at is null", kind
    )
    return {row["subject"]: row["detail"] for row in rows}


async def set_detail(
    connection: Connection, kind: str, subject: str, detail: Mapping[str, Any], now: datetime
) -> None:
    """Stores a new detail of an open alert, uncounted."""
    await connection.execute(
        """
        update alerts.alerts set detail = $3, last_seen_at = greatest(last_seen_at, $4)
         where kind = $1 and subject = $2 and closed_at is null
        """,
        kind,
        subject,
        dict(detail),
        now,
    )


async def close_unseen(
    connection: Connection, after: Mapping[str, timedelta], now: datetime
) -> list[tuple[str, str]]:
    """Closes open alerts that were last seen longer ago than their kind's time; returns them."""
    rows = await connection.fetch(
        """
        update alerts.alerts a set closed_at = $3
          from unnest($1::text[], $2::interval[]) as k (kind, after)
         where a.kind = k.kind and a.closed_at is null
           and a.last_seen_at < $3::timestamptz - k.after
        returning a.kind, a.subject
        """,
        list(after.keys()),
        list(after.values()),
        now,
    )
    return [(row["kind"], row["subject"]) for row in rows]


async def acknowledge(
    connection: Connection, alert_id: int, actor: str, note: str | None, now: datetime
) -> bool:
    """Stores who has taken an alert up; false: it is not open."""
    done = await connection.fetchval(
        """
        update alerts.alerts set acknowledged_at = $4, acknowledged_by = $2, note = $3
         where id = $1 and closed_at is null returning true
        """,
        alert_id,
        actor,
        note,
        now,
    )
    return done is True


async def find_alert(connection: Connection, alert_id: int) -> Alert | None:
    """Returns an alert."""
    row = await connection.fetchrow(
        f"select {columns(Alert)} from alerts.alerts where id = $1", alert_id
    )
    return None if row is None else read_row(Alert, row)


async def has_kind(connection: Connection, kind: str) -> bool:
    """Returns whether an alert of a kind was ever stored."""
    return await connection.fetchval(
        "select exists (select from alerts.alerts where kind = $1)", kind
    )


async def list_alerts(
    connection: Connection,
    kinds: Sequence[str] | None,
    subject: str | None,
    before_id: int | None,
    limit: int,
    *,
    with_closed: bool,
) -> list[Alert]:
    """Returns alerts, the newest first, after one of them where it is named."""
    rows = await connection.fetch(
        f"""
        select {columns(Alert)} from alerts.alerts
         where ($1::text[] is null or kind = any ($1)) and ($2::text is null or subject = $2)
           and ($3 or closed_at is null) and ($4::bigint is null or id < $4)
         order by id desc limit $5
        """,
        None if kinds is None else list(kinds),
        subject,
        with_closed,
        before_id,
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

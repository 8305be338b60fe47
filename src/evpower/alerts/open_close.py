"""Opens, closes and lists alerts. One of a kind and subject is open at a time."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import structlog

from evpower.alerts import metrics, store
from evpower.alerts.model import Alert
from evpower.foundation.db import Connection

LIST_LIMIT: Final = 1_000
_log: Final = structlog.get_logger()


async def open_alert(
    connection: Connection, kind: str, subject: str, detail: Mapping[str, Any], now: datetime
) -> bool:
    """Opens an alert, in the caller's transaction; an open one is counted and takes the detail.

    `detail` is JSON. Returns whether it was opened by this call.
    """
    is_new = await store.open_alert(connection, kind, subject, detail, now)
    if is_new:
        metrics.OPENED.labels(kind).inc()
        _log.warning("alert_opened", kind=kind, subject=subject, detail=dict(detail))
    return is_new


async def close_alert(connection: Connection, kind: str, subject: str, now: datetime) -> bool:
    """Closes an alert whose cause is gone. Returns whether one was open."""
    was_open = await store.close_alert(connection, kind, subject, now)
    if was_open:
        _log.info("alert_closed", kind=kind, subject=subject)
    return was_open


async def list_alerts(
    connection: Connection,
    *,
    kind: str | None = None,
    subject: str | None = None,
    with_closed: bool = False,
    limit: int = LIST_LIMIT,
) -> list[Alert]:
    """Returns the open alerts, and the closed ones if asked for, the newest first."""
    return await store.list_alerts(connection, kind, subject, limit, with_closed=with_closed)

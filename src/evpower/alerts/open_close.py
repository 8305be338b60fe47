"""Opens, closes and lists alerts. One of a kind and subject is open at a time."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import structlog

from evpower.alerts import metrics, store
from evpower.alerts.kinds import KINDS, AlertKind
from evpower.alerts.model import Alert
from evpower.foundation.db import Connection
from evpower.foundation.errors import Conflict, Invalid, NotFound

LIST_LIMIT: Final = 1_000
_log: Final = structlog.get_logger()


async def open_alert(
    connection: Connection,
    kind: AlertKind,
    subject: str,
    detail: Mapping[str, Any],
    now: datetime,
) -> bool:
    """Opens an alert, in the caller's transaction; an open one is counted and takes the detail.

    `detail` is JSON. Returns whether it was opened by this call.
    """
    is_new = await store.open_alert(connection, kind, subject, detail, now)
    if is_new:
        metrics.OPENED.labels(kind).inc()
        _log.warning("alert_opened", kind=kind, subject=subject, detail=dict(detail))
    return is_new


async def close_alert(connection: Connection, kind: AlertKind, subject: str, now: datetime) -> bool:
    """Closes an alert whose cause is gone. Returns whether one was open."""
    was_open = await store.close_alert(connection, kind, subject, now)
    if was_open:
        _log.info("alert_closed", kind=kind, subject=subject)
    return was_open


async def set_alerts(
    connection: Connection,
    kind: AlertKind,
    causes: Mapping[str, Mapping[str, Any]],
    now: datetime,
) -> None:
    """Makes the open alerts of a kind those of `causes`, which has the detail of each subject.

    For a cause that is measured again and again: an alert that stays open is not counted, and only
    takes a new detail.
    """
    details = await store.open_details(connection, kind)
    for subject in sorted(details.keys() - causes.keys()):
        await close_alert(connection, kind, subject, now)
    for subject, detail in sorted(causes.items()):
        if subject not in details:
            await open_alert(connection, kind, subject, detail, now)
        elif details[subject] != detail:
            await store.set_detail(connection, kind, subject, detail, now)


async def set_level(
    connection: Connection,
    kind: AlertKind,
    subject: str,
    level: float,
    *,
    opens_over: float,
    closes_at: float,
    detail: Mapping[str, Any],
    now: datetime,
) -> None:
    """Opens an alert when a level is over a threshold, and closes it at a lower one.

    So that a level about the threshold does not open and close it again and again.
    """
    is_open = bool(await store.list_alerts(connection, [kind], subject, None, 1, with_closed=False))
    if level > (closes_at if is_open else opens_over):
        if is_open:
            await store.set_detail(connection, kind, subject, detail, now)
        else:
            await open_alert(connection, kind, subject, detail, now)
    elif is_open:
        await close_alert(connection, kind, subject, now)


async def close_unseen(connection: Connection, now: datetime) -> int:
    """Closes the alerts of which nothing was seen for as long as their kind says."""
    closed = await store.close_unseen(
        connection,
        {
            kind: facts.closes_after
            for kind, facts in KINDS.items()
            if facts.closes_after is not None
        },
        now,
    )
    for kind, subject in closed:
        _log.info("alert_closed", kind=kind, subject=subject)
    return len(closed)


async def acknowledge_alert(
    connection: Connection, alert_id: int, *, actor: str, note: str | None, now: datetime
) -> Alert:
    """Stores that an operator has taken an open alert up: repeats of it are sent no more.

    It stays open until its cause is gone. A second operator's takes the place of the first. Raises
    NotFound("alert_not_found"), Conflict("alert_closed").
    """
    if await store.acknowledge(connection, alert_id, actor, note, now):
        _log.info("alert_acknowledged", alert=alert_id, actor=actor)
        return await find_alert(connection, alert_id)
    await find_alert(connection, alert_id)
    raise Conflict("alert_closed", f"alert {alert_id} is closed")


async def check_kind(connection: Connection, kind: str) -> None:
    """Raises Invalid("invalid_request") for a kind that there is not: its list would be empty.

    A kind that another EvPower stored there is.
    """
    if kind not in KINDS and not await store.has_kind(connection, kind):
        raise Invalid("invalid_request", f"kind is one of {', '.join(sorted(KINDS))}")


async def find_alert(connection: Connection, alert_id: int) -> Alert:
    """Returns an alert. Raises NotFound("alert_not_found")."""
    alert = await store.find_alert(connection, alert_id)
    if alert is None:
        raise NotFound("alert_not_found", f"there is no alert {alert_id}")
    return alert


async def list_alerts(
    connection: Connection,
    *,
    kinds: Sequence[str] | None = None,
    subject: str | None = None,
    with_closed: bool = False,
    before_id: int | None = None,
    limit: int = LIST_LIMIT,
) -> list[Alert]:
    """Returns the open alerts, and the closed ones if asked for, the newest first.

    `before_id`: those that opened before this one, for the next page.
    """
    return await store.list_alerts(
        connection, kinds, subject, before_id, limit, with_closed=with_closed
    )

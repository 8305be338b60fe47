"""Routes by which operators read alerts and take them up: /api/v1/operator/alerts."""

from datetime import datetime
from typing import Annotated, Any, Final, Literal, NamedTuple, Protocol
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from evpower.alerts.kinds import KINDS, Severity, facts_of
from evpower.alerts.model import Alert, CallGuard
from evpower.alerts.open_close import acknowledge_alert, check_kind, find_alert, list_alerts
from evpower.foundation.clock import Clock
from evpower.foundation.db import Database
from evpower.foundation.openapi import Responses, problem
from evpower.foundation.paging import (
    LIMIT_DEFAULT,
    LIMIT_MOST,
    Page,
    cut,
    read_cursor,
    write_cursor,
)
from evpower.foundation.text import checked

_MAX_ID: Final = 2**63 - 1
_MOST_NOTE: Final = 500
_MOST_SUBJECT: Final = 200


class ActingOperator(Protocol):
    """The operator of a request, as identity knows it."""

    @property
    def user_id(self) -> UUID | None:
        """The user in Supabase."""
        ...


AlertId = Annotated[int, Path(ge=1, le=_MAX_ID)]


class OperatorsAlert(BaseModel):
    """An alert as operators see it."""

    id: int
    kind: Annotated[str, Field(examples=["session_quarantined"])]
    severity: Severity
    subject: Annotated[str, Field(description="What it is about: a station, a session")]
    title: Annotated[str, Field(description="In English")]
    act: Annotated[str, Field(description="What to do, in English")]
    detail: dict[str, Any]
    count: Annotated[int, Field(description="How often its cause was seen while it was open")]
    opened_at: datetime
    last_seen_at: datetime
    closed_at: datetime | None
    acknowledged_at: datetime | None
    acknowledged_by: str | None
    note: str | None


class AlertPlace(NamedTuple):
    """Where a page of alerts ended."""

    id: int


class Acknowledgement(BaseModel):
    """What an operator says as they take an alert up."""

    model_config = ConfigDict(extra="forbid")

    note: Annotated[
        str | None, Field(min_length=1, max_length=_MOST_NOTE, examples=["Bek drives there"])
    ] = None


_REFUSALS: Final[Responses] = {
    401: problem("`missing_token`, `invalid_token`, `token_expired`"),
    403: problem("`forbidden`: no operator, or the role does not allow it"),
    422: problem("`invalid_request`, `invalid_cursor`"),
}


def alert_router(
    db: Database, clock: Clock, *, may_read: CallGuard, may_act: CallGuard
) -> APIRouter:
    """Builds the routes."""
    routes = APIRouter(prefix="/api/v1/operator/alerts", tags=["operator"], responses=_REFUSALS)

    @routes.get("", summary="List alerts", openapi_extra=may_read.document)
    async def list_all(  # pyright: ignore[reportUnusedFunction]
        _: Annotated[object, Depends(may_read.check)],
        state: Annotated[Literal["open", "all"], Query(description="`all`: also closed")] = "open",
        kind: Annotated[str | None, Query(max_length=64)] = None,
        severity: Annotated[Severity | None, Query()] = None,
        subject: Annotated[str | None, Query(max_length=_MOST_SUBJECT)] = None,
        limit: Annotated[int, Query(ge=1, le=LIMIT_MOST)] = LIMIT_DEFAULT,
        cursor: Annotated[str | None, Query(description="`next` of the page before")] = None,
    ) -> Page[OperatorsAlert]:
        """The newest first."""
        place = read_cursor(cursor, AlertPlace)
        async with db.connection() as connection:
            if kind is not None:
                await check_kind(connection, kind)
            alerts = await list_alerts(
                connection,
                kinds=_kinds(kind, severity),
                subject=None if subject is None else checked(subject, "subject", most=200),
                with_closed=state == "all",
                before_id=place and place.id,
                limit=limit + 1,
            )
        page, last = cut(alerts, limit)
        return Page(
            items=[shown_alert(alert) for alert in page],
            next=None if last is None else write_cursor(AlertPlace(last.id)),
        )

    @routes.get(
        "/{alert_id}",
        summary="Show an alert",
        openapi_extra=may_read.document,
        responses={404: problem("`alert_not_found`")},
    )
    async def show(  # pyright: ignore[reportUnusedFunction]
        _: Annotated[object, Depends(may_read.check)], alert_id: AlertId
    ) -> OperatorsAlert:
        async with db.connection() as connection:
            return shown_alert(await find_alert(connection, alert_id))

    @routes.post(
        "/{alert_id}/acknowledge",
        summary="Acknowledge an alert",
        openapi_extra=may_act.document,
        responses={404: problem("`alert_not_found`"), 409: problem("`alert_closed`")},
    )
    async def acknowledge(  # pyright: ignore[reportUnusedFunction]
        caller: Annotated[ActingOperator, Depends(may_act.check)],
        alert_id: AlertId,
        body: Acknowledgement,
    ) -> OperatorsAlert:
        """Say that you look after an open alert; its repeats are sent no more."""
        note = (body.note and checked(body.note.strip(), "note", most=_MOST_NOTE)) or None
        async with db.transaction() as connection:
            alert = await acknowledge_alert(
                connection, alert_id, actor=f"operator:{caller.user_id}", note=note, now=clock()
            )
        return shown_alert(alert)

    return routes


def _kinds(kind: str | None, severity: Severity | None) -> list[str] | None:
    if kind is not None:
        return [kind] if severity in {None, facts_of(kind).severity} else []
    if severity is None:
        return None
    return [name for name, facts in KINDS.items() if facts.severity == severity]


def shown_alert(alert: Alert) -> OperatorsAlert:
    """Returns an alert with the facts of its kind."""
    facts = facts_of(alert.kind)
    return OperatorsAlert(
        id=alert.id,
        kind=alert.kind,
        severity=facts.severity,
        subject=alert.subject,
        title=facts.title["en"],
        act=facts.act["en"],
        detail=dict(alert.detail),
        count=alert.count,
        opened_at=alert.opened_at,
        last_seen_at=alert.last_seen_at,
        closed_at=alert.closed_at,
        acknowledged_at=alert.acknowledged_at,
        acknowledged_by=alert.acknowledged_by,
        note=alert.note,
    )

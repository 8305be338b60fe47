"""Routes by which operators see sessions, stop them, and correct bills: /api/v1/operator."""

from typing import Annotated, Final, NamedTuple
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from evpower import identity, stations
from evpower.charging import bill_schemas as bills
from evpower.charging import operator_schemas as schemas
from evpower.charging.bill_effect import bill_by_operator, preview_bill
from evpower.charging.force_stop import OperatorStop, stop_by_operator
from evpower.charging.operate import get_session, list_unattributed, list_unmatched_stops
from evpower.charging.rules import Rules
from evpower.charging.search import list_meter_values, read_dossier, search_sessions
from evpower.charging.session_filter import SessionFilter, SessionPlace
from evpower.charging.station_endpoints import add_station_routes
from evpower.foundation.db import Connection
from evpower.foundation.etags import check_version, respond
from evpower.foundation.openapi import Responses, problem
from evpower.foundation.paging import (
    LIMIT_DEFAULT,
    Page,
    PlaceTime,
    cut,
    read_cursor,
    write_cursor,
)
from evpower.foundation.segments import SegmentRoute
from evpower.identity import (
    ETAG_RESPONSES,
    OPERATOR_PATH,
    OPERATOR_REFUSALS,
    OperatorCalls,
    Principal,
    RowCursor,
    RowLimit,
    actor_of,
    operator_call,
)

_KNOWN: Final[Responses] = {**OPERATOR_REFUSALS, 404: problem("`session_not_found`")}
_STOPPED: Final[Responses] = {
    **_KNOWN,
    409: problem("`station_online`: force is for one that is away; `idempotency_conflict`"),
    412: problem("`changed_meanwhile`: not as `If-Match` has it"),
}
_BILLED: Final[Responses] = {
    **_STOPPED,
    409: problem(
        "`session_not_settled`, `session_not_quarantined`, `tariff_missing`, `own_account`, "
        "`idempotency_conflict`"
    ),
    422: problem(
        "`invalid_request`, `invalid_energy`, `implausible_energy`, `end_before_start`, "
        "`end_too_late`: with `force` also what the connector can't deliver is billed, and an "
        "end after the newest bill"
    ),
}


class ValuePlace(NamedTuple):
    """Where a page of meter values ended: a frame's values are on one page."""

    received_at: PlaceTime


class StopPlace(NamedTuple):
    """Where a page of stops ended."""

    id: int


def sessions_router(calls: OperatorCalls, rules: Rules) -> APIRouter:
    """Returns the routes."""
    routes = APIRouter(prefix=OPERATOR_PATH, tags=["operator sessions"], route_class=SegmentRoute)
    _add_lists(routes, calls)
    _add_single(routes, calls)
    _add_stop(routes, calls, rules)
    _add_bills(routes, calls)
    add_station_routes(routes, calls)
    return routes


def _add_lists(routes: APIRouter, calls: OperatorCalls) -> None:
    may_read = calls.access.may("read")

    async def page_of(
        wanted: SessionFilter, limit: int, cursor: str | None
    ) -> Page[schemas.OperatedSession]:
        place = read_cursor(cursor, SessionPlace)
        async with calls.db.connection() as connection:
            rows = await search_sessions(connection, wanted, before=place, limit=limit + 1)
        page, last = cut(rows, limit)
        return Page(
            items=[schemas.session_shown(row) for row in page],
            next=None if last is None else write_cursor(SessionPlace(last.created_at, last.id)),
        )

    @routes.get(
        "/sessions",
        summary="Sessions, the newest first",
        responses={**OPERATOR_REFUSALS, 404: problem("`station_not_found`")},
        openapi_extra=operator_call("read"),
    )
    async def sessions(  # pyright: ignore[reportUnusedFunction]
        _: Annotated[Principal, Depends(may_read)],
        query: Annotated[schemas.SessionQuery, Query()],
    ) -> Page[schemas.OperatedSession]:
        """By when they were made. With filters, all of which must hold."""
        station_id = None
        if query.station is not None:
            async with calls.db.connection() as connection:
                station_id = (await stations.get_station(connection, query.station)).station.id
        wanted = query.filter(station_id)
        if wanted is None:
            return Page(items=[], next=None)
        return await page_of(wanted, query.limit, query.cursor)

    @routes.get(
        "/quarantine",
        summary="Sessions that wait for a decision",
        responses=OPERATOR_REFUSALS,
        openapi_extra=operator_call("read"),
    )
    async def quarantine(  # pyright: ignore[reportUnusedFunction]
        _: Annotated[Principal, Depends(may_read)],
        limit: RowLimit = LIMIT_DEFAULT,
        cursor: RowCursor = None,
    ) -> Page[schemas.OperatedSession]:
        """The newest first; what is plausible of them is billed. The evidence is the session's."""
        return await page_of(SessionFilter(in_quarantine=True), limit, cursor)

    @routes.get(
        "/unattributed",
        summary="Charges of no client",
        responses=OPERATOR_REFUSALS,
        openapi_extra=operator_call("read"),
    )
    async def unattributed(  # pyright: ignore[reportUnusedFunction]
        _: Annotated[Principal, Depends(may_read)], limit: RowLimit = LIMIT_DEFAULT
    ) -> list[schemas.UnattributedCharge]:
        """By unknown cards among others, the newest first: delivered, and not billed."""
        async with calls.db.connection() as connection:
            rows = await list_unattributed(connection, limit=limit)
        return [schemas.unattributed_shown(row) for row in rows]

    @routes.get(
        "/unmatched-stops",
        summary="Stops that fitted no transaction",
        responses=OPERATOR_REFUSALS,
        openapi_extra=operator_call("read"),
    )
    async def unmatched(  # pyright: ignore[reportUnusedFunction]
        _: Annotated[Principal, Depends(may_read)],
        limit: RowLimit = LIMIT_DEFAULT,
        cursor: RowCursor = None,
    ) -> Page[schemas.UnmatchedStopShown]:
        """The newest first: of a charge whose start never came, or that was ended otherwise."""
        place = read_cursor(cursor, StopPlace)
        async with calls.db.connection() as connection:
            rows = await list_unmatched_stops(
                connection, limit=limit + 1, before=place and place.id
            )
        page, last = cut(rows, limit)
        return Page(
            items=[schemas.UnmatchedStopShown.model_validate(row) for row in page],
            next=None if last is None else write_cursor(StopPlace(last.id)),
        )


def _add_single(routes: APIRouter, calls: OperatorCalls) -> None:
    may_read = calls.access.may("read")

    @routes.get(
        "/sessions/{session}",
        summary="A session with its bills, evidence and events",
        response_model=schemas.WholeSession,
        responses={**_KNOWN, **ETAG_RESPONSES},
        openapi_extra=operator_call("read"),
    )
    async def one_session(  # pyright: ignore[reportUnusedFunction]
        request: Request, _: Annotated[Principal, Depends(may_read)], session: UUID
    ) -> Response:
        async with calls.db.connection() as connection:
            dossier = await read_dossier(connection, session)
        decided = schemas.decided_of(dossier.session, dossier.bills)
        return respond(request, schemas.whole_shown(dossier), decided)

    @routes.get(
        "/sessions/{session}/meter-values",
        summary="A session's meter values",
        responses=_KNOWN,
        openapi_extra=operator_call("read"),
    )
    async def meter_values(  # pyright: ignore[reportUnusedFunction]
        _: Annotated[Principal, Depends(may_read)],
        session: UUID,
        limit: RowLimit = LIMIT_DEFAULT,
        cursor: RowCursor = None,
    ) -> Page[schemas.OperatedMeterValue]:
        """In the order in which they came; a page may be longer by the rest of a frame."""
        place = read_cursor(cursor, ValuePlace)
        async with calls.db.connection() as connection:
            rows = await list_meter_values(
                connection, session, after=place and place.received_at, limit=limit
            )
        more = len(rows) >= limit
        return Page(
            items=[schemas.value_shown(row) for row in rows],
            next=write_cursor(ValuePlace(rows[-1].received_at)) if more else None,
        )


def _add_stop(routes: APIRouter, calls: OperatorCalls, rules: Rules) -> None:
    @routes.post(
        "/sessions/{session}/stop",
        summary="Stop a session",
        responses=_STOPPED,
        openapi_extra=operator_call("session.stop"),
    )
    async def stop(  # pyright: ignore[reportUnusedFunction]
        request: Request,
        caller: Annotated[Principal, Depends(calls.access.may("session.stop"))],
        session: UUID,
        body: schemas.StoppedByOperator,
    ) -> schemas.StopAsked:
        """One that waits is cancelled; of one that charges the station is asked.

        Without the station's own stop it ends after a while by its last register, with `force`
        now. The station's own stop is then the next bill.
        """
        order = OperatorStop(session, actor_of(caller), body.reason, is_forced=body.force)
        async with calls.db.transaction() as connection:
            await _check_version(connection, request, session)
            result = await stop_by_operator(connection, order, now=calls.clock(), rules=rules)
        result.changes.publish(calls.bus)
        return schemas.StopAsked(
            session=session,
            station=result.station_id,
            connector=result.connector,
            state=result.state,
            is_repeated=result.is_repeated,
        )


def _add_bills(routes: APIRouter, calls: OperatorCalls) -> None:
    may_bill = calls.access.may("session.bill")

    async def bill(
        request: Request,
        caller: Principal,
        session: UUID,
        body: bills.BetterFigure,
        *,
        is_decision: bool,
    ) -> bills.BillMoved:
        await _refuse_own(calls, caller, session)
        figure = body.bill(session, actor_of(caller), is_decision=is_decision)
        async with calls.db.transaction() as connection:
            await _check_version(connection, request, session)
            effect, changes = await bill_by_operator(connection, figure, now=calls.clock())
            await identity.record_act(
                connection,
                actor=figure.actor,
                action="quarantine.decide" if is_decision else "session.correct",
                subject=str(session),
                reason=body.reason,
                details={
                    "before": _figures(effect.before.energy_wh, effect.before.cost_minor),
                    "after": _figures(effect.after.energy_wh, effect.after.cost_minor),
                    "charged_minor": effect.charged_minor,
                    "refunded_minor": effect.refunded_minor,
                    "is_forced": figure.is_forced,
                },
            )
        changes.publish(calls.bus)
        return bills.moved_shown(effect)

    @routes.post(
        "/sessions/{session}/correction",
        summary="Bill a session by a better figure",
        responses=_BILLED,
        openapi_extra=operator_call("session.bill"),
    )
    async def correct(  # pyright: ignore[reportUnusedFunction]
        request: Request,
        caller: Annotated[Principal, Depends(may_bill)],
        session: UUID,
        body: bills.BetterFigure,
    ) -> bills.BillMoved:
        """The next bill: more is charged, less is forgiven or refunded.

        With the ETag of the session in `If-Match` it happens only as it was previewed.
        """
        return await bill(request, caller, session, body, is_decision=False)

    @routes.post(
        "/quarantine/{session}/decision",
        summary="Decide a quarantine",
        responses=_BILLED,
        openapi_extra=operator_call("session.bill"),
    )
    async def decide(  # pyright: ignore[reportUnusedFunction]
        request: Request,
        caller: Annotated[Principal, Depends(may_bill)],
        session: UUID,
        body: bills.BetterFigure,
    ) -> bills.BillMoved:
        """By a better figure, or without one by what was billed. Of two one decides."""
        return await bill(request, caller, session, body, is_decision=True)

    @routes.post(
        "/sessions/{session}/correction/preview",
        summary="Show what a better figure would charge or refund",
        responses=_BILLED,
        openapi_extra=operator_call("session.bill"),
    )
    async def preview(  # pyright: ignore[reportUnusedFunction]
        request: Request,
        caller: Annotated[Principal, Depends(may_bill)],
        session: UUID,
        body: bills.BetterFigure,
    ) -> bills.BillMoved:
        """The same as the correction or decision itself, taken back: nothing is stored."""
        figure = body.bill(session, actor_of(caller), is_decision=False)
        async with calls.db.transaction() as connection:
            await _check_version(connection, request, session)
            effect = await preview_bill(connection, figure, now=calls.clock())
        return bills.moved_shown(effect)


async def _refuse_own(calls: OperatorCalls, caller: Principal, session_id: UUID) -> None:
    async with calls.db.connection() as connection:
        session, _ = await get_session(connection, session_id)
    await identity.refuse_own_account(calls.db, caller, session.client_id, "session.bill")


async def _check_version(connection: Connection, request: Request, session_id: UUID) -> None:
    """Raises NotFound, and Conflict("changed_meanwhile") where If-Match has another version.

    The station is locked, so that the session stays as it is until the transaction ends.
    """
    session, _ = await get_session(connection, session_id)
    await stations.lock_station(connection, session.station_id)
    check_version(request, schemas.decided_of(*await get_session(connection, session_id)))


def _figures(energy_wh: int, cost_minor: int) -> dict[str, int]:
    return {"energy_wh": energy_wh, "cost_minor": cost_minor}

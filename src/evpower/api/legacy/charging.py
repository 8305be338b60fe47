"""Charging start, stop and status of both families, and `/api/v1/charging/active`."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Request
from fastapi.responses import Response

from evpower import charging
from evpower.api import messages
from evpower.api.legacy import charging_answers, charging_schemas, mobile_answers, mobile_schemas
from evpower.api.legacy.callers import OldCallers, has_credential
from evpower.api.legacy.charging_refusals import RANGES, refused_range, refused_start
from evpower.api.legacy.charging_request import MAX_BYTES, ParsedStart, parse_start, parse_stop
from evpower.api.legacy.families import PREFIXES, Family
from evpower.api.legacy.respond import language_of, spoken
from evpower.api.legacy.start_without_token import limit_start
from evpower.charging import (
    Changes,
    Rules,
    SessionStatuses,
    SessionView,
    StartedSession,
    StartRequest,
    StopRequest,
)
from evpower.foundation import idempotency
from evpower.foundation.body import read_body
from evpower.foundation.bus import Bus
from evpower.foundation.clock import Clock, utc_now
from evpower.foundation.db import Database
from evpower.foundation.errors import Conflict, EvPowerError, Forbidden, NotFound
from evpower.foundation.fast_path import FastPath, plain_uuid
from evpower.foundation.key_watch import KeyWatch
from evpower.identity import Principal, may_read
from evpower.stations import COMMAND_QUEUED, Carrier, station_key
from evpower.wallet import get_wallet

START_TAIL: Final = "/charging/start"
_STOP_TAIL: Final = "/charging/stop"
_STATUS_TAIL: Final = "/charging/status/"
_ACTIVE_PATH: Final = "/api/v1/charging/active"
_WAIT_S: Final = 7.0  # phones give up after 10
_LOOK_S: Final = 1.0  # a change that another node made may not be announced
_MOST_LOOKS: Final = 50
_MOST_WAITING: Final = 8  # for one session; further stops are answered as it is
_MAX_ID: Final = 100
_TURNS: Final = 2  # of the event loop, until a command is written and flushed


@dataclass(frozen=True, slots=True)
class ChargingCalls:
    """What the calls work with. `wait_s`: how long a stop waits for the bill."""

    db: Database
    statuses: SessionStatuses
    bus: Bus
    callers: OldCallers
    changes: KeyWatch
    rules: Rules
    clock: Clock = utc_now
    carrier: Carrier | None = None  # None: this process has no stations
    wait_s: float = _WAIT_S
    now_s: Callable[[], float] = field(default=time.monotonic)


def charging_router(calls: ChargingCalls) -> APIRouter:
    """Returns the routes."""
    routes = APIRouter(tags=["charging"])
    for family in PREFIXES:
        _add_start(routes, calls, family)
        _add_stop(routes, calls, family)
        _add_status(routes, calls, family)
    _add_active(routes, calls)
    return routes


def charging_fast_paths(calls: ChargingCalls) -> list[FastPath]:
    """Returns the paths that bypass the router: a status is polled, a start is waited for."""
    return [path(calls, family) for family in PREFIXES for path in (_status_path, _start_path)]


def _status_path(calls: ChargingCalls, family: Family) -> FastPath:
    async def serve_status(request: Request, tail: str) -> Response | None:
        session_id = plain_uuid(tail)
        return None if session_id is None else await _status(calls, request, family, session_id)

    prefix = f"{PREFIXES[family]}{_STATUS_TAIL}"
    return FastPath("GET", prefix, f"{prefix}{{session_id}}", serve_status)


def _start_path(calls: ChargingCalls, family: Family) -> FastPath:
    template = f"{PREFIXES[family]}{START_TAIL}"
    prefix, _, last = template.rpartition("/")

    async def serve_start(request: Request, tail: str) -> Response | None:
        if tail != last or request.scope["query_string"]:
            return None
        return await _start(calls, request, family)

    return FastPath("POST", f"{prefix}/", template, serve_start)


def _add_start(routes: APIRouter, calls: ChargingCalls, family: Family) -> None:
    @routes.post(
        f"{PREFIXES[family]}{START_TAIL}",
        summary="Start charging",
        responses=charging_schemas.START_RESPONSES
        if family == "v1"
        else mobile_schemas.START_RESPONSES,
        openapi_extra=charging_schemas.START_BODY,
    )
    async def charging_start(request: Request) -> Response:  # pyright: ignore[reportUnusedFunction]
        """Put money on hold and ask the station to start; it answers before the station does."""
        return await _start(calls, request, family)


async def _start(calls: ChargingCalls, request: Request, family: Family) -> Response:
    await calls.callers.admit(request, family, "start")
    raw = await read_body(request, MAX_BYTES)
    try:
        parsed = parse_start(raw)
    except EvPowerError as error:
        calls.callers.count_misshaped(request)
        if error.code in RANGES:
            return refused_range(calls.rules, request, error, family)
        raise
    return await _start_parsed(calls, request, family, parsed)


async def _start_parsed(
    calls: ChargingCalls, request: Request, family: Family, parsed: ParsedStart
) -> Response:
    principal = await calls.callers.client(request, family, "start", parsed.client)
    start = parsed.request._replace(client_id=client_of(principal))
    now = calls.clock()
    try:
        session, start = await _begin(calls, request, start)
    except EvPowerError as error:
        refusal = await refused_start(calls.db, calls.rules, request, error, start, family)
        if refusal is None:
            raise
        return refusal
    # The command goes out while the answer is written, and before anybody else hears of it.
    if calls.carrier is not None and session.claimed is not None:
        calls.carrier.carry(session.claimed)
    else:
        calls.bus.publish(COMMAND_QUEUED, station_key(session.station_id))
    try:
        for _ in range(_TURNS):
            await asyncio.sleep(0)
        language = language_of(request)
        code = "session_charging" if session.state == "charging" else "session_starting"
        message = messages.sentence([code], language)
        answer = charging_answers.started(session, start, now, message)
        return spoken(mobile_answers.started(answer) if family == "mobile" else answer, language)
    finally:
        Changes({session.client_id}, {session.session_id}, {session.station_id}).publish(calls.bus)


async def _begin(
    calls: ChargingCalls, request: Request, start: StartRequest
) -> tuple[StartedSession, StartRequest]:
    """Returns the session, and the start as it was limited."""
    now, is_own_limit = calls.clock(), True
    async with calls.db.transaction() as connection:
        if not has_credential(request):
            start, is_own_limit = await limit_start(connection, start, calls.rules)
        try:
            session = await charging.start(
                connection, start, now=now, rules=calls.rules, carrier=calls.carrier
            )
        except Conflict as error:
            if error.code == "amount_exceeds_balance" and not is_own_limit:
                error.code = "insufficient_balance"
            raise
    return session, start


def _add_stop(routes: APIRouter, calls: ChargingCalls, family: Family) -> None:
    @routes.post(
        f"{PREFIXES[family]}{_STOP_TAIL}",
        summary="Stop charging",
        responses=charging_schemas.STOP_RESPONSES
        if family == "v1"
        else mobile_schemas.STOP_RESPONSES,
        openapi_extra=charging_schemas.STOP_BODY,
    )
    async def charging_stop(request: Request) -> Response:  # pyright: ignore[reportUnusedFunction]
        """Ask the station to stop, and wait for the bill; before the start it cancels."""
        await calls.callers.admit(request, family, "stop")
        raw = await read_body(request, MAX_BYTES)
        try:
            session_id = parse_stop(raw)
        except EvPowerError:
            calls.callers.count_misshaped(request)
            raise
        view = await _session_to_stop(calls, request, family, session_id)
        if view.started_by is None and view.is_open:
            raise Conflict("session_not_ours", "another system runs this session")
        if not view.is_final:
            stop = StopRequest(view.id, view.client_id, actor=f"client:{view.client_id}")
            view = await _stop(calls, stop, view)
        return await _stopped(calls, request, family, view)


async def _session_to_stop(
    calls: ChargingCalls, request: Request, family: Family, session_id: UUID
) -> SessionView:
    """Returns the session that the caller may stop."""
    name = f"session:{session_id}"
    principal = await calls.callers.client_by_id(request, family, "stop", name)
    async with calls.db.connection() as connection:
        view = await charging.session_status(connection, session_id)
    calls.callers.exists(request, name)
    if principal is not None:
        may_read(principal, view.client_id)
    return view


async def _stopped(
    calls: ChargingCalls, request: Request, family: Family, view: SessionView
) -> Response:
    async with calls.db.connection() as connection:
        wallet = await get_wallet(connection, view.client_id)
    if wallet is None:
        raise NotFound("client_not_found", "there is no such client")
    now, language = calls.clock(), language_of(request)
    if not view.is_final or view.may_begin(now):  # a repeat with the same key is worked out again
        idempotency.set_outcome(request.scope.setdefault("state", {}), "unknown")
    codes = view.message_codes(now) if view.is_final else ["session_stopping"]
    answer = charging_answers.stopped(
        view, wallet.balance_minor, wallet.held_minor, now, messages.sentence(codes, language)
    )
    return spoken(mobile_answers.stopped(answer) if family == "mobile" else answer, language)


async def _stop(calls: ChargingCalls, stop: StopRequest, view: SessionView) -> SessionView:
    """Requests the stop. Returns the session with its bill, or as it is when the time is over."""
    wait_s = calls.wait_s if calls.changes.count(view.id) < _MOST_WAITING else 0
    with calls.changes.watch(view.id) as changed:
        if view.is_open:
            async with calls.db.transaction() as connection:
                requested = await charging.request_stop(
                    connection, stop, now=calls.clock(), rules=calls.rules
                )
            requested.changes.publish(calls.bus)
        ends_s = calls.now_s() + wait_s
        for _ in range(_MOST_LOOKS):
            async with calls.db.connection() as connection:
                view = await charging.session_status(connection, view.id)
            left_s = ends_s - calls.now_s()
            if view.is_final or left_s <= 0:
                break
            await changed.wait(min(left_s, _LOOK_S))
    return view


def _add_status(routes: APIRouter, calls: ChargingCalls, family: Family) -> None:
    @routes.get(
        f"{PREFIXES[family]}{_STATUS_TAIL}{{session_id}}",
        summary="A charging session",
        responses=charging_schemas.STATUS_RESPONSES
        if family == "v1"
        else mobile_schemas.STATUS_RESPONSES,
    )
    async def charging_status(  # pyright: ignore[reportUnusedFunction]
        request: Request, session_id: Annotated[str, Path(max_length=_MAX_ID)]
    ) -> Response:
        """Answer how a session stands: energy, cost, power, state of charge."""
        try:
            parsed = UUID(session_id)
        except ValueError as error:
            await calls.callers.by_id(request, family, "read", "session:")
            raise NotFound("session_not_found", "there is no such session") from error
        return await _status(calls, request, family, parsed)


def _add_active(routes: APIRouter, calls: ChargingCalls) -> None:
    access = calls.callers.access

    @routes.get(
        _ACTIVE_PATH,
        summary="The caller's open charging session",
        responses=charging_schemas.ACTIVE_RESPONSES,
        openapi_extra=charging_schemas.CLIENT_ONLY,
    )
    async def charging_active(  # pyright: ignore[reportUnusedFunction]
        request: Request, principal: Annotated[Principal, Depends(access.require_client)]
    ) -> Response:
        """Answer the newest session that has not ended: what an app shows after its restart."""
        async with calls.db.connection() as connection:
            view = await charging.active_session(connection, client_of(principal))
        now, language = calls.clock(), language_of(request)
        message = messages.sentence(view.message_codes(now), language)
        return spoken(charging.flat_status(view, now, message), language)


async def _status(
    calls: ChargingCalls, request: Request, family: Family, session_id: UUID
) -> Response:
    name = f"session:{session_id}"
    principal = await calls.callers.by_id(request, family, "read", name)
    view = await calls.statuses(session_id)
    calls.callers.exists(request, name)
    if principal is not None:
        may_read(principal, view.client_id)
    now, language = calls.clock(), language_of(request)
    message = messages.sentence(view.message_codes(now), language)
    if family == "mobile":
        flat = charging.flat_status(view, now, message)
        return spoken(mobile_answers.status(flat, view), language)
    return spoken(charging_answers.status(view, now, message), language)


def client_of(principal: Principal) -> UUID:
    """Returns the client. Raises Forbidden("forbidden") for operators and services."""
    if principal.client_id is None:
        raise Forbidden("forbidden", "only a client may do this")
    return principal.client_id

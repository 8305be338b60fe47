"""`/api/v1/charging/start`, `stop`, `status/{session_id}` and `active`."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Request
from fastapi.responses import Response

from evpower import charging
from evpower.api import messages
from evpower.api.legacy import charging_answers, charging_schemas
from evpower.api.legacy.charging_request import (
    MAX_AMOUNT_SOM,
    MAX_BYTES,
    MAX_ENERGY_KWH,
    parse_start,
    parse_stop,
)
from evpower.api.legacy.respond import language_of, refused, spoken
from evpower.charging import Changes, Rules, SessionView, StopRequest
from evpower.foundation import idempotency
from evpower.foundation.body import read_body
from evpower.foundation.bus import Bus
from evpower.foundation.clock import Clock, utc_now
from evpower.foundation.db import Database
from evpower.foundation.errors import Conflict, EvPowerError, Forbidden, NotFound
from evpower.foundation.fast_path import FastPath, plain_uuid
from evpower.foundation.key_watch import KeyWatch
from evpower.foundation.money import to_minor, to_som, to_text
from evpower.identity import Access, Principal, may_read
from evpower.wallet import get_wallet

START_PATH: Final = "/api/v1/charging/start"
STOP_PATH: Final = "/api/v1/charging/stop"
STATUS_PATH: Final = "/api/v1/charging/status/{session_id}"
ACTIVE_PATH: Final = "/api/v1/charging/active"
_STATUS_PREFIX: Final = "/api/v1/charging/status/"
_PAYMENT_REQUIRED: Final = 402
# Refusals that more money on the balance would change.
_FOR_MONEY: Final = frozenset({"insufficient_balance", "zero_balance", "amount_exceeds_balance"})
# The sentences that name the range of a limit.
_RANGES: Final = {"invalid_amount": "start_amount_range", "invalid_energy": "start_energy_range"}
_WAIT_S: Final = 7.0  # phones give up after 10
_LOOK_S: Final = 1.0  # a change that another node made may not be announced
_MOST_LOOKS: Final = 50
_MAX_ID: Final = 100


@dataclass(frozen=True, slots=True)
class ChargingCalls:
    """What the calls work with. `wait_s`: how long a stop waits for the bill."""

    db: Database
    bus: Bus
    access: Access
    changes: KeyWatch
    rules: Rules
    clock: Clock = utc_now
    wait_s: float = _WAIT_S
    now_s: Callable[[], float] = field(default=time.monotonic)


def charging_router(calls: ChargingCalls) -> APIRouter:
    """Returns the routes."""
    routes = APIRouter(tags=["charging"])
    _add_start(routes, calls)
    _add_stop(routes, calls)
    _add_reads(routes, calls)
    return routes


def charging_fast_paths(calls: ChargingCalls) -> list[FastPath]:
    """Returns the status path, which bypasses the router: every charging phone polls it."""

    async def serve_status(request: Request, tail: str) -> Response | None:
        session_id = plain_uuid(tail)
        if session_id is None:
            return None
        return await _status(calls, request, session_id, await calls.access.principal(request))

    return [FastPath("GET", _STATUS_PREFIX, STATUS_PATH, serve_status)]


def _add_start(routes: APIRouter, calls: ChargingCalls) -> None:
    @routes.post(
        START_PATH,
        summary="Start charging",
        responses=charging_schemas.START_RESPONSES,
        openapi_extra=charging_schemas.START_BODY,
    )
    async def charging_start(  # pyright: ignore[reportUnusedFunction]
        request: Request,
        principal: Annotated[Principal, Depends(calls.access.require_client_for_money)],
    ) -> Response:
        """Put money on hold and ask the station to start; it answers before the station does."""
        client_id = _client_of(principal)
        raw = await read_body(request, MAX_BYTES)
        now = calls.clock()
        try:
            parsed = parse_start(raw, client_id)
            if parsed.speaks_for is not None:
                may_read(principal, await calls.access.resolve(principal, parsed.speaks_for))
            async with calls.db.transaction() as connection:
                session = await charging.start(
                    connection, parsed.request, now=now, rules=calls.rules
                )
        except EvPowerError as error:
            if error.code in _RANGES:
                return _refused_range(calls, request, error)
            if error.code not in _FOR_MONEY:
                raise
            return await _refused_for_money(calls, request, error, client_id)
        Changes({client_id}, {session.session_id}, {session.station_id}).publish(calls.bus)
        language = language_of(request)
        message = messages.sentence(["session_starting"], language)
        return spoken(charging_answers.started(session, parsed.request, now, message), language)


def _refused_range(calls: ChargingCalls, request: Request, error: EvPowerError) -> Response:
    """Returns the refusal of a limit with the range that a limit may have."""
    params = {
        "minimum": to_text(calls.rules.minimum_minor),
        "maximum": str(MAX_AMOUNT_SOM),
        "most_kwh": str(MAX_ENERGY_KWH),
    }
    language = language_of(request)
    sentence = messages.text(_RANGES[error.code], error.http_status, language, params)
    return refused(error, request, {"error": sentence, "message": sentence})


async def _refused_for_money(
    calls: ChargingCalls, request: Request, error: EvPowerError, client_id: UUID
) -> Response:
    error.http_status = _PAYMENT_REQUIRED
    async with calls.db.connection() as connection:
        wallet = await get_wallet(connection, client_id)
    available_minor = 0 if wallet is None else wallet.available_minor
    error.params = {**error.params, "available": to_text(available_minor)}
    debt_minor = 0 if wallet is None else wallet.debt_minor
    members: dict[str, Any] = {"current_balance": to_som(available_minor)}
    required = error.params.get("required")
    if required is not None:
        members["required_amount"] = to_som(to_minor(str(required)) + debt_minor)
    if debt_minor:
        members["debt"] = to_som(debt_minor)
        language = language_of(request)
        params = {"debt": to_text(debt_minor)}
        sentence = messages.text("insufficient_balance_debt", _PAYMENT_REQUIRED, language, params)
        members |= {"error": sentence, "message": sentence}
    return refused(error, request, members)


def _add_stop(routes: APIRouter, calls: ChargingCalls) -> None:
    @routes.post(
        STOP_PATH,
        summary="Stop charging",
        responses=charging_schemas.STOP_RESPONSES,
        openapi_extra=charging_schemas.STOP_BODY,
    )
    async def charging_stop(  # pyright: ignore[reportUnusedFunction]
        request: Request, principal: Annotated[Principal, Depends(calls.access.require_client)]
    ) -> Response:
        """Ask the station to stop, and wait for the bill; before the start it cancels."""
        client_id = _client_of(principal)
        stop = parse_stop(await read_body(request, MAX_BYTES), client_id)
        async with calls.db.connection() as connection:
            view = await charging.session_status(connection, stop.session_id)
        may_read(principal, view.client_id)
        if view.started_by is None and view.is_open:
            raise Conflict("session_not_ours", "another system runs this session")
        if not view.is_final:
            view = await _stop(calls, stop, view)
        async with calls.db.connection() as connection:
            wallet = await get_wallet(connection, client_id)
        if wallet is None:
            raise NotFound("client_not_found", "there is no such client")
        if not view.is_final:  # a repeat with the same key is worked out again
            idempotency.set_outcome(request.scope["state"], "unknown")
        now, language = calls.clock(), language_of(request)
        codes = view.message_codes(now) if view.is_final else ["session_stopping"]
        answer = charging_answers.stopped(
            view, wallet.balance_minor, wallet.held_minor, now, messages.sentence(codes, language)
        )
        return spoken(answer, language)


async def _stop(calls: ChargingCalls, stop: StopRequest, view: SessionView) -> SessionView:
    """Requests the stop. Returns the session with its bill, or as it is when the time is over."""
    with calls.changes.watch(view.id) as changed:
        if view.is_open:
            async with calls.db.transaction() as connection:
                requested = await charging.request_stop(
                    connection, stop, now=calls.clock(), rules=calls.rules
                )
            requested.changes.publish(calls.bus)
        ends_s = calls.now_s() + calls.wait_s
        for _ in range(_MOST_LOOKS):
            async with calls.db.connection() as connection:
                view = await charging.session_status(connection, view.id)
            left_s = ends_s - calls.now_s()
            if view.is_final or left_s <= 0:
                break
            await changed.wait(min(left_s, _LOOK_S))
    return view


def _add_reads(routes: APIRouter, calls: ChargingCalls) -> None:
    @routes.get(
        STATUS_PATH, summary="A charging session", responses=charging_schemas.STATUS_RESPONSES
    )
    async def charging_status(  # pyright: ignore[reportUnusedFunction]
        request: Request,
        session_id: Annotated[str, Path(max_length=_MAX_ID)],
        principal: Annotated[Principal, Depends(calls.access.principal)],
    ) -> Response:
        """Answer how a session stands: energy, cost, power, state of charge."""
        try:
            parsed = UUID(session_id)
        except ValueError as error:
            raise NotFound("session_not_found", "there is no such session") from error
        return await _status(calls, request, parsed, principal)

    @routes.get(
        ACTIVE_PATH,
        summary="The caller's open charging session",
        responses=charging_schemas.ACTIVE_RESPONSES,
        openapi_extra=charging_schemas.CLIENT_ONLY,
    )
    async def charging_active(  # pyright: ignore[reportUnusedFunction]
        request: Request, principal: Annotated[Principal, Depends(calls.access.require_client)]
    ) -> Response:
        """Answer the newest session that has not ended: what an app shows after its restart."""
        async with calls.db.connection() as connection:
            view = await charging.active_session(connection, _client_of(principal))
        now, language = calls.clock(), language_of(request)
        message = messages.sentence(view.message_codes(now), language)
        return spoken(charging.flat_status(view, now, message), language)


async def _status(
    calls: ChargingCalls, request: Request, session_id: UUID, principal: Principal
) -> Response:
    async with calls.db.connection() as connection:
        view = await charging.session_status(connection, session_id)
    may_read(principal, view.client_id)
    now, language = calls.clock(), language_of(request)
    message = messages.sentence(view.message_codes(now), language)
    return spoken(charging_answers.status(view, now, message), language)


def _client_of(principal: Principal) -> UUID:
    if principal.client_id is None:
        raise Forbidden("forbidden", "only a client may do this")
    return principal.client_id

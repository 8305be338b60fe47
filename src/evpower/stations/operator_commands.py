"""Routes by which operators ask stations for something: one, or many at once."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Final, NamedTuple
from uuid import UUID

import structlog
from fastapi import APIRouter, Depends, Path, Query, Request, Response

from evpower.foundation.errors import EvPowerError, Invalid, NotFound, Unavailable
from evpower.foundation.ids import new_uuid
from evpower.foundation.key_watch import KeyWatch
from evpower.foundation.openapi import Responses, problem
from evpower.foundation.paging import LIMIT_DEFAULT, Page, cut, read_cursor, write_cursor
from evpower.foundation.segments import SegmentRoute
from evpower.identity import (
    HELP_ACTIONS,
    OPERATOR_PATH,
    OPERATOR_REFUSALS,
    RIGHTS,
    OperatorCalls,
    Principal,
    RowCursor,
    RowLimit,
    actor_of,
    operator_call,
    record_act,
)
from evpower.stations.commands import get_command
from evpower.stations.filters import BulkRefusal, CommandFilter
from evpower.stations.find import get_station, list_stations, resolve_station
from evpower.stations.model import (
    STATION_CHANGED,
    Command,
    CommandAction,
    CommandState,
    station_key,
)
from evpower.stations.operator_command_schemas import (
    BulkCommand,
    BulkResult,
    CommandRequest,
    NewBulkCommand,
    NewCommand,
    OperatedCommand,
)
from evpower.stations.outcomes import CommandOutcomes, StationOutcome
from evpower.stations.request import CommandCheck, read_arguments, request_command
from evpower.stations.search import search_commands
from evpower.stations.station_path import StationName
from evpower.stations.store_commands import insert_refusals, refusals_of

BULK_MOST: Final = 500
_ACCEPTED: Final = 202
# By a transaction's id, or beside what the operator wants of the station: other calls do these.
_ELSEWHERE: Final[dict[CommandAction, str]] = {
    "remote_stop": "stop the session: POST /api/v1/operator/sessions/{session_id}/stop",
    "set_charging_profile": "it names a transaction: there is no call for it yet",
    "change_availability": "PUT /api/v1/operator/stations/{station}/availability stores it too",
}
_SECRET: Final = re.compile(r"(?i)authorization.?key|passw|secret|token|credential|private.?key")
_log: Final = structlog.get_logger()
_QUEUED: Final[Responses] = {
    **OPERATOR_REFUSALS,
    200: {"model": OperatedCommand, "description": "It has its outcome"},
    202: {"model": OperatedCommand, "description": "Queued or sent: no outcome yet"},
    404: problem("`station_not_found`"),
    409: problem(
        "`station_retired`, `station_forwarded`, `station_in_use`, `idempotency_conflict`"
    ),
    422: problem("`invalid_request`, `command_invalid`"),
}


class CommandPlace(NamedTuple):
    """Where a page of commands ended."""

    id: int


def commands_router(calls: OperatorCalls, check: CommandCheck | None = None) -> APIRouter:
    """Returns the routes. `check` is asked before each command is queued."""
    routes = APIRouter(prefix=OPERATOR_PATH, tags=["operator commands"], route_class=SegmentRoute)
    outcomes = CommandOutcomes(calls.db, KeyWatch(calls.bus, STATION_CHANGED), calls.clock)
    _add_reads(routes, calls)
    queue = _Queue(calls, check)
    _add_one(routes, calls, outcomes, queue)
    _add_bulk(routes, calls, outcomes, queue)
    return routes


def _add_reads(routes: APIRouter, calls: OperatorCalls) -> None:
    may_read = calls.access.may("read")

    @routes.get(
        "/commands",
        summary="Commands, the newest first",
        responses={**OPERATOR_REFUSALS, 404: problem("`station_not_found`")},
        openapi_extra=operator_call("read"),
    )
    async def commands(  # pyright: ignore[reportUnusedFunction]
        _: Annotated[Principal, Depends(may_read)],
        station: Annotated[str | None, Query(min_length=1, max_length=255)] = None,
        state: CommandState | None = None,
        action: CommandAction | None = None,
        limit: RowLimit = LIMIT_DEFAULT,
        cursor: RowCursor = None,
    ) -> Page[OperatedCommand]:
        """Each with its outcome, also those that EvPower itself sent (starts, stops)."""
        place = read_cursor(cursor, CommandPlace)
        async with calls.db.connection() as connection:
            view = None if station is None else await get_station(connection, station)
            wanted = CommandFilter(view and view.station.id, state, action)
            rows = await search_commands(
                connection, wanted, before=place and place.id, limit=limit + 1
            )
        page, last = cut(rows, limit)
        return Page(
            items=[OperatedCommand.model_validate(row) for row in page],
            next=None if last is None else write_cursor(CommandPlace(last.id)),
        )

    @routes.get(
        "/commands/{command}",
        summary="A command with its outcome",
        responses={**OPERATOR_REFUSALS, 404: problem("`command_not_found`")},
        openapi_extra=operator_call("read"),
    )
    async def one_command(  # pyright: ignore[reportUnusedFunction]
        _: Annotated[Principal, Depends(may_read)],
        command: Annotated[int, Path(ge=1, le=2**63 - 1)],
    ) -> OperatedCommand:
        async with calls.db.connection() as connection:
            return OperatedCommand.model_validate(await get_command(connection, command))


@dataclass(frozen=True, slots=True)
class _Queue:
    """Queues commands of operators, each in a transaction of its own."""

    calls: OperatorCalls
    check: CommandCheck | None

    async def add(
        self, caller: Principal, body: CommandRequest, station: str, bulk_id: UUID | None = None
    ) -> Command:
        async with self.calls.db.transaction() as connection:
            if self.check is not None:
                await self.check(connection, station, body.action, body.texts())
            queued = await request_command(
                connection,
                station=station,
                action=body.action,
                arguments=body.texts(),
                expires_in=timedelta(seconds=body.expires_in_s),
                now=self.calls.clock(),
                actor=actor_of(caller),
                reason=body.reason,
                bulk_id=bulk_id,
            )
        self.calls.bus.publish(STATION_CHANGED, station_key(queued.station_id))
        return queued


def _add_one(
    routes: APIRouter, calls: OperatorCalls, outcomes: CommandOutcomes, queue: _Queue
) -> None:
    @routes.post(
        "/stations/{station}/commands",
        summary="Ask a station for something",
        responses=_QUEUED,
        openapi_extra=operator_call("station.help"),
    )
    async def command(  # pyright: ignore[reportUnusedFunction]
        request: Request,
        response: Response,
        caller: Annotated[Principal, Depends(calls.access.may("station.help"))],
        station: StationName,
        body: NewCommand,
    ) -> OperatedCommand:
        """Queue it, and wait for its outcome if `wait_s` says so.

        Support may reset, unlock, trigger and read the configuration; the rest takes the role
        operator. A session is stopped by its id, never by a transaction's.
        """
        if body.action not in HELP_ACTIONS:
            await calls.access.require_role(request, *RIGHTS["station.command"].roles)
        _refuse_elsewhere(body.action, body.texts())
        queued = await queue.add(caller, body, station)
        [(present, _)] = await outcomes.wait([queued], body.wait_s)
        if present.ended_at is None:
            response.status_code = _ACCEPTED
        return OperatedCommand.model_validate(present)


def _add_bulk(
    routes: APIRouter, calls: OperatorCalls, outcomes: CommandOutcomes, queue: _Queue
) -> None:
    @routes.post(
        "/bulk-commands",
        summary="Ask many stations for the same",
        responses={
            **OPERATOR_REFUSALS,
            404: problem("`location_not_found`"),
            409: problem("`location_ambiguous`: name it by its id; `idempotency_conflict`"),
            422: problem("`invalid_request`, `command_invalid`: no stations, or more than 500"),
        },
        openapi_extra=operator_call("station.command"),
    )
    async def bulk(  # pyright: ignore[reportUnusedFunction]
        caller: Annotated[Principal, Depends(calls.access.may("station.command"))],
        body: NewBulkCommand,
    ) -> BulkCommand:
        """Each station has a result of its own; one that is not there is not waited for."""
        _refuse_elsewhere(body.action, body.texts())
        read_arguments(body.action, body.texts())
        names = await _names(calls, body)
        bulk_id = new_uuid()
        queued: list[Command] = []
        refused: list[BulkRefusal] = []
        for name in names:
            try:
                queued.append(await queue.add(caller, body, name, bulk_id))
            except EvPowerError as error:
                refused.append(BulkRefusal(name, body.action, error.code))
        if refused:
            try:
                await _store_refusals(calls, caller, body, bulk_id, refused, is_all=not queued)
            except Unavailable:
                if not queued:
                    raise
                # Without its id a second try would ask the stations again.
                _log.warning("bulk_refusals_not_stored", bulk=str(bulk_id), refused=len(refused))
        listed = await outcomes.wait(queued, body.wait_s)
        return _bulk(bulk_id, body.action, listed, refused)

    @routes.get(
        "/bulk-commands/{bulk}",
        summary="A bulk command with a result for each station",
        responses={**OPERATOR_REFUSALS, 404: problem("`command_not_found`")},
        openapi_extra=operator_call("read"),
    )
    async def one_bulk(  # pyright: ignore[reportUnusedFunction]
        _: Annotated[Principal, Depends(calls.access.may("read"))], bulk: UUID
    ) -> BulkCommand:
        """As the first answer has it, with what became of it since."""
        async with calls.db.connection() as connection:
            commands = await search_commands(
                connection, CommandFilter(bulk_id=bulk), before=None, limit=BULK_MOST
            )
            refused = await refusals_of(connection, bulk)
        if not commands and not refused:
            raise NotFound("command_not_found", f"there is no bulk command {bulk}")
        action = (commands or refused)[0].action
        return _bulk(bulk, action, await outcomes.wait(commands, 0), refused)


async def _names(calls: OperatorCalls, body: NewBulkCommand) -> Sequence[str]:
    """Returns the stations of a bulk command, each once.

    Raises Invalid("command_invalid"), NotFound("location_not_found").
    """
    if body.location is not None and body.stations:
        raise Invalid("command_invalid", "name stations or a location, not both")
    async with calls.db.connection() as connection:
        if body.location is not None:
            views = await list_stations(connection, location=body.location)
            names = [view.station.id for view in views]
        else:  # two names may be one station
            stored = [(name, await resolve_station(connection, name)) for name in body.stations]
            names = list(dict.fromkeys(name if row is None else row.id for name, row in stored))
    if not 1 <= len(names) <= BULK_MOST:
        raise Invalid("command_invalid", f"1 to {BULK_MOST} stations, not {len(names)}")
    return names


async def _store_refusals(
    calls: OperatorCalls,
    caller: Principal,
    body: NewBulkCommand,
    bulk_id: UUID,
    refused: Sequence[BulkRefusal],
    *,
    is_all: bool,
) -> None:
    """Stores who was not asked; a command that was queued has an entry of the audit of its own."""
    async with calls.db.transaction() as connection:
        await insert_refusals(connection, bulk_id, refused, calls.clock())
        if is_all:
            await record_act(
                connection,
                actor=actor_of(caller),
                action="station.bulk_command",
                subject=str(bulk_id),
                reason=body.reason,
                details={
                    "action": body.action,
                    "arguments": sorted(body.texts()),
                    "refused": len(refused),
                },
            )


def _bulk(
    bulk_id: UUID,
    action: CommandAction,
    listed: Sequence[tuple[Command, StationOutcome]],
    refused: Sequence[BulkRefusal],
) -> BulkCommand:
    outcomes = [
        BulkResult(
            station=command.station_id, outcome=outcome, command=command.id, error=None,
            response=command.response,
        )
        for command, outcome in listed
    ]  # fmt: skip
    not_asked = [
        BulkResult(
            station=refusal.station, outcome="refused", command=None, error=refusal.error,
            response=None,
        )
        for refusal in refused
    ]  # fmt: skip
    results = sorted([*outcomes, *not_asked], key=lambda result: result.station)
    counts: Counter[StationOutcome] = Counter(result.outcome for result in results)
    return BulkCommand(id=bulk_id, action=action, counts=dict(counts), results=results)


def _refuse_elsewhere(action: CommandAction, arguments: Mapping[str, str]) -> None:
    if action in _ELSEWHERE:
        raise Invalid("command_invalid", f"{action}: {_ELSEWHERE[action]}")
    if action == "change_configuration" and _SECRET.search(arguments.get("key", "")):
        detail = "a secret would stand in the log: POST /api/v1/operator/stations/{station}/secure"
        raise Invalid("command_invalid", detail)

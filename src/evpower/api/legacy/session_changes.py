"""Sends changes of charging sessions to the old live sockets that have signed in as their client.

The old name of the message is kept, `charging_session_update`; its `event` is `started`,
`meter_update`, `stopped`, or `error` where no charge took place.
"""

import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, Final, Literal
from uuid import UUID

from evpower.api.legacy.location_changes import station_channels
from evpower.api.legacy.location_feed import LocationFeed
from evpower.api.legacy.station_board import Board, StationBoard
from evpower.charging import SESSION_CHANGED, SessionView, newest_sessions, session_statuses
from evpower.foundation.bus import EVERYTHING, Bus, Topic
from evpower.foundation.clock import Clock, to_z
from evpower.foundation.db import Connection, Database
from evpower.foundation.errors import Forbidden, NotFound
from evpower.foundation.loops import Loop, Pause, Round, Wakeup
from evpower.foundation.money import to_som
from evpower.identity import CLIENT_CHANGED, Access, Claims, get_client

_PERIOD_S: Final = 5.0  # what the bus lost is found by then
_AT_MOST_EVERY_S: Final = 0.5
_BATCH: Final = 500
_MAX_WAITING: Final = 20_000  # sessions of all clients; the next period finds what is dropped
_SHOWN_FOR: Final = timedelta(hours=1)  # an ended session, to a socket that signs in after it
_REMEMBERED: Final = 10  # sessions of a client
_WH_PER_KWH: Final = 1000

SessionUpdateEvent = Literal["started", "meter_update", "stopped", "error"]


class SessionChanges:
    """Reads the changed sessions of the clients whose sockets have signed in."""

    def __init__(
        self,
        feed: LocationFeed,
        board: StationBoard,
        db: Database,
        access: Access,
        bus: Bus,
        clock: Clock,
        *,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._feed = feed
        self._board = board
        self._db = db
        self._access = access
        self._bus = bus
        self._clock = clock
        self._wakeup = Wakeup()
        self._changed: dict[UUID, None] = {}  # sessions
        self._clients: dict[UUID, None] = {}  # whose status may have changed
        self._joined: dict[UUID, None] = {}  # clients whose newest session is sent
        self._sent: dict[UUID, dict[UUID, dict[str, Any]]] = {}  # by client and session
        self._now_s = now_s
        self._swept_at_s = now_s()

    async def sign_in(self, token: str) -> Claims:
        """Returns the claims of a client's token.

        Raises the errors of Access.client_of_token, and Forbidden("client_closed").
        """
        claims = await self._access.client_of_token(token)
        async with self._db.connection() as connection:
            if await _is_closed(connection, claims.sub):
                raise Forbidden("client_closed", "the client is closed")
        self._joined[claims.sub] = None
        self._wakeup.notify()
        return claims

    def loop(self) -> Loop:
        """Returns the loop that listens to the bus and sends."""
        return Loop(
            "old_session_changes",
            self._round,
            period_s=_PERIOD_S,
            wakeup=self._wakeup,
            around=self._listening,
        )

    @asynccontextmanager
    async def _listening(self) -> AsyncGenerator[None]:
        unsubscribe = self._bus.subscribe(self._on_change)
        try:
            yield
        finally:
            unsubscribe()

    def _on_change(self, topic: Topic, key: UUID) -> None:
        if not self._feed.has_clients or key == EVERYTHING:
            return
        if topic == SESSION_CHANGED and len(self._changed) < _MAX_WAITING:
            self._changed[key] = None
            self._wakeup.notify()
        elif topic == CLIENT_CHANGED and self._feed.has_client(key):
            self._clients[key] = None
            self._wakeup.notify()

    async def _round(self, _: Round) -> Pause | None:
        if not self._feed.has_clients:
            for waiting in (self._changed, self._clients, self._joined, self._sent):
                waiting.clear()
            return None
        await self.send()
        is_more = self._changed or self._wakeup.is_set
        return Pause(_AT_MOST_EVERY_S, wakeable=False) if is_more else None

    async def send(self) -> None:
        """Sends the sessions that are other than at the last time.

        Those that the bus has named, and each period, or after its sign-in, the newest one of each
        client.
        """
        signed_in = frozenset(self._feed.clients)
        is_due = self._now_s() - self._swept_at_s >= _PERIOD_S
        # Taken out before the read: what the bus names from now on is read again.
        changed, checked = _pop(self._changed, _BATCH), _pop(self._clients)
        joined = _pop(self._joined)
        try:
            newest_of = list(signed_in if is_due else signed_in.intersection(joined))
            async with self._db.connection() as connection:
                closed = [client for client in checked if await _is_closed(connection, client)]
                views = await session_statuses(connection, changed) if changed else []
                for first in range(0, len(newest_of), _BATCH):
                    views += await newest_sessions(connection, newest_of[first : first + _BATCH], 1)
            board = await self._board.get()
        except BaseException:
            self._changed = {**dict.fromkeys(changed), **self._changed}
            self._clients = {**dict.fromkeys(checked), **self._clients}
            self._joined = {**dict.fromkeys(joined), **self._joined}
            raise
        if is_due:
            self._swept_at_s = self._now_s()
        for client_id in closed:
            self._feed.close_client(client_id)
        for client_id in [*joined, *(self._sent.keys() - signed_in)]:
            self._sent.pop(client_id, None)
        self._push([view for view in views if view.client_id in signed_in], board)

    def _push(self, views: Sequence[SessionView], board: Board) -> None:
        now = self._clock()
        for view in views:
            if not _is_new(view, now):
                continue
            sent, facts = self._sent.setdefault(view.client_id, {}), _facts(view, board)
            if sent.get(view.id) == facts:
                continue
            sent[view.id] = facts
            if len(sent) > _REMEMBERED:
                del sent[next(iter(sent))]
            facts = {**facts, "timestamp": to_z(now)}
            message = {"type": "charging_session_update", **facts, "data": facts}
            self._feed.push_own(view.client_id, _channels(view, board), message, now)


def _pop(waiting: dict[UUID, None], at_most: int | None = None) -> list[UUID]:
    """Removes and returns the longest waiting keys."""
    keys = list(islice(waiting, at_most))
    for key in keys:
        del waiting[key]
    return keys


async def _is_closed(connection: Connection, client_id: UUID) -> bool:
    """Returns false for a client that does not exist yet."""
    try:
        return (await get_client(connection, client_id)).status == "closed"
    except NotFound:
        return False


def _is_new(view: SessionView, now: datetime) -> bool:
    return view.is_open or now - view.updated_at < _SHOWN_FOR


def _facts(view: SessionView, board: Board) -> dict[str, Any]:
    """Returns the members of the message without its time; what is unknown is absent."""
    no_charge = view.status == "error"
    facts: dict[str, Any] = {
        "event": _event(view),
        "session_id": str(view.id),
        "client_id": str(view.client_id),
        "station_id": view.station_id,
        "status": view.status,
        "energy_kwh": 0.0 if no_charge else view.energy_wh / _WH_PER_KWH,
        "amount": 0.0 if no_charge else to_som(view.cost_minor),
        "start_time": to_z(view.started_at or view.created_at),
    }
    station = board.find(view.station_id)
    if station is not None:
        facts["location_id"] = station.view.location.id
    if not view.is_open:
        facts["stop_time"] = to_z(view.ended_at or view.updated_at)
    return facts


def _event(view: SessionView) -> SessionUpdateEvent:
    if view.status == "error":
        return "error"
    if not view.is_open:
        return "stopped"
    return "started" if view.last_value_at is None else "meter_update"


def _channels(view: SessionView, board: Board) -> Sequence[str]:
    station = board.find(view.station_id)
    names = () if station is None else station_channels("station_sessions:", station)
    return f"client_sessions:{view.client_id}", *names

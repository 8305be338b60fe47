"""Serves one request of a station: one transaction, then the changes are announced, then answered.

A request that can be read is answered by its content, never refused for its form. While the
database is away it waits; if that takes too long the connection is dropped, so that the station
queues what it has to say.
"""

import asyncio
import random
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

import asyncpg
import orjson
import structlog

from evpower import alerts
from evpower.charging import Changes, Rules
from evpower.foundation.backoff import Backoff
from evpower.foundation.bus import Bus
from evpower.foundation.clock import Clock
from evpower.foundation.db import Database
from evpower.foundation.errors import Unavailable
from evpower.foundation.json_reader import read_object
from evpower.ocpp import messages, metrics, store
from evpower.ocpp.frame_log import shown, storable
from evpower.ocpp.model import CALL, CALL_ERROR, Frame, FrameRow
from evpower.ocpp.router import Route, Router, check, key_of
from evpower.ocpp.shared_frames import SharedFrames, ValuesFrame
from evpower.ocpp.socket import Registry, StationSocket
from evpower.ocpp.times import BEFORE_BOOT

_RETRY_FOR_S: Final = 20.0  # a station waits about 30 s for an answer
_BOOTS_WITHIN: Final = timedelta(minutes=2)  # after it was asked to; later it restarted
_TRIES: Final = 3  # of a handler that fails unexpectedly
_FORMATION: Final = "FormationViolation"
_EMPTY: Final = "{}"
_BOOT: Final = "BootNotification"
_WITHOUT_SECRETS: Final = frozenset({
    _BOOT, "Authorize", "Heartbeat", "MeterValues", "StartTransaction", "StatusNotification",
    "StopTransaction",
})  # fmt: skip
# A request whose answer the station has not read, or does not heed.
_REPEATED: Final = {
    "MeterValues": "values_repeated", "StartTransaction": "start_repeated",
    "StopTransaction": "stop_repeated",
}  # fmt: skip
_BOOTS_APART: Final = timedelta(minutes=10)
log: Final = structlog.get_logger()


class Processor:
    """Serves the requests of all sockets of this node."""

    def __init__(
        self,
        db: Database,
        bus: Bus,
        router: Router,
        owner: Registry,
        clock: Clock,
        rules: Rules,
        *,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._db = db
        self._bus = bus
        self._router = router
        self._owner = owner
        self._clock = clock
        self._rules = rules
        self._now_s = now_s
        self._backoff = Backoff(0.05, 2.0)
        self._shared = SharedFrames(db, clock, rules)

    async def close(self) -> None:
        """Finishes the frames that are being stored."""
        await self._shared.close()

    async def serve(self, socket: StationSocket, message: bytes, at: datetime) -> None:
        """Reads a message, does what it asks for, and answers it."""
        call = messages.read(message)
        if not isinstance(call, messages.Call):
            self._refuse_unreadable(socket, call, message, at)
            return
        frame = Frame(
            socket.station_id, call.id, call.action, call.payload, at,
            (socket.booted_at or socket.opened_at) - BEFORE_BOOT, self._rules, call.notes,
            profile=socket.profile, zone=socket.zone,
        )  # fmt: skip
        if not socket.had_first_frame and socket.booted_at is None and call.action != _BOOT:
            frame.notes.add("before_boot")
        route = self._router.find(socket.version, frame)
        if isinstance(route, str):
            self._refuse(socket, frame, route, message)
        elif route.reply is not None:
            if not check(route, frame.payload):
                frame.notes.add("schema")
            answer = messages.result(frame.message_id, route.reply(frame, self._clock()))
            self._log_both(frame, route.action, message, answer)
            socket.write(answer)
            metrics.count(route.action, "handled")
        else:
            await self._serve_stored(socket, frame, route, message)
        if frame.notes:
            text = storable(message) if frame.action in _WITHOUT_SECRETS else shown(message)
            self._owner.note(socket.station_id, frame.notes, text, at)
        if not socket.had_first_frame:  # a boot was answered, or it needs none
            socket.had_first_frame = True
            socket.settled()

    async def _serve_stored(
        self, socket: StationSocket, frame: Frame, route: Route, message: bytes
    ) -> None:
        if not check(route, frame.payload):
            frame.notes.add("schema")
        if route.action == _BOOT:
            _read_boot(socket, frame)
        began_s, failures = self._now_s(), 0
        while True:
            try:
                answer = await self._transact(frame, route, message)
                break
            except Unavailable:  # already logged, rate-limited
                if self._now_s() - began_s > _RETRY_FOR_S:
                    metrics.count(route.action, "dropped")
                    socket.drop("unresponsive")
                    return
            except Exception as error:
                log.exception(
                    "frame_failed", station=socket.station_id, action=route.action,
                    message_id=str(frame.message_id),
                )  # fmt: skip
                if failures + 1 >= _TRIES:
                    answer = await self._give_up(frame, route, message, error)
                    break
            failures += 1
            await asyncio.sleep(self._backoff.pause_s(failures, random.random))
        socket.write(answer)
        if frame.must_close:
            socket.drop("protocol")
        metrics.observe(self._now_s() - began_s)
        if route.action == _BOOT and not frame.is_triggered:
            socket.booted_at = frame.received_at

    async def _transact(self, frame: Frame, route: Route, message: bytes) -> bytes:
        """Runs the request's transaction and announces its changes. Returns the answer's text."""
        key = key_of(route, frame, message)
        now = self._clock()
        if route.read_values is not None and key is not None:
            answer = messages.result(frame.message_id, {})
            rows = _rows(frame, route.action, message, answer)
            values = ValuesFrame(route.read_values(frame, now), key, _EMPTY, rows)
            changes, is_repeated = await self._shared.take(values)
            self._announce(frame, route, changes, is_repeated=is_repeated)
            return answer
        assert route.handle is not None  # noqa: S101 - served here only if it has one
        is_repeated = False
        changes = Changes()
        async with self._db.transaction() as connection:
            if key is not None and route.is_empty:
                answer = messages.result(frame.message_id, {})
                rows = _rows(frame, route.action, message, answer)
                if await store.claim_answer(connection, key, _EMPTY, rows):
                    changes = (await route.handle(connection, frame, now)).changes
                else:
                    is_repeated = True
            else:
                known = None if key is None else await store.answer_of(connection, key)
                if known is None:
                    payload, changes = await route.handle(connection, frame, now)
                else:
                    is_repeated, payload = True, read_object(known)
                answer = messages.result(frame.message_id, payload)
                rows = _rows(frame, route.action, message, answer)
                if key is None or is_repeated:
                    await store.insert_frames(connection, rows)
                elif not await store.claim_answer(
                    connection, key, orjson.dumps(payload).decode(), rows
                ):
                    # The same request came over another socket in the meantime: begin again.
                    raise asyncpg.SerializationError("answered by another transaction")
        self._announce(frame, route, changes, is_repeated=is_repeated)
        return answer

    def _announce(self, frame: Frame, route: Route, changes: Changes, *, is_repeated: bool) -> None:
        """Announces what a committed request changed, and notes what was off in it."""
        changes.publish(self._bus)
        frame.notes |= changes.notes
        if is_repeated and route.action in _REPEATED:
            frame.notes.add(_REPEATED[route.action])
        metrics.count(route.action, "repeated" if is_repeated else "handled")

    async def _give_up(self, frame: Frame, route: Route, message: bytes, error: Exception) -> bytes:
        """Stores a request that EvPower itself can't handle. Returns the answer's text.

        An error would make the station repeat it for days, in front of everything else.
        """
        metrics.count(route.action, "failed")
        now = self._clock()
        answer = messages.refusal(frame.message_id, "InternalError")
        if route.fallback is not None:
            answer = messages.result(frame.message_id, route.fallback(frame, now))
        rows = _rows(frame, route.action, message, answer)
        try:
            async with self._db.transaction() as connection:
                if route.rescue is not None:
                    answer = messages.result(
                        frame.message_id, await route.rescue(connection, frame)
                    )
                    rows = _rows(frame, route.action, message, answer)
                await store.insert_frames(connection, rows)
                await alerts.open_alert(
                    connection,
                    "frame_failed",
                    frame.station_id,
                    {
                        "action": route.action,
                        "message_id": str(frame.message_id),
                        "received_at": frame.received_at.isoformat(),
                        "error": type(error).__name__,
                    },
                    now,
                )
        except (Unavailable, asyncpg.PostgresError):
            for row in rows:
                self._owner.log(row)
        return answer

    def _refuse_unreadable(
        self,
        socket: StationSocket,
        call: messages.StationReply | messages.Unreadable,
        message: bytes,
        at: datetime,
    ) -> None:
        """Keeps the socket: the next message may be good."""
        metrics.UNREADABLE.inc()
        text = shown(message)
        message_id = call.id
        self._owner.log(
            FrameRow(socket.station_id, at, "in", None, _id_text(message_id), None, text)
        )
        self._owner.note(socket.station_id, {"unreadable"}, text, at)
        if message_id is not None and isinstance(call, messages.Unreadable):
            answer = messages.refusal(message_id, _FORMATION, call.reason)
            self._owner.log(
                FrameRow(
                    socket.station_id,
                    at,
                    "out",
                    CALL_ERROR,
                    _id_text(message_id),
                    None,
                    shown(answer),
                )
            )
            socket.write(answer)

    def _refuse(self, socket: StationSocket, frame: Frame, code: str, message: bytes) -> None:
        metrics.count("other", "refused")
        frame.notes.add("action_unknown")
        answer = messages.refusal(frame.message_id, code, "this action is not served")
        self._log_both(frame, frame.action[:64], message, answer)
        socket.write(answer)

    def _log_both(self, frame: Frame, action: str, message: bytes, answer: bytes) -> None:
        for row in _rows(frame, action, message, answer):
            self._owner.log(row)


def _read_boot(socket: StationSocket, frame: Frame) -> None:
    """Sets whether a boot was asked for; notes one that comes soon after another."""
    asked_at = socket.boot_asked_at
    if asked_at is not None and frame.received_at >= asked_at:  # one from before says nothing of it
        socket.boot_asked_at = None
        frame.is_triggered = frame.received_at - asked_at <= _BOOTS_WITHIN
    booted_at = socket.booted_at
    if not frame.is_triggered and booted_at and frame.received_at - booted_at < _BOOTS_APART:
        frame.notes.add("boot_repeated")


def _rows(frame: Frame, action: str, message: bytes, answer: bytes) -> tuple[FrameRow, FrameRow]:
    """Returns the raw frames of a request and its answer."""
    message_id = _id_text(frame.message_id)
    station = frame.station_id
    # What the protocol defines holds no secrets in a station's requests: the search costs much.
    text = storable(message) if action in _WITHOUT_SECRETS else shown(message)
    at = frame.received_at
    return (
        FrameRow(station, at, "in", CALL, message_id, action, text),
        FrameRow(station, at, "out", int(answer[1:2]), message_id, action, answer.decode()),
    )


def _id_text(message_id: str | int | None) -> str | None:
    if message_id is None:
        return None
    text = str(message_id)
    return text if text.isprintable() else "".join(filter(str.isprintable, text))

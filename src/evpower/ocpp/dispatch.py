"""Sends the commands of the stations whose sockets this node holds, and records the outcomes."""

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal, NamedTuple, Protocol
from uuid import UUID

import structlog

from evpower import alerts, charging, stations
from evpower.foundation.bus import EVERYTHING, Bus, Topic
from evpower.foundation.clock import Clock, Sleep, utc_now
from evpower.foundation.db import Connection, Database
from evpower.foundation.errors import Unavailable
from evpower.foundation.loops import Loop, Pause, Round, Wakeup
from evpower.ocpp.calls import InvalidCommand, OutgoingCall, is_accepted, write_calls
from evpower.ocpp.fit_profile import fit
from evpower.ocpp.frame_log import without_secrets
from evpower.ocpp.metrics import COMMANDS, FORCED_RECONNECTS
from evpower.ocpp.model import Reply, SocketClosed
from evpower.ocpp.schemas import is_valid

UNRESPONSIVE: Final = "station_unresponsive"  # an alert
log: Final = structlog.get_logger()
_POLL_S: Final = 1.0
_REPLY_S: Final = 30.0
_CALLS_WITHIN: Final = timedelta(seconds=45)  # of one command
_UNANSWERED_AT_MOST: Final = 2  # then the socket is dropped: some stations hear again on a new one
_RECORD_AGAIN_S: Final = 1.0
_RECORD_ATTEMPTS: Final = 60


# What an outcome means for a session, in the transaction that stores it.
CommandEnded = Callable[[Connection, stations.Command, datetime], Awaitable[charging.Changes]]


class CommandSocket(Protocol):
    """A station's socket, as commands need it."""

    @property
    def station_id(self) -> str:
        """The station."""
        ...

    @property
    def epoch(self) -> int:
        """The id of its connection."""
        ...

    @property
    def ready_at(self) -> datetime:
        """The time from which it may be called."""
        ...

    @property
    def last_frame_at(self) -> datetime | None:
        """When its last frame came."""
        ...

    async def call(self, action: str, payload: Mapping[str, object]) -> "asyncio.Future[Reply]":
        """Sends a call; the future of its reply gets SocketClosed when the socket ends."""
        ...

    def drop(self, reason: stations.DisconnectReason) -> None:
        """Ends the connection without a close frame."""
        ...

    def note(self, kind: str, sample: str) -> None:
        """Counts a deviation of the station."""
        ...


class CommandSockets(Protocol):
    """The sockets of this node, the newest of each station."""

    def get(self, station_id: str) -> CommandSocket | None:
        """Returns a station's socket."""
        ...

    def get_by_key(self, key: UUID) -> CommandSocket | None:
        """Returns a station's socket by the station's key on the bus."""
        ...

    def __len__(self) -> int: ...


class CommandResult(NamedTuple):
    """What became of a command; `response` is the station's reply as it came."""

    state: Literal["accepted", "refused", "timed_out"]
    response: dict[str, Any] | None


_TIMED_OUT: Final = CommandResult("timed_out", None)


@dataclass(slots=True)
class _Unanswered:
    """The commands in a row that a station did not answer."""

    since: datetime
    count: int = 0


class Dispatcher:
    """Claims and sends queued commands: one at a time a station, stations beside each other."""

    def __init__(
        self,
        db: Database,
        bus: Bus,
        sockets: CommandSockets,
        *,
        ended: CommandEnded,
        clock: Clock = utc_now,
        sleep: Sleep = asyncio.sleep,
        reply_s: float = _REPLY_S,
    ) -> None:
        self._db = db
        self._bus = bus
        self._sockets = sockets
        self._ended = ended
        self._clock = clock
        self._sleep = sleep
        self._reply_s = reply_s
        self._wakeup = Wakeup()
        self._sending: dict[str, asyncio.Task[None]] = {}  # by station
        self._again: set[str] = set()  # stations with news since the last claim of their task
        self._late: set[asyncio.Task[None]] = set()  # wait for replies after their time-out
        self._unanswered: dict[str, _Unanswered] = {}  # by station

    def loop(self) -> Loop:
        """Returns the loop that polls, and that a message of the bus wakes."""
        return Loop(
            "ocpp_commands",
            self.run_once,
            period_s=_POLL_S,
            wakeup=self._wakeup,
            around=self._listening,
        )

    async def run_once(self, _: Round) -> Pause | None:
        """Starts sending to each ready station that has a command."""
        if not len(self._sockets):
            return None
        now = self._clock()
        async with self._db.connection() as connection:
            waiting = await stations.list_waiting(connection, now)
        pause_s = _POLL_S
        for station_id in waiting:
            socket = self._sockets.get(station_id)
            if socket is None or station_id in self._sending:
                continue
            if socket.ready_at > now:
                pause_s = min(pause_s, (socket.ready_at - now).total_seconds())
                continue
            self._start_sending(socket)
        return Pause(pause_s)

    @asynccontextmanager
    async def _listening(self) -> AsyncGenerator[None]:
        unsubscribe = self._bus.subscribe(self._on_notification)
        try:
            yield
        finally:
            unsubscribe()
            tasks = [*self._sending.values(), *self._late]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _on_notification(self, topic: Topic, key: UUID) -> None:
        if topic not in {stations.STATION_CHANGED, stations.COMMAND_QUEUED}:
            return
        if key == EVERYTHING:
            self._wakeup.notify()
            return
        socket = self._sockets.get_by_key(key)
        if socket is None:
            return
        if socket.station_id in self._sending:
            self._again.add(socket.station_id)
        elif topic == stations.COMMAND_QUEUED and socket.ready_at <= self._clock():
            self._start_sending(socket)
        else:
            self._wakeup.notify()

    def epoch_for(self, station_id: str) -> int | None:
        """Returns the epoch of a socket that may be called now (`stations.Carrier`)."""
        socket = self._sockets.get(station_id)
        if socket is None or station_id in self._sending or socket.ready_at > self._clock():
            return None
        return socket.epoch

    def carry(self, claimed: stations.ClaimedCommand) -> None:
        """Sends a command that is claimed already (`stations.Carrier`)."""
        socket = self._sockets.get(claimed.command.station_id)
        if socket is None or socket.epoch != claimed.command.epoch:
            return  # the end of that socket has timed it out, or does so now
        # A task that claims meanwhile finds it in flight, and ends.
        before = self._sending.get(socket.station_id)
        if before is not None:
            self._late.add(before)
            before.add_done_callback(self._late.discard)
        self._start_sending(socket, claimed)

    def _start_sending(
        self, socket: CommandSocket, claimed: stations.ClaimedCommand | None = None
    ) -> None:
        task = asyncio.create_task(self._send_queued(socket, claimed))
        self._sending[socket.station_id] = task

        def finish(done: "asyncio.Task[None]") -> None:
            if self._sending.get(socket.station_id) is done:
                del self._sending[socket.station_id]
            if socket.station_id in self._again:
                self._again.discard(socket.station_id)
                self._wakeup.notify()
            _log_failure(done, socket.station_id)

        task.add_done_callback(finish)

    async def _send_queued(
        self, socket: CommandSocket, claimed: stations.ClaimedCommand | None
    ) -> None:
        """Sends a station's commands one after the other, until none is queued."""
        while claimed is not None or self._sockets.get(socket.station_id) is socket:
            self._again.discard(socket.station_id)
            if claimed is None:
                async with self._db.connection() as connection:  # one statement: a transaction
                    claimed = await stations.claim_command(
                        connection, socket.station_id, socket.epoch, now=self._clock()
                    )
                if claimed is None:
                    return
            command = claimed.command
            outcome = await self._send(socket, claimed)
            claimed = None
            await self._record(command, outcome)
            await self._judge(socket, command, outcome)

    async def _send(self, socket: CommandSocket, claimed: stations.ClaimedCommand) -> CommandResult:
        """Sends a command's calls until a station accepts one, or does not answer.

        A trigger's are sent for 45 s; it is accepted if one of them is. Other commands wait for it.
        """
        command = claimed.command
        payload, refusal = fit(command, claimed.profile)
        if refusal is not None:
            return CommandResult("refused", dict(refusal))
        try:
            calls = write_calls(command.action, payload)
        except InvalidCommand as error:
            log.error("command_invalid", command=command.id, error=str(error))  # noqa: TRY400
            return CommandResult("refused", {"error": "invalid_command", "description": str(error)})
        outcome: CommandResult | None = None
        ends_at = self._clock() + _CALLS_WITHIN
        for call in calls:
            answer = await self._call(socket, command, call)
            if outcome is None or outcome.state == "refused":
                outcome = answer
            is_done = answer.state == "accepted" and command.action != "trigger"
            if is_done or answer.state == "timed_out" or self._clock() > ends_at:
                break
        return outcome or _TIMED_OUT

    async def _call(
        self, socket: CommandSocket, command: stations.Command, call: OutgoingCall
    ) -> CommandResult:
        try:
            reply = await socket.call(call.action, call.payload)
        except SocketClosed:
            return _TIMED_OUT
        timer = asyncio.ensure_future(self._sleep(self._reply_s))
        try:
            await asyncio.wait({reply, timer}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()
        if not reply.done():
            self._await_late(command, call, reply)
            return _TIMED_OUT
        try:
            result = reply.result()
        except SocketClosed:
            return _TIMED_OUT
        if result.payload is not None and not is_valid(call.action, result.payload, "response"):
            sample = {"action": call.action, "reply": without_secrets(result.payload)}
            socket.note("reply_schema", json.dumps(sample, ensure_ascii=False))
        return _read(call, result)

    def _await_late(
        self, command: stations.Command, call: OutgoingCall, reply: "asyncio.Future[Reply]"
    ) -> None:
        """A time-out says that the outcome is unknown: what the station says later counts."""

        async def record_late() -> None:
            try:
                outcome = _read(call, await reply)
            except SocketClosed:
                return
            self._unanswered.pop(command.station_id, None)
            log.info("command_answered_late", command=command.id, state=outcome.state)
            await self._record(command, outcome)

        task = asyncio.create_task(record_late())
        self._late.add(task)

        def finish(done: "asyncio.Task[None]") -> None:
            self._late.discard(done)
            _log_failure(done, command.station_id)

        task.add_done_callback(finish)

    async def _record(self, command: stations.Command, outcome: CommandResult) -> None:
        """Stores the outcome and what it means for a session in one transaction."""
        for attempt in range(1, _RECORD_ATTEMPTS + 1):
            try:
                changes = await self._end(command, outcome)
            except Unavailable:
                if attempt == _RECORD_ATTEMPTS:
                    raise
                await self._sleep(_RECORD_AGAIN_S)
            except Exception:
                # The outcome alone is stored: a command in flight blocks the ones after it. The
                # session is left to its timers.
                log.exception("command_outcome_failed", command=command.id, state=outcome.state)
                await self._end(command, outcome, with_effect=False)
                return
            else:
                changes.publish(self._bus)
                key = stations.station_key(command.station_id)
                self._bus.publish(stations.STATION_CHANGED, key)  # for who waits for the outcome
                _count(command.action, outcome.state)
                return

    async def _end(
        self, command: stations.Command, outcome: CommandResult, *, with_effect: bool = True
    ) -> charging.Changes:
        now = self._clock()
        async with self._db.transaction() as connection:
            # First the station, as in every transaction of charging: the order prevents deadlocks.
            await stations.lock_station(connection, command.station_id)
            ended = await stations.end_command(
                connection, command.id, outcome.state, outcome.response, now=now
            )
            if ended is None:  # its socket's end had timed it out
                return charging.Changes()
            if outcome.state != "timed_out":
                await alerts.close_alert(connection, UNRESPONSIVE, command.station_id, now)
            return await self._ended(connection, ended, now) if with_effect else charging.Changes()

    async def _judge(
        self, socket: CommandSocket, command: stations.Command, outcome: CommandResult
    ) -> None:
        """Drops the socket when commands stay unanswered while frames arrive.

        Some stations send and hear nothing any more, until they connect anew. It is tried once:
        not again while the alert is open, which the next answer closes.
        """
        if outcome.state != "timed_out":
            self._unanswered.pop(socket.station_id, None)
            return
        if self._sockets.get(socket.station_id) is not socket:
            return
        sent_at = command.sent_at or self._clock()
        unanswered = self._unanswered.setdefault(socket.station_id, _Unanswered(sent_at))
        unanswered.count += 1
        has_heard = socket.last_frame_at is not None and socket.last_frame_at > unanswered.since
        if unanswered.count < _UNANSWERED_AT_MOST or not has_heard:
            return
        async with self._db.transaction() as connection:
            is_first = await alerts.open_alert(
                connection, UNRESPONSIVE, socket.station_id,
                {"unanswered": unanswered.count, "last_command": command.id}, self._clock(),
            )  # fmt: skip
        if is_first:
            FORCED_RECONNECTS.inc()
            socket.drop("unresponsive")


def _read(call: OutgoingCall, reply: Reply) -> CommandResult:
    if reply.payload is None:
        return CommandResult("refused", dict(reply.error or {}))
    accepted = is_accepted(call.action, reply.payload)
    return CommandResult("accepted" if accepted else "refused", without_secrets(reply.payload))


def _count(action: str, state: str) -> None:
    COMMANDS.labels(action, state).inc()


def _log_failure(task: "asyncio.Task[None]", station_id: str) -> None:
    error = None if task.cancelled() else task.exception()
    if error is not None:
        log.error("command_failed", station=station_id, exc_info=error)

"""The sockets of this node: the newest of each station, their pings, deadlines and last signs."""

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import datetime, timedelta
from typing import Final, Protocol
from uuid import UUID

from evpower import stations
from evpower.foundation.bus import Topic
from evpower.foundation.db import Database
from evpower.foundation.errors import Unavailable
from evpower.foundation.loops import Loop, Round
from evpower.foundation.module import Shared
from evpower.ocpp import metrics
from evpower.ocpp.deviations import Deviations
from evpower.ocpp.frame_log import FrameLog
from evpower.ocpp.model import STATION_PING, FrameRow
from evpower.ocpp.socket import StationSocket

PING_S: Final = 25.0
TICK_S: Final = 1.0
_ENDED_S: Final = 1.0
_TOUCH_S: Final = 10.0
_PROFILE_S: Final = 15.0
_CHANGED_WITHIN: Final = timedelta(minutes=2)  # several rounds: none is missed
_SHOW_LIFE_S: Final = 5.0
_SPREAD_S: Final = 0.002  # between two dropped sockets when the process stops
_LONGEST_SPREAD_S: Final = 5.0


class Living(Protocol):
    """A socket of a station that can be asked for a sign of life."""

    station_id: str
    epoch: int

    @property
    def last_frame_at(self) -> datetime | None:
        """When it gave the last one."""
        ...

    @property
    def is_over(self) -> bool:
        """Whether the connection has ended."""
        ...

    async def answers_ping(self, within_s: float) -> bool:
        """Pings. Returns whether the station gives any sign of life in time."""
        ...


async def show_life(db: Database, socket: Living) -> None:
    """Stores a sign of life at once, for another node that the station connects to."""
    if await socket.answers_ping(_SHOW_LIFE_S) and socket.last_frame_at is not None:
        touch = stations.Touch(socket.station_id, socket.epoch, socket.last_frame_at)
        with suppress(Unavailable):
            async with db.transaction() as connection:
                await stations.touch(connection, [touch])


class Sockets:
    """All open sockets of this process; `get` returns a station's newest."""

    def __init__(
        self,
        shared: Shared,
        log: FrameLog,
        deviations: Deviations,
        *,
        silent_s: float,
        ping_s: float = PING_S,
        tick_s: float = TICK_S,
        now_s: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """`silent_s`: a socket without a sign of life for so long is dropped."""
        self.is_stopping = False
        self._db = shared.db
        self._bus = shared.bus
        self._clock = shared.clock
        self._log = log
        self._deviations = deviations
        self._silent_s = silent_s
        self._tick_s = tick_s
        self._now_s = now_s
        self._jitter = jitter
        self._newest: dict[str, StationSocket] = {}
        self._keys: dict[UUID, str] = {}
        self._all: set[StationSocket] = set()
        # A wheel: each tick pings one slot, so that pings are spread evenly.
        self._slots: list[set[StationSocket]] = [
            set() for _ in range(max(1, round(ping_s / tick_s)))
        ]
        self._slot = 0
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[StationSocket]:
        return iter(tuple(self._newest.values()))

    def get(self, station_id: str) -> StationSocket | None:
        """Returns the station's newest socket on this node."""
        return self._newest.get(station_id)

    def get_by_key(self, key: UUID) -> StationSocket | None:
        """Returns the newest socket of the station with this key of the bus."""
        station_id = self._keys.get(key)
        return None if station_id is None else self._newest.get(station_id)

    @contextmanager
    def joined(self, socket: StationSocket) -> Generator[None]:
        """Makes it the newest of its station if its epoch is; the one before is dropped."""
        before = self._newest.get(socket.station_id)
        if before is not None and before.epoch > socket.epoch:
            socket.drop("replaced")
        else:
            self._newest[socket.station_id] = socket
            self._keys[stations.station_key(socket.station_id)] = socket.station_id
            if before is not None:
                before.drop("replaced")
        self._all.add(socket)
        socket.slot = self._slot  # the slot pinged last: its next ping is a whole round away
        self._slots[socket.slot].add(socket)
        metrics.SOCKETS.set(len(self._all))
        try:
            yield
        finally:
            self._all.discard(socket)
            self._slots[socket.slot].discard(socket)
            if self._newest.get(socket.station_id) is socket:
                del self._newest[socket.station_id]
                self._keys.pop(stations.station_key(socket.station_id), None)
            metrics.SOCKETS.set(len(self._all))

    # What a socket reports

    def schedule_drop(self, socket: StationSocket) -> None:
        """Drops a socket within seconds, spread so that stations do not redial all at once."""
        self.is_stopping = True
        within_s = min(_LONGEST_SPREAD_S, _SPREAD_S * len(self))
        asyncio.get_running_loop().call_later(self._jitter() * within_s, socket.drop, "shutdown")

    def log(self, frame: FrameRow) -> None:
        """Stores a raw frame soon."""
        self._log.add(frame)

    def note(self, station_id: str, kinds: set[str], sample: str, at: datetime) -> None:
        """Counts deviations."""
        self._deviations.add(station_id, kinds, sample, at)

    # Loops

    def timer_loop(self) -> Loop:
        """Returns the loop that pings, and drops sockets without a sign of life."""

        async def tick(_: Round) -> None:
            self.tick()

        return Loop("ocpp_timers", tick, period_s=self._tick_s)

    def tick(self) -> None:
        """Pings one slot. A missed pong drops nothing while frames come."""
        self._slot = (self._slot + 1) % len(self._slots)
        now_s = self._now_s()
        for socket in tuple(self._slots[self._slot]):
            if now_s - socket.last_sign_s >= self._silent_s:
                socket.drop("silent")
            else:
                socket.ping()

    def touch_loop(self) -> Loop:
        """Returns the loop that stores last signs of life."""

        async def touch(_: Round) -> None:
            await self.touch()

        return Loop("ocpp_touch", touch, period_s=_TOUCH_S, around=self._listening)

    @asynccontextmanager
    async def _listening(self) -> AsyncGenerator[None]:
        unsubscribe = self._bus.subscribe(self._on_notification)
        try:
            yield
        finally:
            unsubscribe()

    def _on_notification(self, topic: Topic, key: UUID) -> None:
        socket = self.get_by_key(key) if topic == STATION_PING else None
        if socket is not None:
            task = asyncio.create_task(show_life(self._db, socket))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def touch(self) -> None:
        """Stores when stations were last heard."""
        listed = [socket for socket in self if socket.last_frame_at is not None]
        signs = [(socket, socket.last_frame_at) for socket in listed]
        touches = [
            stations.Touch(socket.station_id, socket.epoch, at)
            for socket, at in signs
            if at is not None and at != socket.touched_at
        ]
        if touches:
            async with self._db.transaction() as connection:
                await stations.touch(connection, touches)
        for socket, at in signs:
            socket.touched_at = at

    def profile_loop(self) -> Loop:
        """Returns the loop that keeps the vendor profiles of the sockets true."""

        async def refresh(_: Round) -> None:
            await self.refresh_profiles()

        return Loop("ocpp_profiles", refresh, period_s=_PROFILE_S)

    async def refresh_profiles(self) -> None:
        """Reads the profiles anew: a boot said another make, or an operator changed one."""
        ids = [socket.station_id for socket in self]
        if not ids:
            return
        async with self._db.connection() as connection:
            since = self._clock() - _CHANGED_WITHIN
            profiles = await stations.changed_profiles(connection, ids, since)
        for socket in self:
            known = profiles.get(socket.station_id)
            if known is not None:
                socket.profile, socket.zone = known.profile, known.zone

    def ended_loop(self) -> Loop:
        """Returns the loop that drops sockets whose connection was closed elsewhere."""

        async def drop(_: Round) -> None:
            await self.drop_ended()

        return Loop("ocpp_ended", drop, period_s=_ENDED_S)

    async def drop_ended(self) -> None:
        """Drops what a newer socket, perhaps of another node, replaced, or an operator ended."""
        sockets = [(socket.station_id, socket.epoch) for socket in self]
        if not sockets:
            return
        async with self._db.connection() as connection:
            ended = await stations.list_ended(connection, sockets)
        for station_id, epoch, reason in ended:
            socket = self._newest.get(station_id)
            if socket is not None and socket.epoch == epoch:
                socket.drop(reason)

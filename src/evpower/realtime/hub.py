"""The hub: who watches which client on this node, and how they are told of changes.

A socket is registered first, then the state is read, then it is sent: a change between the first
two is in what is read, a later one is heard of. What changed is read for many clients at once, one
reading at a time; what changes meanwhile gathers for the next. Nothing is queued for a socket: it
has missed a revision or it has not.
"""

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from itertools import islice
from typing import Final
from uuid import UUID

import structlog

from evpower.charging import SESSION_CHANGED
from evpower.config import Settings
from evpower.foundation.bus import EVERYTHING, Bus, Topic
from evpower.foundation.clock import Clock
from evpower.foundation.db import Database
from evpower.foundation.loops import AT_ONCE, Loop, Pause, Round, Wakeup
from evpower.identity import CLIENT_CHANGED, Claims, ensure_client
from evpower.realtime import metrics, store
from evpower.realtime.connection import Socket
from evpower.realtime.model import CLIENT_CLOSED, SUPERSEDED, TRY_LATER, BalanceState, LiveSession
from evpower.realtime.timers import Timers
from evpower.realtime.watched import Watched

_BATCH: Final = 500  # clients or sessions in one reading
_MAX_SESSIONS_WAITING: Final = 20_000  # sessions of anybody; the sweep finds what is dropped
_SWEPT: Final = 1_000  # clients in one comparison
_IDLE_S: Final = 1.0
_AGAIN_S: Final = 0.5  # after a reading that failed
_LONGEST_AGAIN_S: Final = 5.0
_SPREAD_S: Final = 0.001  # between two goodbyes when the process ends
_LONGEST_SPREAD_S: Final = 5.0
log: Final = structlog.get_logger()


class Hub:
    """All live sockets of this process. `run` does the work; the endpoint brings the sockets."""

    def __init__(  # noqa: PLR0913 - what a test turns is named here, each once
        self,
        db: Database,
        bus: Bus,
        settings: Settings,
        clock: Clock,
        *,
        now_s: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
        ping_s: float = 20.0,
        tick_s: float = 1.0,
        slow_s: float = 20.0,
        auth_s: float = 10.0,
    ) -> None:
        """`slow_s`: how long a socket may not read before it is cut; `auth_s`: to sign in."""
        self.ping_s = ping_s
        self.stopping = False
        self._db = db
        self._bus = bus
        self._per_client = settings.live_sockets_per_client
        self._sweep_s = settings.live_sweep_s
        self._clock = clock
        self._now_s = now_s
        self._jitter = jitter
        self._timers = Timers(
            clock, now_s, ping_s=ping_s, tick_s=tick_s, slow_s=slow_s, auth_s=auth_s
        )
        self._clients: dict[UUID, Watched] = {}
        self._changed: dict[UUID, float] = {}  # clients to read, and since when
        self._fresh: set[UUID] = set()  # of those, whose sessions to read too
        self._changed_sessions: dict[UUID, float] = {}
        self._reading = 0
        self._wakeup = Wakeup()
        self._sweep_wakeup = Wakeup()

    # Sockets

    def __len__(self) -> int:
        return len(self._timers)

    def __contains__(self, client_id: UUID) -> bool:
        return client_id in self._clients

    @property
    def waiting(self) -> int:
        """Open sockets on which nobody has signed in yet."""
        return self._timers.waiting

    def attach(self, socket: Socket) -> None:
        """Watch over a socket on which somebody will sign in."""
        self._timers.add(socket)

    def join(self, socket: Socket, claims: Claims, version: int | None) -> None:
        """Let a socket watch its client; `version` is what its app has. The state follows."""
        client = self._clients.get(claims.sub)
        if client is None:
            client = self._clients[claims.sub] = Watched(claims.sub)
        if client.balance is None:
            client.claims = claims
        socket.client_id, socket.had_version = claims.sub, version
        socket.joined_at = self._reading
        socket.connection_slot.settle()
        self._timers.sign_in(socket, claims.expires_at)
        client.sockets.append(socket)
        if len(client.sockets) > self._per_client:
            oldest = client.sockets[0]
            self._leave(client, oldest)
            oldest.end(SUPERSEDED)
        self._fresh.add(claims.sub)
        self._mark(claims.sub)

    def extend(self, socket: Socket, claims: Claims) -> None:
        """Let a socket live as long as a newer token of the same client."""
        self._timers.extend(socket, claims.expires_at)

    def detach(self, socket: Socket) -> None:
        """Forget a socket."""
        socket.wire.owner = None
        self._timers.remove(socket)
        if socket.client_id is not None and (client := self._clients.get(socket.client_id)):
            self._leave(client, socket)

    def catch_up(self, socket: Socket) -> None:
        """Send the newest state to a socket that reads again."""
        if socket.client_id is None or not socket.open:
            return
        client = self._clients.get(socket.client_id)
        if client is not None:
            client.tell(socket, self._now_s())

    def send_away(self, socket: Socket) -> None:
        """Close a socket within seconds: not all phones shall come back in the same moment."""
        self.stopping = True
        within_s = min(_LONGEST_SPREAD_S, _SPREAD_S * len(self))
        asyncio.get_running_loop().call_later(self._jitter() * within_s, socket.leave)

    def _leave(self, client: Watched, socket: Socket) -> None:
        with suppress(ValueError):
            client.sockets.remove(socket)
        if not client.sockets and self._clients.get(client.id) is client:
            del self._clients[client.id]
            self._changed.pop(client.id, None)
            self._fresh.discard(client.id)

    # Changes

    def read_loop(self) -> Loop:
        """Return the loop that listens to the bus and reads what changed."""
        return Loop(
            "live_read",
            self._round,
            period_s=_IDLE_S,
            wakeup=self._wakeup,
            around=self._listening,
            retry_s=_AGAIN_S,
            longest_retry_s=_LONGEST_AGAIN_S,
        )

    def timer_loop(self) -> Loop:
        """Return the loop that pings, and ends what has been silent for too long."""
        return self._timers.loop()

    def sweep_loop(self) -> Loop:
        """Return the loop that compares what apps were sent with the database."""

        async def sweep(_: Round) -> None:
            await self.sweep()

        return Loop("live_sweep", sweep, period_s=self._sweep_s, wakeup=self._sweep_wakeup)

    async def run(self, stop: asyncio.Event) -> None:
        """Run all loops until `stop` is set."""
        await asyncio.gather(
            self.read_loop().run(stop), self.timer_loop().run(stop), self.sweep_loop().run(stop)
        )

    @asynccontextmanager
    async def _listening(self) -> AsyncGenerator[None]:
        unsubscribe = self._bus.subscribe(self._hear)
        try:
            yield
        finally:
            unsubscribe()

    def _hear(self, topic: Topic, key: UUID) -> None:
        if topic == CLIENT_CHANGED:
            if key in self._clients:
                self._mark(key)
            elif key == EVERYTHING:
                self._sweep_wakeup.notify()
        elif topic == SESSION_CHANGED and self._clients:
            if len(self._changed_sessions) < _MAX_SESSIONS_WAITING:
                self._changed_sessions.setdefault(key, self._now_s())
            self._wakeup.notify()

    def _mark(self, client_id: UUID) -> None:
        self._changed.setdefault(client_id, self._now_s())
        self._wakeup.notify()

    async def _round(self, _: Round) -> Pause | None:
        """Read what changed, one batch; what could not be read is read by a later round."""
        if not (self._changed or self._changed_sessions):
            return None
        clients, sessions = _take(self._changed), _take(self._changed_sessions)
        try:
            await self._read(clients, sessions)
        except Exception:
            self._put_back(clients, sessions)
            metrics.READ_FAILURES.inc()
            raise
        return AT_ONCE if self._changed or self._changed_sessions else None

    async def _read(self, clients: dict[UUID, float], sessions: dict[UUID, float]) -> None:
        self._reading += 1
        number = self._reading
        fresh = [client for client in clients if client in self._fresh]
        ids = list(clients)
        found_sessions: list[LiveSession] = []
        async with self._db.connection() as connection:
            balances = await store.balances(connection, ids) if ids else []
            if fresh:
                found_sessions += await store.newest_sessions(connection, fresh)
            if sessions:
                found_sessions += await store.sessions(connection, list(sessions))
        metrics.READS.inc(len(ids))
        metrics.BATCHES.inc()
        told = self._deliver(balances, found_sessions, number)
        # A socket may have joined while we read: its client is marked again, and read anew.
        self._fresh.difference_update(one for one in fresh if one not in self._changed)
        now_s, joined = self._now_s(), frozenset(fresh)
        for client in told:
            if client not in joined:
                metrics.DELIVERY_SECONDS.observe(now_s - clients[client])
        if len(balances) < len(ids):
            await self._create(set(ids) - {one.client_id for one in balances})

    def _deliver(
        self, balances: Iterable[BalanceState], sessions: Iterable[LiveSession], number: int
    ) -> list[UUID]:
        """Keep what is newer and tell the sockets; answers whose balance was found."""
        touched: dict[UUID, Watched] = {}
        told: list[UUID] = []
        for balance in balances:
            if client := self._clients.get(balance.client_id):
                told.append(client.id)
                if balance.closed:
                    _end_all(client)
                    continue
                client.keep_balance(balance)
                touched[client.id] = client
        read = frozenset(told)
        for session in sessions:
            client = self._clients.get(session.client_id)
            if client is not None and _keep_session(client, session):
                touched[client.id] = client
        now, now_s = self._clock(), self._now_s()
        for client in touched.values():
            for socket in tuple(client.sockets):
                if not socket.open:
                    if client.id not in read or socket.joined_at >= number:
                        continue
                    client.open(socket, now)
                client.tell(socket, now_s)
            client.forget_old_sessions()
        return told

    async def _create(self, missing: set[UUID]) -> None:
        """Create clients seen for the first time, and read them next."""
        for client_id in missing:
            client = self._clients.get(client_id)
            if client is None or client.claims is None:
                continue
            try:
                async with self._db.transaction() as connection:
                    await ensure_client(connection, client.claims)
            except Exception as error:  # noqa: BLE001 - the others are still to be read
                log.warning("live_client_not_created", error=f"{type(error).__name__}: {error}")
                for socket in tuple(client.sockets):
                    socket.end(TRY_LATER)
                continue
            self._fresh.add(client_id)
            self._mark(client_id)

    def _put_back(self, clients: dict[UUID, float], sessions: dict[UUID, float]) -> None:
        for client, since in clients.items():
            if client in self._clients:
                self._changed[client] = since
        self._changed_sessions = {**sessions, **self._changed_sessions}

    # The sweep

    async def sweep(self) -> int:
        """Compare all connected clients with the database; answers how many changes were missed."""
        missed = 0
        watched = iter(tuple(self._clients.values()))
        while chunk := list(islice(watched, _SWEPT)):
            missed += await self._compare([one for one in chunk if one.id not in self._changed])
        return missed

    async def _compare(self, clients: list[Watched]) -> int:
        known = [(one.id, one.balance.revision) for one in clients if one.balance is not None]
        ids = [one[0] for one in known]
        sessions = [
            (shown.session.id, shown.session.revision)
            for one in clients
            if one.sessions
            for shown in one.sessions.values()
        ]
        async with self._db.connection() as connection:
            changed = await store.changed_balances(connection, ids, [one[1] for one in known])
            changed_sessions = await store.changed_sessions(
                connection, ids, [one[0] for one in sessions], [one[1] for one in sessions]
            )
        # What was heard of meanwhile was not missed.
        lost = [one for one in changed if one in self._clients and one not in self._changed]
        for client_id in lost:
            self._mark(client_id)
        metrics.MISSED.labels("balance").inc(len(lost))
        lost_sessions = [one for one in changed_sessions if one not in self._changed_sessions]
        for session_id in lost_sessions:
            self._hear(SESSION_CHANGED, session_id)
        metrics.MISSED.labels("session").inc(len(lost_sessions))
        return len(lost) + len(lost_sessions)


def _end_all(client: Watched) -> None:
    for socket in tuple(client.sockets):
        socket.end(CLIENT_CLOSED)


def _keep_session(client: Watched, session: LiveSession) -> bool:
    """False: it can't be shown. What a newer version wrote must not stop all the others."""
    try:
        client.keep_session(session)
    except Exception:
        log.exception("live_session_not_shown", session_id=str(session.id))
        return False
    return True


def _take(waiting: dict[UUID, float]) -> dict[UUID, float]:
    """Take the longest waiting out."""
    taken = dict(islice(waiting.items(), _BATCH))
    for key in taken:
        del waiting[key]
    return taken

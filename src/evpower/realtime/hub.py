"""The hub: which sockets of this node watch which client, and how changes are sent to them.

A socket is registered first, then the state is read, then it is sent: a change between the first
two is in the state that is read, and a later one is notified. Changes are read for many clients at
once, one read at a time; changes in the meantime are collected for the next. Nothing is queued for
a socket: the hub only knows the revision it was sent.
"""

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from itertools import islice
from typing import Final
from uuid import UUID

import structlog

from evpower.charging import (
    SESSION_CHANGED,
    SessionView,
    newest_sessions,
    session_statuses,
)
from evpower.config import Settings
from evpower.foundation.bus import EVERYTHING, Bus, Topic
from evpower.foundation.clock import Clock
from evpower.foundation.db import Database
from evpower.foundation.language import ChooseLanguage, Sentence
from evpower.foundation.loops import AT_ONCE, Loop, Pause, Round, Wakeup
from evpower.identity import CLIENT_CHANGED, Claims, ensure_client
from evpower.realtime import metrics, store
from evpower.realtime.connection import Socket
from evpower.realtime.model import (
    CLIENT_CLOSED,
    SUPERSEDED,
    TRY_LATER,
    BalanceState,
)
from evpower.realtime.timers import Timers
from evpower.realtime.watched import Watched

_BATCH: Final = 500  # clients or sessions in one read
_MAX_SESSIONS_WAITING: Final = 20_000  # of all clients; the sweep finds what is dropped
_SWEEP_BATCH: Final = 1_000  # clients in one comparison
_IDLE_S: Final = 1.0
_RETRY_S: Final = 0.5  # after a failed read
_LONGEST_RETRY_S: Final = 5.0
_SPREAD_S: Final = 0.001  # between two closed sockets when the process ends
_LONGEST_SPREAD_S: Final = 5.0
log: Final = structlog.get_logger()


class Hub:
    """All live sockets of this process. `run` does the work; the endpoint adds the sockets."""

    def __init__(  # noqa: PLR0913 - every clock and interval that a test sets
        self,
        db: Database,
        bus: Bus,
        settings: Settings,
        clock: Clock,
        sentence: Sentence,
        choose_language: ChooseLanguage,
        *,
        now_s: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
        ping_s: float = 20.0,
        tick_s: float = 1.0,
        slow_s: float = 20.0,
        auth_s: float = 10.0,
    ) -> None:
        """`sentence` writes the message of a session in the language that the app reads.

        `slow_s`: how long an app may not read before it is closed; `auth_s`: time to sign in.
        """
        self.ping_s = ping_s
        self.stopping = False
        self._db = db
        self._bus = bus
        self._per_client = settings.live_sockets_per_client
        self._sweep_s = settings.live_sweep_s
        self._clock = clock
        self._sentence = sentence
        self.choose_language = choose_language
        self._now_s = now_s
        self._jitter = jitter
        self._timers = Timers(
            clock, now_s, ping_s=ping_s, tick_s=tick_s, slow_s=slow_s, auth_s=auth_s
        )
        self._clients: dict[UUID, Watched] = {}
        self._changed: dict[UUID, float] = {}  # clients to read, and since when they wait
        self._joined_clients: set[UUID] = set()  # of those, clients whose sessions are read too
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
        """The number of open sockets that are not signed in yet."""
        return self._timers.waiting

    def attach(self, socket: Socket) -> None:
        """Adds a socket that is not signed in yet."""
        self._timers.add(socket)

    def join(self, socket: Socket, claims: Claims, version: int | None) -> None:
        """Makes a socket watch its client and sends the state; its app has `version`."""
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
        self._joined_clients.add(claims.sub)
        self._add_changed(claims.sub)

    def extend(self, socket: Socket, claims: Claims) -> None:
        """Extends a socket to the end of a newer token of the same client."""
        self._timers.extend(socket, claims.expires_at)

    def detach(self, socket: Socket) -> None:
        """Removes a socket."""
        socket.wire.owner = None
        self._timers.remove(socket)
        if socket.client_id is not None and (client := self._clients.get(socket.client_id)):
            self._leave(client, socket)

    def catch_up(self, socket: Socket) -> None:
        """Sends the newest state to a socket that reads again."""
        if socket.client_id is None or not socket.open:
            return
        client = self._clients.get(socket.client_id)
        if client is not None:
            client.send_changes(socket, self._now_s())

    def schedule_close(self, socket: Socket) -> None:
        """Closes a socket within seconds, spread so that apps do not reconnect all at once."""
        self.stopping = True
        within_s = min(_LONGEST_SPREAD_S, _SPREAD_S * len(self))
        asyncio.get_running_loop().call_later(self._jitter() * within_s, socket.leave)

    def _leave(self, client: Watched, socket: Socket) -> None:
        with suppress(ValueError):
            client.sockets.remove(socket)
        if not client.sockets and self._clients.get(client.id) is client:
            del self._clients[client.id]
            self._changed.pop(client.id, None)
            self._joined_clients.discard(client.id)

    # Changes

    def read_loop(self) -> Loop:
        """Returns the loop that listens to the bus and reads changed clients and sessions."""
        return Loop(
            "live_read",
            self._round,
            period_s=_IDLE_S,
            wakeup=self._wakeup,
            around=self._listening,
            retry_s=_RETRY_S,
            longest_retry_s=_LONGEST_RETRY_S,
        )

    def timer_loop(self) -> Loop:
        """Returns the loop that pings, and closes sockets whose time is over."""
        return self._timers.loop()

    def sweep_loop(self) -> Loop:
        """Returns the loop that compares the state sent to apps with the database."""

        async def sweep(_: Round) -> None:
            await self.sweep()

        return Loop("live_sweep", sweep, period_s=self._sweep_s, wakeup=self._sweep_wakeup)

    async def run(self, stop: asyncio.Event) -> None:
        """Runs all loops until `stop` is set."""
        await asyncio.gather(
            self.read_loop().run(stop), self.timer_loop().run(stop), self.sweep_loop().run(stop)
        )

    @asynccontextmanager
    async def _listening(self) -> AsyncGenerator[None]:
        unsubscribe = self._bus.subscribe(self._on_notification)
        try:
            yield
        finally:
            unsubscribe()

    def _on_notification(self, topic: Topic, key: UUID) -> None:
        if topic == CLIENT_CHANGED:
            if key in self._clients:
                self._add_changed(key)
            elif key == EVERYTHING:
                self._sweep_wakeup.notify()
        elif topic == SESSION_CHANGED and self._clients:
            if len(self._changed_sessions) < _MAX_SESSIONS_WAITING:
                self._changed_sessions.setdefault(key, self._now_s())
            self._wakeup.notify()

    def _add_changed(self, client_id: UUID) -> None:
        self._changed.setdefault(client_id, self._now_s())
        self._wakeup.notify()

    async def _round(self, _: Round) -> Pause | None:
        """Reads one batch of changes; after a failure a later round reads it again."""
        if not (self._changed or self._changed_sessions):
            return None
        clients, sessions = _pop_batch(self._changed), _pop_batch(self._changed_sessions)
        try:
            await self._read(clients, sessions)
        except Exception:
            self._restore(clients, sessions)
            metrics.READ_FAILURES.inc()
            raise
        return AT_ONCE if self._changed or self._changed_sessions else None

    async def _read(self, clients: dict[UUID, float], sessions: dict[UUID, float]) -> None:
        self._reading += 1
        number = self._reading
        joined_clients = [client for client in clients if client in self._joined_clients]
        ids = list(clients)
        sessions_read: list[SessionView] = []
        async with self._db.connection() as connection:
            balances = await store.balances(connection, ids) if ids else []
            if joined_clients:
                sessions_read += await newest_sessions(connection, joined_clients, store.NEWEST)
            if sessions:
                sessions_read += await session_statuses(connection, list(sessions))
        metrics.READS.inc(len(ids))
        metrics.BATCHES.inc()
        delivered = self._deliver(balances, sessions_read, number)
        # A socket may have joined during the read: its client is in `_changed` again, and read
        # again.
        self._joined_clients.difference_update(
            client_id for client_id in joined_clients if client_id not in self._changed
        )
        now_s, joined_before = self._now_s(), frozenset(joined_clients)
        for client in delivered:
            if client not in joined_before:
                metrics.DELIVERY_SECONDS.observe(now_s - clients[client])
        if len(balances) < len(ids):
            await self._create(set(ids) - {balance.client_id for balance in balances})

    def _deliver(
        self, balances: Iterable[BalanceState], sessions: Iterable[SessionView], number: int
    ) -> list[UUID]:
        """Stores and sends newer state. Returns the clients whose balance was read."""
        changed: dict[UUID, Watched] = {}
        with_balance: list[UUID] = []
        for balance in balances:
            if client := self._clients.get(balance.client_id):
                with_balance.append(client.id)
                if balance.closed:
                    _close_all(client)
                    continue
                client.store_balance(balance)
                changed[client.id] = client
        clients_read = frozenset(with_balance)
        now, now_s = self._clock(), self._now_s()
        for session in sessions:
            client = self._clients.get(session.client_id)
            if client is not None and self._store_session(client, session, now):
                changed[client.id] = client
        for client in changed.values():
            for socket in tuple(client.sockets):
                if not socket.open:
                    if client.id not in clients_read or socket.joined_at >= number:
                        continue
                    client.open(socket, now)
                client.send_changes(socket, now_s)
            client.delete_old_sessions()
        return with_balance

    def _store_session(self, client: Watched, session: SessionView, now: datetime) -> bool:
        """Returns false when a session can't be encoded; it must not stop the others."""
        try:
            client.store_session(session, now, self._sentence)
        except Exception:
            log.exception("live_session_encode_failed", session_id=str(session.id))
            return False
        return True

    async def _create(self, missing: set[UUID]) -> None:
        """Creates clients that do not exist yet, to be read in the next round."""
        for client_id in missing:
            client = self._clients.get(client_id)
            if client is None or client.claims is None:
                continue
            try:
                async with self._db.transaction() as connection:
                    await ensure_client(connection, client.claims)
            except Exception as error:  # noqa: BLE001 - the others are still read
                log.warning("live_client_create_failed", error=f"{type(error).__name__}: {error}")
                for socket in tuple(client.sockets):
                    socket.end(TRY_LATER)
                continue
            self._joined_clients.add(client_id)
            self._add_changed(client_id)

    def _restore(self, clients: dict[UUID, float], sessions: dict[UUID, float]) -> None:
        for client, since in clients.items():
            if client in self._clients:
                self._changed[client] = since
        self._changed_sessions = {**sessions, **self._changed_sessions}

    # The sweep

    async def sweep(self) -> int:
        """Compares connected clients with the database. Returns how many changes were missed."""
        missed = 0
        watched = iter(tuple(self._clients.values()))
        while chunk := list(islice(watched, _SWEEP_BATCH)):
            missed += await self._compare(
                [client for client in chunk if client.id not in self._changed]
            )
        return missed

    async def _compare(self, clients: list[Watched]) -> int:
        known = [
            (client.id, client.balance.revision) for client in clients if client.balance is not None
        ]
        ids = [client_id for client_id, _ in known]
        sessions = [
            (shown.session.id, shown.session.revision)
            for client in clients
            if client.sessions
            for shown in client.sessions.values()
        ]
        async with self._db.connection() as connection:
            changed = await store.changed_balances(
                connection, ids, [revision for _, revision in known]
            )
            changed_sessions = await store.changed_sessions(
                connection,
                ids,
                [session_id for session_id, _ in sessions],
                [revision for _, revision in sessions],
            )
        # A change notified in the meantime was not missed.
        lost = [
            client_id
            for client_id in changed
            if client_id in self._clients and client_id not in self._changed
        ]
        for client_id in lost:
            self._add_changed(client_id)
        metrics.MISSED.labels("balance").inc(len(lost))
        lost_sessions = [
            session_id
            for session_id in changed_sessions
            if session_id not in self._changed_sessions
        ]
        for session_id in lost_sessions:
            self._on_notification(SESSION_CHANGED, session_id)
        metrics.MISSED.labels("session").inc(len(lost_sessions))
        return len(lost) + len(lost_sessions)


def _close_all(client: Watched) -> None:
    for socket in tuple(client.sockets):
        socket.end(CLIENT_CLOSED)


def _pop_batch(waiting: dict[UUID, float]) -> dict[UUID, float]:
    """Removes and returns the longest waiting entries."""
    batch = dict(islice(waiting.items(), _BATCH))
    for key in batch:
        del waiting[key]
    return batch

"""Timers of sockets: pings, expired tokens, sign-in time-outs, apps that do not read.

One timer serves all sockets: a task or a timer for each would need more memory than the socket.
"""

from collections import deque
from collections.abc import Callable
from datetime import datetime
from heapq import heappop, heappush
from math import ceil

from evpower.foundation.clock import Clock
from evpower.foundation.loops import Loop, Round
from evpower.realtime import metrics, protocol
from evpower.realtime.connection import Socket
from evpower.realtime.model import AUTH_TIMEOUT, TOKEN_EXPIRED, TOO_SLOW


class Timers:
    """Every open socket, in the order of its deadlines."""

    def __init__(
        self,
        clock: Clock,
        now_s: Callable[[], float],
        *,
        ping_s: float,
        tick_s: float,
        slow_s: float,
        auth_s: float,
    ) -> None:
        self._clock = clock
        self._now_s = now_s
        self._tick_s = tick_s
        self._slow_s = slow_s
        self._auth_s = auth_s
        # A wheel: each tick pings one slot, so that pings are spread evenly.
        self._slots: list[set[Socket]] = [set() for _ in range(max(1, round(ping_s / tick_s)))]
        self._slot = 0
        self._open = 0
        self._signed_in = 0
        self._sign_ins: deque[tuple[float, Socket]] = deque()  # in order: all have the same time
        self._ends: dict[int, set[Socket]] = {}  # by the second in which their tokens expire
        self._end_seconds: list[int] = []  # a heap of those

    def __len__(self) -> int:
        return self._open

    @property
    def waiting(self) -> int:
        """The number of sockets that are not signed in yet."""
        return self._open - self._signed_in

    def add(self, socket: Socket) -> None:
        """Adds a socket."""
        socket.slot = self._slot  # the slot pinged last: its next ping is a whole round away
        self._slots[socket.slot].add(socket)
        self._open += 1
        self._sign_ins.append((self._now_s() + self._auth_s, socket))
        self._measure()

    def sign_in(self, socket: Socket, expires_at: datetime) -> None:
        """Stores that a socket signed in."""
        self._signed_in += 1
        self.extend(socket, expires_at)
        self._measure()

    def extend(self, socket: Socket, expires_at: datetime) -> None:
        """Sets when the socket's token expires, instead of an earlier time."""
        self._forget_end(socket)
        socket.expires_s = ceil(expires_at.timestamp())
        if socket.expires_s not in self._ends:
            self._ends[socket.expires_s] = set()
            heappush(self._end_seconds, socket.expires_s)
        self._ends[socket.expires_s].add(socket)

    def remove(self, socket: Socket) -> None:
        """Removes a socket; a second call does nothing."""
        if socket not in self._slots[socket.slot]:
            return
        self._slots[socket.slot].remove(socket)
        self._forget_end(socket)
        self._open -= 1
        self._signed_in -= socket.client_id is not None
        self._measure()

    def _forget_end(self, socket: Socket) -> None:
        if same := self._ends.get(socket.expires_s):
            same.discard(socket)

    def loop(self) -> Loop:
        """Returns the loop that ticks."""

        async def tick(_: Round) -> None:
            self.tick()

        return Loop("live_timers", tick, period_s=self._tick_s)

    def tick(self) -> None:
        """Closes sockets whose time is over, and pings one slot."""
        now_s = self._now_s()
        self._end_sign_ins(now_s)
        self._end_sessions(self._clock().timestamp())
        for slot in self._slots:
            for socket in slot:
                if socket.unread_since is not None and now_s - socket.unread_since >= self._slow_s:
                    socket.end(TOO_SLOW)
        self._slot = (self._slot + 1) % len(self._slots)
        for socket in self._slots[self._slot]:
            if socket.write(protocol.PING):
                metrics.PINGS_SENT.inc()
            elif socket.wire.slow and socket.unread_since is None:
                socket.unread_since = now_s

    def _end_sign_ins(self, now_s: float) -> None:
        while self._sign_ins:
            due_s, socket = self._sign_ins[0]
            if socket.client_id is None and socket.ended is None and due_s > now_s:
                return
            self._sign_ins.popleft()
            if socket.client_id is None:
                socket.end(AUTH_TIMEOUT)

    def _end_sessions(self, now: float) -> None:
        while self._end_seconds and self._end_seconds[0] <= now:
            for socket in self._ends.pop(heappop(self._end_seconds)):
                socket.end(TOKEN_EXPIRED)

    def _measure(self) -> None:
        metrics.SIGNED_IN.set(self._signed_in)
        metrics.WAITING.set(self.waiting)

"""How much of the database the handshakes of one moment may have: stations first, then strangers.

A station whose name and password are known is never counted by its address: after a power cut a
thousand of them come through one NAT. Everything else is a stranger until the database says what it
is: it is counted by its address, waits for lanes of its own, and costs no transaction.
"""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from evpower import stations
from evpower.foundation.buckets import AddressBuckets
from evpower.foundation.cache import CachedValue, TtlCache
from evpower.foundation.clock import Clock
from evpower.foundation.db import Database
from evpower.foundation.errors import EvPowerError, NotFound, Unavailable
from evpower.ocpp.handshake import Handshake
from evpower.ocpp.unknown import UnknownNames

REFUSED_PER_MINUTE: Final = 120  # handshakes of one address that end unknown or refused
_OPEN_PER_MINUTE: Final = 10  # of one address at one station that needs no password
_KNOWN_AT_ONCE: Final = 8
_OPEN_AT_ONCE: Final = 4
_STRANGERS_AT_ONCE: Final = 2
_STRANGERS_WAIT: Final = 256
_DIRECTORY_S: Final = 5.0
_REMEMBER_S: Final = 2.0  # a name that no station has; an operator may add it now
_REMEMBER_FROM: Final = 3  # attempts within that time
_REMEMBERED: Final = 10_000
# Refusals that name a station; `Admissions.unknown` lists names of none.
_LISTED: Final[dict[str, stations.ConnectRefusal]] = {
    reason: reason for reason in stations.CONNECT_REFUSALS if reason != "station_not_found"
}


@dataclass(slots=True)
class Lane:
    """What a handshake may use: `slots` is held while it uses the database."""

    slots: AbstractAsyncContextManager[None]
    known: stations.KnownStation | None  # None: a stranger
    key: bytes  # of the names it came with


class Admissions:
    """Sorts handshakes, and remembers how they ended."""

    def __init__(
        self,
        db: Database,
        unknown: UnknownNames,
        clock: Clock,
        now_s: Callable[[], float],
        *,
        refused_per_minute: int = REFUSED_PER_MINUTE,
    ) -> None:
        """`refused_per_minute` counts for an address, more for the networks around an IPv6 one."""
        self._db = db
        self._unknown = unknown
        self._clock = clock
        self._directory = CachedValue(self._read, ttl_s=_DIRECTORY_S, now_s=now_s)
        self._refused = AddressBuckets(refused_per_minute, 60, now_s)
        self._open = AddressBuckets(_OPEN_PER_MINUTE, 60, now_s)
        self._names: TtlCache[bytes, int] = TtlCache(_REMEMBERED, now_s)
        self._now_s = now_s
        self._known_slots = asyncio.Semaphore(_KNOWN_AT_ONCE)
        self._open_slots = asyncio.Semaphore(_OPEN_AT_ONCE)
        self._strangers = _Strangers()

    async def lane(self, handshake: Handshake) -> Lane:
        """Returns the lane of a handshake; each that ends refused needs `refused` later.

        Raises NotFound, Unavailable, and EvPowerError("too_many_requests").
        """
        known = await self._find(handshake)
        key = _key(handshake)
        if known is None:
            self._take(self._refused.take(handshake.address))
            if (self._names.get(key) or 0) >= _REMEMBER_FROM:
                self.unknown(handshake)
                raise NotFound("station_not_found", "no station has this name")
            return Lane(self._strangers, None, key)
        if known.is_open:  # its name is no secret: strangers at another address take nothing of it
            self._take(self._open.take(handshake.address, known.station_id))
            return Lane(self._open_slots, known, key)
        return Lane(self._known_slots, known, key)

    def unknown(self, handshake: Handshake) -> None:
        """Counts an attempt of names that no station has."""
        key = _key(handshake)
        times = (self._names.get(key) or 0) + 1
        self._names.put(key, times, expires_at=self._now_s() + _REMEMBER_S)
        self._list(handshake, "station_not_found")

    def admitted(self, handshake: Handshake, lane: Lane) -> None:
        """Gives its address back what a station took that was added or changed a moment ago."""
        if lane.known is None:
            self._refused.give_back(handshake.address)
            self._directory.expire()

    def refused(self, handshake: Handshake, lane: Lane, error: EvPowerError) -> None:
        """Remembers that a handshake was refused, and lists its name with the reason."""
        reason = _LISTED.get(error.code)
        if reason is not None:
            self._list(handshake, reason)
        if lane.known is None:
            if error.http_status >= 500:  # noqa: PLR2004 - our trouble, not the caller's
                self._refused.give_back(handshake.address)
            return
        directory = self._directory.peek()
        if error.http_status in {401, 403, 404} and directory is not None:
            directory.forget(lane.known.station_id)  # its password has changed, or it is retired

    def _list(self, handshake: Handshake, reason: stations.ConnectRefusal) -> None:
        name = handshake.names[0] if handshake.names else ""
        if reason == "station_ambiguous":
            name = handshake.whole  # each of its parts is another station
        self._unknown.add(name, handshake.address, self._clock(), reason)

    async def _find(self, handshake: Handshake) -> stations.KnownStation | None:
        """Returns the known station; a directory without it is read again, at most each 5 s."""
        directory = self._directory.peek()
        known = None
        if directory is not None:
            known = directory.find(handshake.whole, handshake.names, handshake.password)
        if known is not None:
            return known
        directory = await self._directory.get()
        return directory.find(handshake.whole, handshake.names, handshake.password)

    async def _read(self) -> stations.Directory:
        async with self._db.connection() as connection:
            return await stations.read_directory(connection)

    @staticmethod
    def _take(wait_s: int) -> None:
        if wait_s:
            raise EvPowerError(
                "too_many_requests", f"try again in {wait_s} s", status=429, retry_after_s=wait_s
            )


class _Strangers(AbstractAsyncContextManager[None]):
    """A few strangers at a time; those who would wait long are sent away."""

    def __init__(self) -> None:
        self._slots = asyncio.Semaphore(_STRANGERS_AT_ONCE)
        self._waiting = 0

    async def __aenter__(self) -> None:
        if self._waiting >= _STRANGERS_WAIT:
            raise Unavailable("overloaded", "too many unknown stations connect", retry_after_s=5)
        self._waiting += 1
        try:
            await self._slots.acquire()
        finally:
            self._waiting -= 1

    async def __aexit__(self, *_: object) -> None:
        self._slots.release()


def _key(handshake: Handshake) -> bytes:
    """Returns a digest of the names: a path may be long."""
    names = "\n".join((handshake.whole, *handshake.names))
    return sha256(names.lower().encode("utf-8", "surrogatepass")).digest()

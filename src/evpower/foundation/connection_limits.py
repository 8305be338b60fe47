"""Limits of WebSocket connections: their origin, and how many may be open."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from evpower.foundation.addresses import address_group, wider_networks

# An IPv6 /64 is one subscriber. A /48 has 65,536 of them, and a provider owns a /32.
WIDER: Final = (16, 256)


def origin_allowed(origin: str, cors_origins: frozenset[str]) -> bool:
    """Returns whether a handshake with this Origin may go on; native apps send none ("")."""
    return not origin or origin in cors_origins or "*" in cors_origins


def parse_origins(text: str) -> frozenset[str]:
    """Parses comma-separated origins, as in EVPOWER_CORS_ORIGINS."""
    return frozenset(origin.strip().rstrip("/") for origin in text.split(",") if origin.strip())


class SocketLimits:
    """Counts the open sockets of this node: in total, by address, and by a key known later.

    One address may be one client or a mobile operator's thousand phones: many authenticated sockets
    are allowed there, but few that still wait to authenticate, because that takes no long time.
    """

    def __init__(
        self, *, per_address: int, per_key: int, total: int, waiting_per_address: int | None = None
    ) -> None:
        """`per_address` counts waiting sockets too; `waiting_per_address` None: no sign-in."""
        self._per_address = per_address
        self._waiting_per_address = waiting_per_address
        self._total = total
        self._counts = _Counts(per_key)

    def __len__(self) -> int:
        return self._counts.open

    def open(self, address: str) -> "ConnectionSlot | None":
        """Counts one more socket of this address. Returns None when there are too many."""
        counts = self._counts
        if counts.open >= self._total:
            return None
        networks = (address, *wider_networks(address))
        for network, factor in zip(networks, (1, *WIDER), strict=False):
            if counts.addresses[network] >= self._per_address * factor:
                return None
        may_wait = self._waiting_per_address
        if may_wait is not None:
            group = address_group(address)  # one party may own a whole IPv6 /48
            if counts.waiting[group] >= may_wait:
                return None
            counts.waiting[group] += 1
        counts.open += 1
        counts.addresses.update(networks)
        return ConnectionSlot(counts, address, waits=may_wait is not None)


class ConnectionSlot:
    """One counted socket; the caller that opened it must call `leave()`."""

    __slots__ = ("_address", "_counts", "_keys", "_left", "_waits")

    def __init__(self, counts: "_Counts", address: str, *, waits: bool) -> None:
        self._counts = counts
        self._address = address
        self._keys: tuple[str, ...] = ()
        self._left = False
        self._waits = waits

    def claim(self, key: str) -> bool:
        """Counts it for this key (a client) too. Returns False when the key is at its limit."""
        if self._counts.keys[key] >= self._counts.per_key:
            return False
        self._counts.keys[key] += 1
        self._keys = (*self._keys, key)
        return True

    def settle(self) -> None:
        """Stops counting it as waiting: the client has authenticated."""
        if self._waits:
            self._waits = False
            _forget_one(self._counts.waiting, address_group(self._address))

    def leave(self) -> None:
        """Stops counting it; a second call does nothing."""
        if self._left:
            return
        self._left = True
        self.settle()
        self._counts.open -= 1
        for network in (self._address, *wider_networks(self._address)):
            _forget_one(self._counts.addresses, network)
        for key in self._keys:
            _forget_one(self._counts.keys, key)


@dataclass(slots=True)
class _Counts:
    per_key: int
    open: int = 0
    addresses: Counter[str] = field(default_factory=Counter[str])
    waiting: Counter[str] = field(default_factory=Counter[str])
    keys: Counter[str] = field(default_factory=Counter[str])


def _forget_one(counter: Counter[str], name: str) -> None:
    counter[name] -= 1
    if counter[name] <= 0:
        del counter[name]

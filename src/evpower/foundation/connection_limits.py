"""What every WebSocket is checked for before it may stay: its origin, and how many there are."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from evpower.foundation.addresses import address_group, wider_networks

# An IPv6 /64 is one subscriber. Whoever has a /48 has 65,536 of them, and a provider a /32.
WIDER: Final = (16, 256)


def origin_allowed(origin: str, cors_origins: frozenset[str]) -> bool:
    """Whether a handshake with this Origin may go on; apps that are no browser send none ("")."""
    return not origin or origin in cors_origins or "*" in cors_origins


def parse_origins(text: str) -> frozenset[str]:
    """Comma-separated origins, as EVPOWER_CORS_ORIGINS has them."""
    return frozenset(origin.strip().rstrip("/") for origin in text.split(",") if origin.strip())


class SocketLimits:
    """Counts the open sockets of this node: in all, by address, and by a key known later.

    Behind one address may be one person or a mobile operator's thousand phones: so many sockets may
    have signed in there, but few may wait to, for nobody takes long to.
    """

    def __init__(
        self, *, per_address: int, per_key: int, total: int, waiting_per_address: int | None = None
    ) -> None:
        """`per_address` counts those that wait too; None: nobody signs in here."""
        self._per_address = per_address
        self._waiting_per_address = waiting_per_address
        self._total = total
        self._counts = _Counts(per_key)

    def __len__(self) -> int:
        return self._counts.open

    def open(self, address: str) -> "ConnectionSlot | None":
        """Count one more socket of this address; None when there are too many."""
        counts = self._counts
        if counts.open >= self._total:
            return None
        networks = (address, *wider_networks(address))
        for network, factor in zip(networks, (1, *WIDER), strict=False):
            if counts.addresses[network] >= self._per_address * factor:
                return None
        may_wait = self._waiting_per_address
        if may_wait is not None:
            group = address_group(address)  # one party may have a whole IPv6 /48
            if counts.waiting[group] >= may_wait:
                return None
            counts.waiting[group] += 1
        counts.open += 1
        counts.addresses.update(networks)
        return ConnectionSlot(counts, address, waits=may_wait is not None)


class ConnectionSlot:
    """One counted socket; whoever opened it owes it a `leave()`."""

    __slots__ = ("_address", "_counts", "_keys", "_left", "_waits")

    def __init__(self, counts: "_Counts", address: str, *, waits: bool) -> None:
        self._counts = counts
        self._address = address
        self._keys: tuple[str, ...] = ()
        self._left = False
        self._waits = waits

    def claim(self, key: str) -> bool:
        """Count it for this key too (a client, say); False when the key has all it may have."""
        if self._counts.keys[key] >= self._counts.per_key:
            return False
        self._counts.keys[key] += 1
        self._keys = (*self._keys, key)
        return True

    def settle(self) -> None:
        """Count it no longer among those that wait: somebody signed in."""
        if self._waits:
            self._waits = False
            _forget_one(self._counts.waiting, address_group(self._address))

    def leave(self) -> None:
        """Stop counting it; a second time does nothing."""
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

"""Token buckets per caller or address, in the memory of this node."""

import math
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from evpower.foundation.addresses import wider_networks
from evpower.foundation.connection_limits import WIDER

_REMEMBERED: Final = 50_000


class Buckets:
    """One budget: `amount` at once, refilled over `period_s`. Drops the least recent caller."""

    def __init__(
        self,
        amount: int,
        period_s: float,
        now_s: Callable[[], float],
        remembered: int = _REMEMBERED,
    ) -> None:
        self._amount = float(amount)
        self._per_s = amount / period_s
        self._now_s = now_s
        self._remembered = remembered
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._left)

    def take(self, caller: str) -> int:
        """Takes one token. Returns 0, or the whole seconds until there is one again."""
        now = self._now_s()
        left, at = self._left.pop(caller, (self._amount, now))
        left = min(self._amount, left + (now - at) * self._per_s)
        wait_s = 0 if left >= 1 else max(1, math.ceil((1 - left) / self._per_s))
        self._left[caller] = (left if wait_s else left - 1, now)
        if len(self._left) > self._remembered:
            self._left.popitem(last=False)
        return wait_s

    def wait_s(self, caller: str) -> int:
        """Returns what `take` would, and takes nothing."""
        left, at = self._left.get(caller, (self._amount, 0.0))
        left += (self._now_s() - at) * self._per_s
        return 0 if left >= 1 else max(1, math.ceil((1 - left) / self._per_s))

    def give_back(self, caller: str) -> None:
        """Reverts one `take`."""
        if caller in self._left:
            left, at = self._left[caller]
            self._left[caller] = (min(self._amount, left + 1), at)


class AddressBuckets:
    """One budget by address, for IPv6 also by the wider networks that one party may own."""

    def __init__(self, amount: int, period_s: float, now_s: Callable[[], float]) -> None:
        self._own = Buckets(amount, period_s, now_s)
        self._wider = [Buckets(amount * factor, period_s, now_s) for factor in WIDER]

    def take(self, address: str, of: str = "") -> int:
        """Takes one token. Returns 0, or the whole seconds until there is one again.

        `of`: what it is a budget of, when each has its own. The widest network comes first: when it
        has no token left, nothing is written to the tables below.
        """
        pairs = self._pairs(address, of)
        for index, (buckets, name) in enumerate(pairs):
            wait_s = buckets.take(name)
            if wait_s:
                for taken_from, earlier in pairs[:index]:
                    taken_from.give_back(earlier)
                return wait_s
        return 0

    def wait_s(self, address: str) -> int:
        """Returns what `take` would, and takes nothing."""
        return max(buckets.wait_s(name) for buckets, name in self._pairs(address))

    def give_back(self, address: str) -> None:
        """Reverts one `take`."""
        for buckets, name in self._pairs(address):
            buckets.give_back(name)

    def _pairs(self, address: str, of: str = "") -> list[tuple[Buckets, str]]:
        networks = (address, *wider_networks(address))
        pairs = zip((self._own, *self._wider), networks, strict=False)
        return [(buckets, f"{network} {of}") for buckets, network in pairs][::-1]

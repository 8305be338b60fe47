"""Rate limits: token buckets per caller, in the memory of this node.

Each node counts for itself: behind a balancer with n nodes a caller has up to n times the budget.
That is enough to stop a flood; what must hold exactly (money) is held by the database.
"""

import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from evpower.foundation.addresses import wider_networks

_REMEMBERED: Final = 50_000
_MONEY_PATHS: Final = frozenset({"/api/v1/balance/topup-qr", "/api/v1/balance/topup-card"})
_REGISTER_PATHS: Final = frozenset({"/api/v1/auth/register"})
_WEBHOOK_PREFIXES: Final = ("/api/v1/payment/webhook", "/api/v1/webhooks/")


# An IPv6 /64 is one subscriber. Whoever has a /48 has 65,536 of them, and a provider a /32.
_WIDER: Final = (16, 256)
_KNOWN: Final = 10_000  # addresses and keys that were good lately
_KNOWN_FACTOR: Final = 10  # refused webhooks from where good ones come from


@dataclass(frozen=True, slots=True)
class Budgets:
    """How much one caller may ask for. Webhooks and registrations are counted by address."""

    general_per_minute: int = 120
    service_per_minute: int = 6_000
    money_per_minute: int = 20
    register_per_hour: int = 10
    webhook_per_minute: int = 3_000
    sockets_per_minute: int = 3_000
    refused_keys_per_minute: int = 30


class Buckets:
    """One budget: `amount` at once, refilled over `period_s`. Forgets the least recent caller."""

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
        """Take one token: 0, or the whole seconds until there is one again."""
        now = self._now_s()
        left, at = self._left.pop(caller, (self._amount, now))
        left = min(self._amount, left + (now - at) * self._per_s)
        wait_s = 0 if left >= 1 else max(1, math.ceil((1 - left) / self._per_s))
        self._left[caller] = (left if wait_s else left - 1, now)
        if len(self._left) > self._remembered:
            self._left.popitem(last=False)
        return wait_s

    def wait_s(self, caller: str) -> int:
        """Return what `take` would, and take nothing."""
        left, at = self._left.get(caller, (self._amount, 0.0))
        left += (self._now_s() - at) * self._per_s
        return 0 if left >= 1 else max(1, math.ceil((1 - left) / self._per_s))

    def give_back(self, caller: str) -> None:
        """Undo one `take`."""
        if caller in self._left:
            left, at = self._left[caller]
            self._left[caller] = (min(self._amount, left + 1), at)


class AddressBuckets:
    """One budget by address, for IPv6 also by the networks one party may have all of."""

    def __init__(self, amount: int, period_s: float, now_s: Callable[[], float]) -> None:
        self._own = Buckets(amount, period_s, now_s)
        self._wider = [Buckets(amount * factor, period_s, now_s) for factor in _WIDER]

    def take(self, address: str) -> int:
        """Take one token: 0, or the whole seconds until there is one again.

        The widest first: one that has no token left writes nothing into the tables below it.
        """
        pairs = self._pairs(address)
        for index, (buckets, name) in enumerate(pairs):
            wait_s = buckets.take(name)
            if wait_s:
                for taken_from, earlier in pairs[:index]:
                    taken_from.give_back(earlier)
                return wait_s
        return 0

    def wait_s(self, address: str) -> int:
        """Return what `take` would, and take nothing."""
        return max(buckets.wait_s(name) for buckets, name in self._pairs(address))

    def give_back(self, address: str) -> None:
        """Undo one `take`."""
        for buckets, name in self._pairs(address):
            buckets.give_back(name)

    def _pairs(self, address: str) -> list[tuple[Buckets, str]]:
        wider = zip(self._wider, wider_networks(address), strict=False)
        return [*reversed(list(wider)), (self._own, address)]


class _Lately:
    """What was good lately; forgets the least recent."""

    def __init__(self) -> None:
        self._seen: OrderedDict[object, None] = OrderedDict()

    def __contains__(self, item: object) -> bool:
        return item in self._seen

    def add(self, item: object) -> None:
        self._seen[item] = None
        self._seen.move_to_end(item)
        if len(self._seen) > _KNOWN:
            self._seen.popitem(last=False)


def is_webhook(path: str) -> bool:
    """Signed calls of other systems: no token, no Idempotency-Key, a budget of their own."""
    return path.startswith(_WEBHOOK_PREFIXES)


def is_register(path: str) -> bool:
    """The one call that anybody may make and that creates something."""
    return path in _REGISTER_PATHS


class RateLimits:
    """Every budget of this node."""

    def __init__(self, budgets: Budgets, now_s: Callable[[], float]) -> None:
        self._general = Buckets(budgets.general_per_minute, 60, now_s)
        self._strangers = AddressBuckets(budgets.general_per_minute, 60, now_s)
        self._service = Buckets(budgets.service_per_minute, 60, now_s)
        self._money = Buckets(budgets.money_per_minute, 60, now_s)
        self._register = AddressBuckets(budgets.register_per_hour, 3600, now_s)
        self._webhook = AddressBuckets(budgets.webhook_per_minute, 60, now_s)
        self._known_webhook = Buckets(budgets.webhook_per_minute * _KNOWN_FACTOR, 60, now_s)
        self._sockets = AddressBuckets(budgets.sockets_per_minute, 60, now_s)
        self._keys = AddressBuckets(budgets.refused_keys_per_minute, 60, now_s)
        self._good_keys = _Lately()
        self._good_senders = _Lately()

    def take_socket(self, address: str) -> int:
        """Count one WebSocket handshake: 0 when it may pass, else the seconds to wait."""
        return self._sockets.take(address)

    def take(self, method: str, path: str, caller: str, address: str) -> int:
        """Count one request that is no webhook: 0 when it may pass, else the seconds to wait.

        `caller` is client:<uuid>, operator:<uuid> or service:<name> from a verified credential,
        "" for one without.
        """
        if is_register(path) and method == "POST":
            return self._register.take(address)
        if not caller:
            return self._strangers.take(address)
        if caller.startswith("service:"):
            return self._service.take(caller)
        wait_s = self._general.take(caller)
        if wait_s == 0 and method == "POST" and path in _MONEY_PATHS:
            wait_s = self._money.take(caller)
        return wait_s

    def take_webhook(self, address: str) -> int:
        """Count one webhook before it is read; `webhook_answered` is owed for each that passed.

        Good ones cost nothing in the end. Where good ones come from has a budget of its own, so
        that a stranger who shares the address does not use up the bank's.
        """
        if address in self._good_senders:
            return self._known_webhook.take(address)
        return self._webhook.take(address)

    def webhook_answered(self, address: str, status: int) -> None:
        """Give the budget back unless the webhook was refused."""
        if 400 <= status < 500:  # noqa: PLR2004 - the caller's mistakes
            return
        if address in self._good_senders:
            self._known_webhook.give_back(address)
        else:
            self._webhook.give_back(address)
        if status < 300:  # noqa: PLR2004 - its signature was right
            self._good_senders.add(address)

    def take_key(self, address: str, digest: bytes) -> int:
        """Count a service key before it is looked up: 0, or the seconds to wait.

        One that was good lately is always looked up: it may have been revoked.
        """
        if digest in self._good_keys:
            return 0
        return self._strangers.wait_s(address) or self._keys.take(address)

    def key_accepted(self, address: str, digest: bytes) -> None:
        """Remember a good key, which costs its address nothing."""
        if digest not in self._good_keys:
            self._keys.give_back(address)
        self._good_keys.add(digest)

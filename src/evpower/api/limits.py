"""Rate limits: token buckets per caller, in the memory of this node.

Each node counts for itself: behind a balancer with n nodes a caller has up to n times the budget.
That is enough to stop a flood; what must hold exactly (money) is held by the database.
"""

import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

_REMEMBERED: Final = 50_000
_MONEY_PATHS: Final = frozenset({"/api/v1/balance/topup-qr", "/api/v1/balance/topup-card"})
_REGISTER_PATHS: Final = frozenset({"/api/v1/auth/register"})
_WEBHOOK_PREFIXES: Final = ("/api/v1/payment/webhook", "/api/v1/webhooks/")


@dataclass(frozen=True, slots=True)
class Budgets:
    """How much one caller may ask for. Webhooks and registrations are counted by address."""

    general_per_minute: int = 120
    service_per_minute: int = 6_000
    money_per_minute: int = 20
    register_per_hour: int = 10
    webhook_per_minute: int = 3_000
    sockets_per_minute: int = 3_000


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
        self._service = Buckets(budgets.service_per_minute, 60, now_s)
        self._money = Buckets(budgets.money_per_minute, 60, now_s)
        self._register = Buckets(budgets.register_per_hour, 3600, now_s)
        self._webhook = Buckets(budgets.webhook_per_minute, 60, now_s)
        self._sockets = Buckets(budgets.sockets_per_minute, 60, now_s)

    def take_socket(self, address: str) -> int:
        """Count one WebSocket handshake: 0 when it may pass, else the seconds to wait."""
        return self._sockets.take(address)

    def take(self, method: str, path: str, caller: str, address: str) -> int:
        """Count one request: 0 when it may pass, else the seconds to wait.

        `caller` is client:<uuid>, operator:<uuid> or service:<name> from a verified credential,
        else address:<ip>.
        """
        if is_webhook(path):
            return self._webhook.take(address)
        if is_register(path) and method == "POST":
            return self._register.take(address)
        if caller.startswith("service:"):
            return self._service.take(caller)
        wait_s = self._general.take(caller)
        if wait_s == 0 and method == "POST" and path in _MONEY_PATHS:
            wait_s = self._money.take(caller)
        return wait_s

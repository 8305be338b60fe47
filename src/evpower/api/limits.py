"""Rate limits: token buckets per caller, in the memory of this node.

Each node counts for itself: behind a balancer with n nodes a caller has up to n times the budget.
That is enough to stop a flood; what must hold exactly (money) is enforced by the database.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Final

from evpower.foundation.buckets import AddressBuckets, Buckets
from evpower.foundation.module import Limit
from evpower.foundation.segments import pattern_of

_KNOWN: Final = 10_000  # addresses and keys accepted lately
_LONGEST_BY_SLICE: Final = 100  # characters of a path: every route takes ids of that length
_KNOWN_FACTOR: Final = 10  # refused webhooks of an address that sends accepted ones


@dataclass(frozen=True, slots=True)
class Budgets:
    """The general budgets of one caller; slices have limits of their own in addition."""

    general_per_minute: int = 120
    service_per_minute: int = 6_000
    sockets_per_minute: int = 3_000
    refused_keys_per_minute: int = 30


class _Lately:
    """What was accepted lately; drops the least recent."""

    def __init__(self) -> None:
        self._seen: OrderedDict[object, None] = OrderedDict()

    def __contains__(self, item: object) -> bool:
        return item in self._seen

    def add(self, item: object) -> None:
        self._seen[item] = None
        self._seen.move_to_end(item)
        if len(self._seen) > _KNOWN:
            self._seen.popitem(last=False)


class _Signed:
    """The budget of calls that are authenticated by a signature."""

    def __init__(self, limit: Limit, now_s: Callable[[], float]) -> None:
        self._any = AddressBuckets(limit.amount, limit.period_s, now_s)
        self._known = Buckets(limit.amount * _KNOWN_FACTOR, limit.period_s, now_s)
        self._good = _Lately()

    def take(self, address: str) -> int:
        if address in self._good:
            return self._known.take(address)
        return self._any.take(address)

    def answered(self, address: str, status: int) -> None:
        if 400 <= status < 500:  # noqa: PLR2004 - the caller's mistakes
            return
        if address in self._good:
            self._known.give_back(address)
        else:
            self._any.give_back(address)
        if status < 300:  # noqa: PLR2004 - its signature was right
            self._good.add(address)


class RateLimits:
    """Every budget of this node."""

    def __init__(
        self, budgets: Budgets, now_s: Callable[[], float], limits: Iterable[Limit] = ()
    ) -> None:
        """Raises ValueError when two limits of one name differ in more than their paths."""
        self._general = Buckets(budgets.general_per_minute, 60, now_s)
        self._strangers = AddressBuckets(budgets.general_per_minute, 60, now_s)
        self._documents = AddressBuckets(budgets.general_per_minute, 60, now_s)
        self._service = Buckets(budgets.service_per_minute, 60, now_s)
        self._sockets = AddressBuckets(budgets.sockets_per_minute, 60, now_s)
        self._keys = AddressBuckets(budgets.refused_keys_per_minute, 60, now_s)
        self._good_keys = _Lately()
        self._also: dict[str, Buckets] = {}
        self._instead: dict[str, AddressBuckets] = {}
        self._signed: dict[str, _Signed] = {}  # by prefix
        self._public: dict[str, AddressBuckets] = {}  # by prefix
        by_slice: list[str] = []  # methods and templates
        self._besides: set[str] = set()
        for limit in _merged(limits):
            match limit.kind:
                case "also":
                    buckets = Buckets(limit.amount, limit.period_s, now_s)
                    self._also.update(dict.fromkeys(limit.paths, buckets))
                case "instead":
                    by_address = AddressBuckets(limit.amount, limit.period_s, now_s)
                    self._instead.update(dict.fromkeys(limit.paths, by_address))
                case "signed":
                    signed = _Signed(limit, now_s)
                    self._signed.update(dict.fromkeys(limit.paths, signed))
                case "by_slice":
                    by_slice.extend(limit.paths)
                    self._besides.update(limit.besides)
                case "public":
                    public = AddressBuckets(limit.amount, limit.period_s, now_s)
                    self._public.update(dict.fromkeys(limit.paths, public))
        self._signed_prefixes = tuple(self._signed)
        self._public_prefixes = tuple(self._public)
        self._by_slice = pattern_of(by_slice)

    def is_signed(self, path: str) -> bool:
        """Returns whether it is for signed calls: no token, no Idempotency-Key, own budget."""
        return path.startswith(self._signed_prefixes)

    def is_public(self, path: str) -> bool:
        """Returns whether it is for everyone and has a budget of its own by address."""
        return path.startswith(self._public_prefixes)

    def is_open(self, path: str) -> bool:
        """Returns whether no credential is read there: the call is counted by address alone."""
        return path in self._instead or self.is_public(path)

    def is_counted_by_slice(self, method: str, path: str, raw_path: str) -> bool:
        """Returns whether the slice counts calls there that come without a credential.

        Only where the route of the template is sure to be reached: no path that is too long for it,
        or is another one before it is decoded.
        """
        call = f"{method} {path}"
        return (
            len(path) <= _LONGEST_BY_SLICE
            and self._by_slice.fullmatch(call) is not None
            and (raw_path == path or self._by_slice.fullmatch(f"{method} {raw_path}") is not None)
            and call not in self._besides
        )

    def take_socket(self, address: str) -> int:
        """Counts one WebSocket handshake. Returns 0 when it may pass, else the seconds to wait."""
        return self._sockets.take(address)

    def take(self, method: str, path: str, caller: str, address: str) -> int:
        """Counts one request that is no webhook. Returns 0 when it may pass, else seconds to wait.

        `caller` is client:<uuid>, operator:<uuid> or service:<name> from a verified credential, ""
        for one without.
        """
        if self.is_public(path):
            return self._public_of(path).take(address)
        if method == "POST" and (instead := self._instead.get(path)) is not None:
            return instead.take(address)
        if not caller:
            return self._strangers.take(address)
        if caller.startswith("service:"):
            return self._service.take(caller)
        wait_s = self._general.take(caller)
        if wait_s == 0 and method == "POST" and (also := self._also.get(path)) is not None:
            wait_s = also.take(caller)
        return wait_s

    def take_document(self, address: str) -> int:
        """Counts a request outside the API. Returns 0 when it may pass, else the seconds to wait.

        It has a budget of its own: a reader of documents must not use up the budget of a driver at
        the same address whose token has expired.
        """
        return self._documents.take(address)

    def take_signed(self, path: str, address: str) -> int:
        """Counts one signed call before it is read; each that passed needs `signed_answered` later.

        Accepted ones cost nothing in the end. An address that sends accepted calls has a budget of
        its own, so that a stranger behind the same address does not use up the bank's.
        """
        return self._signed_of(path).take(address)

    def signed_answered(self, path: str, address: str, status: int) -> None:
        """Gives the budget back unless the call was refused."""
        self._signed_of(path).answered(address, status)

    def _public_of(self, path: str) -> AddressBuckets:
        return next(public for prefix, public in self._public.items() if path.startswith(prefix))

    def _signed_of(self, path: str) -> _Signed:
        return next(signed for prefix, signed in self._signed.items() if path.startswith(prefix))

    def take_key(self, address: str, digest: bytes) -> int:
        """Counts a service key before it is looked up. Returns 0, or the seconds to wait.

        One that was accepted lately is always looked up: it may have been revoked.
        """
        if digest in self._good_keys:
            return 0
        return self._strangers.wait_s(address) or self._keys.take(address)

    def key_accepted(self, address: str, digest: bytes) -> None:
        """Remembers an accepted key, which costs its address nothing."""
        if digest not in self._good_keys:
            self._keys.give_back(address)
        self._good_keys.add(digest)


def _merged(limits: Iterable[Limit]) -> list[Limit]:
    """Returns one limit for each name, with the paths of all that have it."""
    by_name: dict[str, Limit] = {}
    for limit in limits:
        known = by_name.get(limit.name)
        if known is None:
            by_name[limit.name] = limit
        elif (known.kind, known.amount, known.period_s) == (
            limit.kind, limit.amount, limit.period_s
        ):  # fmt: skip
            by_name[limit.name] = replace(known, paths=(*known.paths, *limit.paths))
        else:
            raise ValueError(f"two limits are named {limit.name}")
    return list(by_name.values())

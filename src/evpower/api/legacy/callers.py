"""Who makes an old call: the token's subject, or without a token whoever a switch lets pass.

The oldest app never sends a token. Where the switch of a family and operation is on, a session or
an invoice is found by its id, which only its owner knows, and a client only if it was seen without
a token before (`evpower clients without-token`). Such calls are counted by the id that they name;
ids that are unknown count against the address.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Final, NoReturn
from uuid import UUID

from starlette.requests import Request

from evpower import identity
from evpower.api.legacy import metrics
from evpower.api.legacy.families import Family, Operation
from evpower.foundation.addresses import ClientAddresses, Network
from evpower.foundation.buckets import AddressBuckets, Buckets
from evpower.foundation.db import Database
from evpower.foundation.errors import EvPowerError, Unauthenticated
from evpower.identity import Access, Principal, may_read

_MINUTE_S: Final = 60.0
_REMEMBERED: Final = 50_000
Allowed = Mapping[Family, frozenset[Operation]]
NONE_ALLOWED: Final[Allowed] = {"mobile": frozenset(), "v1": frozenset()}


class OldCallers:
    """Identifies the callers of the old API."""

    def __init__(
        self,
        db: Database,
        access: Access,
        *,
        allowed: Allowed = NONE_ALLOWED,
        per_id: int = 60,
        per_address: int = 120,
        top_ups_per_address: int = 20,
        trusted_proxies: tuple[Network, ...] = (),
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """`per_id` and the two after it are calls a minute; `now_s` is a monotonic clock."""
        self.access = access
        self._db = db
        self._allowed = allowed
        self._by_id = Buckets(per_id, _MINUTE_S, now_s)
        self._unknown = AddressBuckets(per_address, _MINUTE_S, now_s)
        self._top_ups = AddressBuckets(top_ups_per_address, _MINUTE_S, now_s)
        self._known: OrderedDict[str, None] = OrderedDict()
        self._addresses = ClientAddresses(trusted_proxies)

    async def admit(self, request: Request, family: Family, operation: Operation) -> None:
        """Checks that a client calls; without a credential, whether the switch is on.

        Called before a body is parsed. Raises Unauthenticated, Forbidden("forbidden"), Unavailable.
        """
        if has_credential(request):
            await self.access.require_client(request)
        elif operation not in self._allowed[family]:
            self._refuse(family, operation)

    def count_misshaped(self, request: Request) -> None:
        """Counts a request without a credential that names nothing. Raises 429."""
        if not has_credential(request):
            _demand_none(self._unknown.take(self._address(request)))

    async def by_id(
        self, request: Request, family: Family, operation: Operation, name: str
    ) -> Principal | None:
        """Returns the caller; None: without a token, and may do this with the object of that name.

        For reads: operators and services pass. Call `exists` once the object is found. Raises
        Unauthenticated, Unavailable, and 429 "too_many_requests".
        """
        if has_credential(request):
            return await self.access.principal(request)
        self._pass(request, family, operation, name)
        return None

    async def client_by_id(
        self, request: Request, family: Family, operation: Operation, name: str
    ) -> Principal | None:
        """Returns the client that calls, or None, as `by_id` does: for calls with an effect.

        Raises Forbidden("forbidden") for operators and services, and the errors of `by_id`.
        """
        if has_credential(request):
            return await self.access.require_client(request)
        return await self.by_id(request, family, operation, name)

    async def demand_listed(
        self, request: Request, family: Family, operation: Operation, client_id: UUID
    ) -> None:
        """Checks that the client of what a request without a token names is on the list.

        Raises Unauthenticated("missing_token").
        """
        if not has_credential(request):
            await self._find_listed(family, operation, str(client_id))

    async def client(
        self, request: Request, family: Family, operation: Operation, client: str | None
    ) -> Principal:
        """Returns the client that calls; without a token it is the one that the body names.

        With a token a body may name its client as older apps do, and no other.

        Raises Unauthenticated,
        Forbidden("forbidden" | "client_blocked"), Unavailable, 429 "too_many_requests".
        """
        if has_credential(request):
            principal = await self.access.require_client_for_money(request)
            if client is not None and client.strip().lower() != str(principal.client_id):
                may_read(principal, await self.access.resolve(principal, client))
            return principal
        client_id = await self._listed(request, family, operation, client)
        return Principal("client", client_id, "", None, client_id)

    async def reader(self, request: Request, family: Family, client: str) -> Principal:
        """Returns the caller of a read; without a token it is the client that the path names.

        Raises Unauthenticated, Unavailable, 429 "too_many_requests".
        """
        if has_credential(request):
            return await self.access.principal(request)
        client_id = await self._listed(request, family, "read", client)
        return Principal("client", client_id, "", None, client_id)

    async def reader_of_v1(self, request: Request, client: str | UUID) -> Principal:
        """Returns the caller of a read of the newer family, as `reader` does."""
        return await self.reader(request, "v1", str(client))

    async def _listed(
        self, request: Request, family: Family, operation: Operation, client: str | None
    ) -> UUID:
        """Returns the client that a request without a token names, if it is on the list.

        Raises Unauthenticated("missing_token"), 429 "too_many_requests".
        """
        named = (client or "").strip()
        parsed = identity.as_uuid(named)
        # Client ids are no secret: a stranger elsewhere must not use up a client's budget.
        name = f"client:{parsed or named[: identity.MAX_OLD_ID]} of {self._address(request)}"
        self._pass(request, family, operation, name)
        client_id = await self._find_listed(family, operation, named)
        if operation == "top-up":  # each makes a bill at the bank, however many clients are listed
            _demand_none(self._top_ups.take(self._address(request)))
        self.exists(request, name)
        return client_id

    async def _find_listed(self, family: Family, operation: Operation, named: str) -> UUID:
        async with self._db.connection() as connection:
            client_id = await identity.find_without_token(connection, named)
        if client_id is None:
            metrics.WITHOUT_TOKEN.labels(family, operation, "not_listed").inc()
            raise _missing()
        return client_id

    def exists(self, request: Request, name: str) -> None:
        """Remembers that what a request without a token names exists: it costs its address nothing.

        Requests with a credential are not counted here.
        """
        if has_credential(request):
            return
        if name not in self._known:
            self._unknown.give_back(self._address(request))
        self._known[name] = None
        self._known.move_to_end(name)
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)

    def _pass(self, request: Request, family: Family, operation: Operation, name: str) -> None:
        """Counts a request without a token, and refuses it where the switch is off.

        There the gateway has counted it against its address.
        """
        if operation not in self._allowed[family]:
            self._refuse(family, operation)
        if name not in self._known:
            _demand_none(self._unknown.take(self._address(request)))
        _demand_none(self._by_id.take(name))
        metrics.WITHOUT_TOKEN.labels(family, operation, "passed").inc()

    def _refuse(self, family: Family, operation: Operation) -> NoReturn:
        metrics.WITHOUT_TOKEN.labels(family, operation, "refused").inc()
        raise _missing()

    def _address(self, request: Request) -> str:
        peer = request.scope.get("client")
        forwarded = ",".join(request.headers.getlist("x-forwarded-for"))
        return self._addresses.of(peer[0] if peer else "", forwarded)


def has_credential(request: Request) -> bool:
    """Returns whether the request has a token or a key, valid or not."""
    return "authorization" in request.headers or "x-service-key" in request.headers


def _missing() -> Unauthenticated:
    return Unauthenticated("missing_token", "an access token is needed")


def _demand_none(wait_s: int) -> None:
    if wait_s:
        raise EvPowerError(
            "too_many_requests", f"try again in {wait_s} s", status=429, retry_after_s=wait_s
        )

"""Who calls, from the verified token or service key alone; never from the body or the path."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final
from uuid import UUID

from fastapi import Request

from evpower.foundation.cache import CachedValue, TtlCache
from evpower.foundation.clock import Clock, utc_now
from evpower.foundation.db import Database
from evpower.foundation.errors import EvPowerError, Forbidden, Unauthenticated
from evpower.identity import store_access
from evpower.identity.aliases import OldIds
from evpower.identity.clients import ensure_client
from evpower.identity.introspect import introspect
from evpower.identity.model import Claims, Operator, Principal
from evpower.identity.service_keys import PREFIX, check_service_key
from evpower.identity.supabase_admin import SupabaseAdmin
from evpower.identity.tokens import TokenVerifier

OPERATORS_FRESH_S: Final = 30.0
_KNOWN_S: Final = 300.0
_KNOWN_MAX: Final = 50_000


class Access:
    """Methods that take a request are FastAPI dependencies; the principal is found once."""

    def __init__(
        self,
        db: Database,
        verifier: TokenVerifier,
        *,
        clock: Clock = utc_now,
        introspect_with: SupabaseAdmin | None = None,
    ) -> None:
        """With `introspect_with`, Supabase is asked about every token before money moves."""
        self._db = db
        self._verifier = verifier
        self._clock = clock
        self._admin = introspect_with
        self._known = _KnownClients(clock)
        self._operators = _Operators(db, clock)
        self._old_ids = OldIds(db, clock=clock)

    async def principal(self, request: Request) -> Principal:
        """Return who calls; a client seen for the first time is created with its wallet.

        Raises Unauthenticated("missing_token" | "invalid_token" | "token_expired"),
        Unavailable("auth_unavailable").
        """
        found: Principal | None = getattr(request.state, "principal", None)
        if found is None:
            refusal: EvPowerError | None = getattr(request.state, "refusal", None)
            if refusal is not None:
                raise refusal  # found before the route was chosen
            found = await self.identify(request)
            request.state.principal = found
        return found

    async def identify(self, request: Request) -> Principal:
        """Find the principal of anything with headers, unremembered."""
        is_key, credential = _credential(request)
        if is_key:
            name = await check_service_key(self._db, credential)
            return Principal("service", None, name, None)
        claims = await self._verifier.verify(credential)
        if claims.sub in await self._operators.by_id():
            operator = await self._operators.as_of_now(claims.sub)
            if operator is not None:
                return _operator(operator, claims.expires_at)
        if not self._known.has(claims.sub):
            async with self._db.transaction() as connection:
                await ensure_client(connection, claims)
            self._known.add(claims.sub)
        return Principal("client", claims.sub, "", claims.expires_at, claims.sub)

    async def client_of_token(self, token: str) -> Claims:
        """Return the claims of a client's token; the client itself may not exist yet.

        For callers who create clients in their own time. Raises Forbidden("forbidden") for
        operators and service keys, and what `principal` raises.
        """
        if token.startswith(PREFIX):
            raise Forbidden("forbidden", "only a client may do this")
        claims = await self._verifier.verify(token)
        if claims.sub in await self._operators.by_id():
            raise Forbidden("forbidden", "only a client may do this")
        return claims

    async def require_client(self, request: Request) -> Principal:
        """Only a client may call. Raises Forbidden("forbidden")."""
        found = await self.principal(request)
        if found.kind != "client":
            raise Forbidden("forbidden", "only a client may do this")
        return found

    async def require_client_for_money(self, request: Request) -> Principal:
        """Only a client, and Supabase itself still knows the token where the settings want that.

        The client's own status is read by whoever moves the money, in that transaction.
        Raises Unauthenticated, Forbidden("forbidden" | "client_blocked"), Unavailable.
        """
        found = await self.require_client(request)
        if self._admin is not None:
            _, token = _credential(request)
            await introspect(self._admin, token, await self._verifier.verify(token), self._clock)
        return found

    async def require_service(self, request: Request) -> Principal:
        """Only another system's key may call. Raises Forbidden("forbidden")."""
        found = await self.principal(request)
        if found.kind != "service":
            raise Forbidden("forbidden", "only a service key may do this")
        return found

    async def require_viewer(self, request: Request) -> Principal:
        """Only an operator of any role may call. Raises Forbidden("forbidden")."""
        found = await self.principal(request)
        if found.kind == "client" and found.user_id is not None:
            operator = await self._operators.as_of_now(found.user_id)
            if operator is not None:
                found = request.state.principal = _operator(operator, found.expires_at)
        if found.kind != "operator":
            raise Forbidden("forbidden", "only an operator may do this")
        return found

    async def require_operator(self, request: Request) -> Principal:
        """Only an operator who may act on clients may call. Raises Forbidden("forbidden")."""
        found = await self.require_viewer(request)
        if found.role != "operator":
            raise Forbidden("forbidden", "this wants the role operator")
        return found

    async def resolve(self, caller: Principal, raw: str | UUID) -> UUID:
        """Whom an id in a request means: a UUID, or the id a client had before; may_read is next.

        The caller's own UUID costs nothing, other answers are remembered. Raises
        Forbidden("forbidden"), Invalid("invalid_request").
        """
        return await self._old_ids.client(caller, raw)

    def prefetch(self) -> None:
        """Start reading the signing keys, before the first token comes.

        The first call out loads its libraries for hundreds of milliseconds, in which nothing else
        is answered: no stranger's token should choose that moment.
        """
        self._verifier.prefetch()

    def flush(self) -> None:
        """Forget everything remembered: tokens, operators, known clients, old ids."""
        self._verifier.flush()
        self._known.clear()
        self._operators.expire()
        self._old_ids.flush()


def _operator(operator: Operator, expires_at: datetime | None) -> Principal:
    return Principal("operator", None, operator.name, expires_at, operator.user_id, operator.role)


def may_read(principal: Principal, client_id: UUID) -> None:
    """Pass for that client, operators and services. Raises Forbidden("forbidden")."""
    if principal.kind == "client" and principal.client_id != client_id:
        raise Forbidden("forbidden", "this belongs to somebody else")


def _credential(request: Request) -> tuple[bool, str]:
    """Return whether it is a service key, and the key or token."""
    headers = request.headers
    keys = headers.getlist("x-service-key")
    if keys:
        if len(keys) > 1:
            raise Unauthenticated("invalid_token", "more than one service key")
        return True, keys[0].strip()
    sent = headers.getlist("authorization")
    if not sent or not sent[0].strip():
        raise Unauthenticated("missing_token", "an access token is needed")
    scheme, _, token = sent[0].strip().partition(" ")
    token = token.strip()
    if len(sent) > 1 or scheme.lower() != "bearer":
        raise Unauthenticated("invalid_token", "Authorization must be one Bearer token")
    if not token:
        raise Unauthenticated("missing_token", "an access token is needed")
    return token.startswith(PREFIX), token


class _KnownClients:
    """Ids that surely exist (clients are never deleted): no round trip for them."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ids = TtlCache[UUID, bool](_KNOWN_MAX, lambda: clock().timestamp())

    def has(self, client_id: UUID) -> bool:
        return self._ids.get(client_id) is not None

    def add(self, client_id: UUID) -> None:
        self._ids.put(client_id, value=True, expires_at=self._clock().timestamp() + _KNOWN_S)

    def clear(self) -> None:
        self._ids.clear()


class _Operators:
    """Operators by user id, read again every 30 s by one caller at a time.

    Enough to tell that a driver is none. What an operator may do is read anew at each request, so
    that a role that was taken away ends with the command that says so.
    """

    def __init__(self, db: Database, clock: Clock) -> None:
        self._db = db
        self._cached = CachedValue[Mapping[UUID, Operator]](
            self._read, ttl_s=OPERATORS_FRESH_S, now_s=lambda: clock().timestamp()
        )

    async def by_id(self) -> Mapping[UUID, Operator]:
        return await self._cached.get()

    async def as_of_now(self, user_id: UUID) -> Operator | None:
        """One user's role in the database, remembered from then on."""
        async with self._db.connection() as connection:
            operator = await store_access.active_operator(connection, user_id)
        cached = self._cached.peek() or {}
        others = {other: found for other, found in cached.items() if other != user_id}
        self._cached.replace(others if operator is None else {**others, user_id: operator})
        return operator

    def expire(self) -> None:
        self._cached.expire()

    async def _read(self) -> Mapping[UUID, Operator]:
        async with self._db.connection() as connection:
            operators = await store_access.active_operators(connection)
        return {operator.user_id: operator for operator in operators}

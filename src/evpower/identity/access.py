"""Identifies the caller from the verified token or service key, never from the body or the path."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Final
from uuid import UUID

from starlette.requests import Request

from evpower.foundation import idempotency
from evpower.foundation.cache import CachedValue, TtlCache
from evpower.foundation.clock import Clock, utc_now
from evpower.foundation.db import Connection, Database
from evpower.foundation.errors import EvPowerError, Forbidden, Unauthenticated
from evpower.foundation.query_parameters import check_query_parameters
from evpower.foundation.shared_reads import SharedReads
from evpower.identity import store_access
from evpower.identity.aliases import OldIds
from evpower.identity.clients import ensure_client
from evpower.identity.model import Claims, Operator, OperatorRole, Principal
from evpower.identity.roles import OPERATOR_PATH, RIGHTS, ROLES, Right
from evpower.identity.service_keys import PREFIX, check_service_key
from evpower.identity.sign_in import store_accounts
from evpower.identity.supabase_admin import SupabaseAdmin

if TYPE_CHECKING:  # only a server verifies tokens
    from evpower.identity.tokens import TokenVerifier

OPERATORS_TTL_S: Final = 30.0
_KNOWN_TTL_S: Final = 300.0
_KNOWN_MAX: Final = 50_000
_KNOWN_READ: Final = 2_000  # ids in one read: a second read waits for a connection behind others


class Access:
    """Methods that take a request are FastAPI dependencies; the principal is identified once."""

    def __init__(
        self,
        db: Database,
        verifier: "TokenVerifier",
        *,
        clock: Clock = utc_now,
        introspect_with: SupabaseAdmin | None = None,
    ) -> None:
        """With `introspect_with`, Supabase checks every token before money moves."""
        self._db = db
        self._verifier = verifier
        self._clock = clock
        self._admin = introspect_with
        self._known = _KnownClients(db, clock)
        self._operators = _Operators(db, clock)
        self._old_ids = OldIds(db, clock=clock)

    @property
    def verifier(self) -> "TokenVerifier":
        """What verifies access tokens."""
        return self._verifier

    async def principal(self, request: Request) -> Principal:
        """Returns the caller; a client seen for the first time is created with its wallet.

        Raises Unauthenticated("missing_token" | "invalid_token" | "token_expired"),
        Unavailable("auth_unavailable").
        """
        principal: Principal | None = getattr(request.state, "principal", None)
        if principal is None:
            refusal: EvPowerError | None = getattr(request.state, "refusal", None)
            if refusal is not None:
                raise refusal  # the gateway refused the caller before the route was chosen
            principal = await self.identify(request)
            request.state.principal = principal
        return principal

    async def identify(self, request: Request) -> Principal:
        """Identifies the principal of anything with headers; nothing is stored in the request."""
        is_key, credential = _credential(request)
        if is_key:
            name = await check_service_key(self._db, credential)
            return Principal("service", None, name, None)
        claims = await self._verify(credential)
        if claims.is_admin:
            return _operator(await self._operators.signed_in(claims), claims.expires_at)
        if await self._is_operator(claims):
            operator = await self._operators.read_current(claims.sub)
            if operator is not None:
                return _operator(operator, claims.expires_at)
        if not await self._known.has(claims.sub):
            async with self._db.transaction() as connection:
                await ensure_client(connection, claims)
            self._known.add(claims.sub)
        user_id = claims.sub if claims.may_be_operator else None
        return Principal("client", claims.sub, "", claims.expires_at, user_id)

    async def client_of_token(self, token: str) -> Claims:
        """Returns the claims of a client's token; the client itself may not exist yet.

        For callers that create the client later themselves. Raises Forbidden("forbidden") for
        operators and service keys, and the errors of `principal`.
        """
        if token.startswith(PREFIX):
            raise Forbidden("forbidden", "only a client may do this")
        claims = await self._verify(token)
        if claims.is_admin or await self._is_operator(claims):
            raise Forbidden("forbidden", "only a client may do this")
        return claims

    async def require_client(self, request: Request) -> Principal:
        """Only a client may call. Raises Forbidden("forbidden")."""
        principal = await self.principal(request)
        if principal.kind != "client":
            raise Forbidden("forbidden", "only a client may do this")
        return principal

    async def require_client_for_money(self, request: Request) -> Principal:
        """Only a client may call; with `introspect_with`, Supabase must still accept the token.

        The client's own status is checked in the transaction that moves the money.
        Raises Unauthenticated, Forbidden("forbidden" | "client_blocked"), Unavailable.
        """
        principal = await self.require_client(request)
        if self._admin is not None:
            _, token = _credential(request)
            await self._introspect(self._admin, token)
        return principal

    async def require_service(self, request: Request) -> Principal:
        """Only another system's key may call. Raises Forbidden("forbidden")."""
        principal = await self.principal(request)
        if principal.kind != "service":
            raise Forbidden("forbidden", "only a service key may do this")
        return principal

    def may(self, right: Right) -> Callable[[Request], Awaitable[Principal]]:
        """Returns the dependency of a call: only operators whose role has the right pass."""

        async def principal(request: Request) -> Principal:
            return await self.require_role(request, *RIGHTS[right].roles)

        return principal

    async def require_role(self, request: Request, *roles: OperatorRole) -> Principal:
        """Only an operator of one of these roles may call, with the query parameters it has.

        Raises Forbidden("forbidden"), Invalid("invalid_request").
        """
        principal = await self.principal(request)
        if principal.kind == "client" and principal.user_id is not None:
            operator = await self._operators.read_current(principal.user_id)
            if operator is not None:
                principal = request.state.principal = _operator(operator, principal.expires_at)
        if principal.kind != "operator":
            raise Forbidden("forbidden", "only an operator may do this")
        if principal.role not in roles:
            needed = " or ".join(role for role in ROLES if role in roles)
            raise Forbidden("forbidden", f"this requires the role {needed}")
        idempotency.require_roles(request.scope.setdefault("state", {}), roles)
        if request.url.path.startswith(OPERATOR_PATH):  # the old admin pages may send more
            check_query_parameters(request)
        return principal

    async def resolve(self, caller: Principal, raw: str | UUID) -> UUID:
        """Returns the client of an id in a request, a UUID or an old id; call may_read next.

        The caller's own UUID needs no query; other results are cached. Raises
        Forbidden("forbidden"), Invalid("invalid_request").
        """
        return await self._old_ids.client(caller, raw)

    async def _is_operator(self, claims: Claims) -> bool:
        return claims.may_be_operator and claims.sub in await self._operators.by_id()

    async def _verify(self, token: str) -> Claims:
        """Returns the claims of a valid token; the old backend's id is replaced by the client's."""
        claims = await self._verifier.verify(token)
        if claims.issuer != "old":
            return claims
        client_id = await self._old_ids.find(claims.old_id)
        if client_id is None:
            raise Unauthenticated("invalid_token", "the token names no client here")
        return replace(claims, sub=client_id)

    async def _introspect(self, admin: SupabaseAdmin, token: str) -> None:
        """Returns if Supabase accepts the token and its user is not banned: both count at once.

        Never called inside a transaction. Raises Unauthenticated("invalid_token"),
        Forbidden("client_blocked"), Unavailable("auth_unavailable").
        """
        claims = await self._verify(token)
        is_foreign = claims.issuer != "supabase"  # Auth knows the user, not the token
        user = await (admin.get_user(claims.sub) if is_foreign else admin.user_of(token))
        if user is None or user.id != claims.sub:
            raise Unauthenticated("invalid_token", "the session has ended")
        if user.banned_until is not None and user.banned_until > self._clock():
            raise Forbidden("client_blocked", "the user is banned")

    def prefetch(self) -> None:
        """Starts reading the signing keys before the first token arrives.

        The first outgoing call loads its libraries, which blocks the process for hundreds of
        milliseconds: that must not happen when a stranger's token arrives.
        """
        self._verifier.prefetch()

    def flush(self) -> None:
        """Clears all caches: tokens, operators, known clients, old ids."""
        self._verifier.flush()
        self._known.clear()
        self._operators.expire()
        self._old_ids.flush()


def _operator(operator: Operator, expires_at: datetime | None) -> Principal:
    return Principal("operator", None, operator.name, expires_at, operator.user_id, operator.role)


def may_read(principal: Principal, client_id: UUID) -> None:
    """Passes for that client, operators and services. Raises Forbidden("forbidden")."""
    if principal.kind == "client" and principal.client_id != client_id:
        raise Forbidden("forbidden", "this belongs to another client")


def _credential(request: Request) -> tuple[bool, str]:
    """Returns whether it is a service key, and the key or token."""
    headers = request.headers
    keys = headers.getlist("x-service-key")
    if keys:
        if len(keys) > 1:
            raise Unauthenticated("invalid_token", "more than one service key")
        return True, keys[0].strip()
    values = headers.getlist("authorization")
    if not values or not values[0].strip():
        raise Unauthenticated("missing_token", "an access token is needed")
    scheme, _, token = values[0].strip().partition(" ")
    token = token.strip()
    if len(values) > 1 or scheme.lower() != "bearer":
        raise Unauthenticated("invalid_token", "Authorization must be one Bearer token")
    if not token:
        raise Unauthenticated("missing_token", "an access token is needed")
    return token.startswith(PREFIX), token


class _KnownClients:
    """Ids of existing clients (clients are never deleted), which need no round trip.

    Ids that are asked for at the same time are read together: after a restart every app calls.
    """

    def __init__(self, db: Database, clock: Clock) -> None:
        self._clock = clock
        self._ids = TtlCache[UUID, bool](_KNOWN_MAX, lambda: clock().timestamp())
        self._exists = SharedReads[UUID, bool](db, _exist, max_size=_KNOWN_READ, in_flight=2)

    async def has(self, client_id: UUID) -> bool:
        """Returns whether the client exists. Raises Unavailable."""
        if self._ids.get(client_id) is not None:
            return True
        exists = await self._exists(client_id)
        if exists:
            self.add(client_id)
        return exists

    def add(self, client_id: UUID) -> None:
        self._ids.put(client_id, value=True, expires_at=self._clock().timestamp() + _KNOWN_TTL_S)

    def clear(self) -> None:
        self._ids.clear()


async def _exist(connection: Connection, client_ids: Sequence[UUID]) -> Mapping[UUID, bool]:
    existing = await store_access.existing_clients(connection, client_ids)
    return {client_id: client_id in existing for client_id in client_ids}


class _Operators:
    """Operators by user id, read again every 30 s by one caller at a time.

    The cache only tells operators from drivers. An operator's role is read from the database at
    each request, so that a revoked role ends at once.
    """

    def __init__(self, db: Database, clock: Clock) -> None:
        self._db = db
        self._cached = CachedValue[Mapping[UUID, Operator]](
            self._read, ttl_s=OPERATORS_TTL_S, now_s=lambda: clock().timestamp()
        )

    async def by_id(self) -> Mapping[UUID, Operator]:
        return await self._cached.get()

    async def read_current(self, user_id: UUID) -> Operator | None:
        """Reads one user's role from the database, and updates the cache."""
        async with self._db.connection() as connection:
            operator = await store_access.active_operator(connection, user_id)
        cached = self._cached.peek() or {}
        others = {other: entry for other, entry in cached.items() if other != user_id}
        self._cached.replace(others if operator is None else {**others, user_id: operator})
        return operator

    async def signed_in(self, claims: Claims) -> Operator:
        """Returns the operator of a token issued to one. Raises Forbidden("forbidden")."""
        operator = await self.read_current(claims.sub)
        if operator is None:
            raise Forbidden("forbidden", "this user is no operator any more")
        async with self._db.connection() as connection:
            phone = await store_accounts.operators_phone(connection, claims.sub)
        if phone != claims.phone:
            raise Forbidden("forbidden", "this operator signs in with another phone")
        return operator

    def expire(self) -> None:
        self._cached.expire()

    async def _read(self) -> Mapping[UUID, Operator]:
        async with self._db.connection() as connection:
            operators = await store_access.active_operators(connection)
        return {operator.user_id: operator for operator in operators}

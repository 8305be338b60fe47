"""The public keys of a Supabase project: cached, read by one at a time, the last good ones kept."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from typing import Any, Final, cast

import jwt
import orjson
import structlog

from evpower.foundation.cache import TtlCache
from evpower.foundation.clock import Clock
from evpower.foundation.errors import Unavailable
from evpower.foundation.http import HttpClient, HttpError
from evpower.foundation.json_reader import read_object
from evpower.identity import metrics

FRESH_S: Final = 600.0  # as long as Supabase's edge caches them
STALE_S: Final = 1200.0  # older than this, a reader waits for one try to renew them
AGAIN_S: Final = 10.0  # between tries while Auth is down
UNKNOWN_S: Final = 5.0  # between readings caused by kids that are not in the set
_FIRST_AGAIN_S: Final = 5.0
_REMEMBERED: Final = 10_000  # kids that are not in the set
_REMEMBERED_S: Final = 600.0
_MAX_KID: Final = 255
_TIMEOUT_S: Final = 3.0
_MAX_BYTES: Final = 65_536
_MAX_KEYS: Final = 32
_RSA_MIN_BITS: Final = 2048
_NEVER: Final = float("-inf")

_log: Final = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A public key and the one algorithm it is good for."""

    kid: str
    algorithm: str  # ES256 or RS256
    key: Any  # what the cryptography package made of it
    source: bytes  # its JWK, to see changes


class UnreadKey(Unavailable):
    """A token's key is not in the set, which was read before the token came: try again soon."""

    is_expected = True

    def __init__(self, retry_after_s: int) -> None:
        super().__init__(
            "auth_unavailable",
            "the signing keys of Supabase were not read since this key was first seen",
            retry_after_s=retry_after_s,
        )


class Jwks:
    """Keys by kid. `on_loss` is called when a key left or changed: what it signed is void."""

    def __init__(
        self,
        *,
        url: str,
        http: HttpClient,
        clock: Clock,
        on_loss: Callable[[], None],
        timeout_s: float = _TIMEOUT_S,
    ) -> None:
        self._url = url
        self._http = http
        self._clock = clock
        self._timeout_s = timeout_s
        self._on_loss = on_loss
        self._keys: dict[str, SigningKey] | None = None
        self._fetched_at = _NEVER
        self._attempted_at = _NEVER
        self._running: asyncio.Task[None] | None = None
        self._begun = 0  # readings
        self._read = 0  # the newest of them that brought a set
        # How many readings had begun when a kid that is in no set was first seen.
        self._unknown = TtlCache[str, int](_REMEMBERED, lambda: clock().timestamp())

    async def find(self, kid: str) -> SigningKey | None:
        """Return the key, or None when Supabase doesn't have it: a set read since says so.

        Raises Unavailable("auth_unavailable") when no keys could ever be read, and UnreadKey while
        none was read since this kid was first seen: it may be of a key made since.
        """
        if len(kid) > _MAX_KID:
            return None
        seen = self._begun if kid in (self._keys or {}) else self._seen(kid)
        if self._keys is None:
            await self._first()
        elif self._clock().timestamp() - self._fetched_at >= STALE_S and self._may_retry():
            await self._refresh()
        else:
            self.keep_fresh()
        found = (self._keys or {}).get(kid)
        if found is None and (self._busy or self._since_attempt() >= UNKNOWN_S):
            await self._refresh()
            found = (self._keys or {}).get(kid)
        if found is None and self._read <= seen:
            raise UnreadKey(max(1, ceil(UNKNOWN_S - self._since_attempt())))
        return found

    def _seen(self, kid: str) -> int:
        """How many readings had begun when this kid was first seen."""
        number = self._unknown.get(kid)
        if number is None:
            number = self._begun
            self._remember(kid, number)
        return number

    def _remember(self, kid: str, number: int) -> None:
        expires_at = self._clock().timestamp() + _REMEMBERED_S
        self._unknown.put(kid, number, expires_at=expires_at)

    def keep_fresh(self) -> None:
        """Start reading them again, behind the caller's back, when they are old."""
        if self._keys is None or self._busy:
            return
        if self._clock().timestamp() - self._fetched_at >= FRESH_S and self._may_retry():
            self._start()

    def prefetch(self) -> None:
        """Start reading them, before the first token comes."""
        self._start()

    def expire(self) -> None:
        """Make the next `find` read them first; the old ones stay for when Auth is down."""
        self._fetched_at = self._attempted_at = _NEVER

    async def _first(self) -> None:
        if self._busy or self._since_attempt() >= _FIRST_AGAIN_S:
            await self._refresh()
        if self._keys is None:
            raise Unavailable(
                "auth_unavailable", "the signing keys of Supabase can't be read", retry_after_s=5
            )

    @property
    def _busy(self) -> bool:
        return self._running is not None and not self._running.done()

    def _since_attempt(self) -> float:
        return self._clock().timestamp() - self._attempted_at

    def _may_retry(self) -> bool:
        return self._since_attempt() >= AGAIN_S

    def _start(self) -> asyncio.Task[None]:
        if self._running is None or self._running.done():
            self._attempted_at = self._clock().timestamp()
            self._begun += 1
            self._running = asyncio.create_task(self._fetch(self._begun))
        return self._running

    async def _refresh(self) -> None:
        # Shielded: one caller going away must not end the reading for the others.
        await asyncio.shield(self._start())

    async def _fetch(self, number: int) -> None:
        try:
            answer = await self._http.fetch(
                "supabase_keys", "GET", self._url, timeout_s=self._timeout_s, max_bytes=_MAX_BYTES
            )
            if not answer.is_success:
                raise ValueError(f"HTTP {answer.status_code}")  # noqa: TRY301 - one way to fail
            found = read_keys(answer.content)
        except (HttpError, ValueError) as error:
            metrics.JWKS_FETCHES.labels("failed").inc()
            _log.warning("jwks_unreadable", error=f"{type(error).__name__}: {error}")
            return
        metrics.JWKS_FETCHES.labels("read").inc()
        before = self._keys or {}
        for kid in before.keys() - found.keys():  # known before this reading: it is gone for good
            self._remember(kid, number - 1)
        self._keys = found
        self._read = number
        self._fetched_at = self._clock().timestamp()
        if any(kid not in found or found[kid].source != key.source for kid, key in before.items()):
            _log.info("signing_keys_changed", kids=sorted(found))
            self._on_loss()


def read_keys(body: bytes) -> dict[str, SigningKey]:
    """Keys by kid of a JWK set (RFC 7517 5), without those we can't use. Raises ValueError."""
    listed: object = read_object(body, max_bytes=_MAX_BYTES).get("keys")
    if not isinstance(listed, list):
        raise ValueError("not a JWK set")  # noqa: TRY004 - the world's mistake, not a caller's
    found: dict[str, SigningKey] = {}
    for raw in cast("list[object]", listed)[:_MAX_KEYS]:
        key = _read_key(cast("dict[str, Any]", raw)) if isinstance(raw, dict) else None
        if key is not None:
            found[key.kid] = key
    return found


def _read_key(raw: dict[str, Any]) -> SigningKey | None:
    kid = raw.get("kid")
    if not isinstance(kid, str) or not kid or raw.get("use", "sig") != "sig":
        return None
    if raw.get("kty") == "EC" and raw.get("crv") == "P-256":
        algorithm = "ES256"
    elif raw.get("kty") == "RSA":
        algorithm = "RS256"
    else:
        return None
    if raw.get("alg", algorithm) != algorithm:
        return None
    public = {name: raw[name] for name in ("kty", "crv", "x", "y", "n", "e") if name in raw}
    try:
        key = jwt.PyJWK.from_dict(public, algorithm=algorithm).key
    except (jwt.PyJWTError, ValueError, TypeError, KeyError):
        return None
    if algorithm == "RS256" and key.key_size < _RSA_MIN_BITS:
        return None
    return SigningKey(kid, algorithm, key, orjson.dumps(public, option=orjson.OPT_SORT_KEYS))

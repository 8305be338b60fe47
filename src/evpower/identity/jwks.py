"""Caches a Supabase project's public signing keys: one read at a time, a failure keeps the set."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from typing import Any, Final, cast

import orjson
import structlog

from evpower.foundation.cache import TtlCache
from evpower.foundation.clock import Clock
from evpower.foundation.errors import Unavailable
from evpower.foundation.http import HttpClient, HttpError
from evpower.foundation.json_reader import read_object
from evpower.identity import metrics

REFRESH_AFTER_S: Final = 600.0  # as long as Supabase's CDN caches the keys
STALE_AFTER_S: Final = 1200.0  # beyond this age, a caller waits for one attempt to refresh
RETRY_S: Final = 10.0  # between attempts while Auth is down
UNKNOWN_KID_RETRY_S: Final = 5.0  # between reads caused by kids that are not in the set
_FIRST_RETRY_S: Final = 5.0
_MAX_UNKNOWN_KIDS: Final = 10_000
_UNKNOWN_KID_TTL_S: Final = 600.0
_MAX_KID: Final = 255
_TIMEOUT_S: Final = 3.0
_MAX_BYTES: Final = 65_536
_MAX_KEYS: Final = 32
_RSA_MIN_BITS: Final = 2048
_NEVER: Final = float("-inf")

_log: Final = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A public key and the only algorithm it is valid for."""

    kid: str
    algorithm: str  # ES256 or RS256
    key: Any  # a key object of the cryptography package
    source: bytes  # its JWK, to detect changes


class UnreadKey(Unavailable):
    """A token's key is not in the set, which was read before the token arrived: retry soon."""

    is_expected = True

    def __init__(self, retry_after_s: int) -> None:
        super().__init__(
            "auth_unavailable",
            "the signing keys of Supabase were not read since this key was first seen",
            retry_after_s=retry_after_s,
        )


class Jwks:
    """Keys by kid. `on_loss` is called when a key was removed or changed: its tokens are void."""

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
        self._started_reads = 0
        self._last_good_read = 0  # the number of the newest read that returned a set
        # How many reads had started when a kid that is in no set was first seen.
        self._unknown = TtlCache[str, int](_MAX_UNKNOWN_KIDS, lambda: clock().timestamp())

    async def find(self, kid: str) -> SigningKey | None:
        """Returns the key; None if a set read after the kid was first seen does not contain it.

        Raises Unavailable("auth_unavailable") if no keys could ever be read, and UnreadKey until a
        set is read after this kid was first seen, because the key may be newer than the cached set.
        """
        if len(kid) > _MAX_KID:
            return None
        seen = self._started_reads if kid in (self._keys or {}) else self._seen(kid)
        if self._keys is None:
            await self._read_first()
        elif self._clock().timestamp() - self._fetched_at >= STALE_AFTER_S and self._may_retry():
            await self._refresh()
        else:
            self.keep_fresh()
        key = (self._keys or {}).get(kid)
        if key is None and (self._busy or self._since_attempt() >= UNKNOWN_KID_RETRY_S):
            await self._refresh()
            key = (self._keys or {}).get(kid)
        if key is None and self._last_good_read <= seen:
            raise UnreadKey(max(1, ceil(UNKNOWN_KID_RETRY_S - self._since_attempt())))
        return key

    def _seen(self, kid: str) -> int:
        """Returns how many reads had started when this kid was first seen."""
        number = self._unknown.get(kid)
        if number is None:
            number = self._started_reads
            self._remember(kid, number)
        return number

    def _remember(self, kid: str, number: int) -> None:
        expires_at = self._clock().timestamp() + _UNKNOWN_KID_TTL_S
        self._unknown.put(kid, number, expires_at=expires_at)

    def keep_fresh(self) -> None:
        """Starts a refresh in the background if the keys are old."""
        if self._keys is None or self._busy:
            return
        if self._clock().timestamp() - self._fetched_at >= REFRESH_AFTER_S and self._may_retry():
            self._start()

    def prefetch(self) -> None:
        """Starts reading the keys before the first token arrives."""
        self._start()

    def expire(self) -> None:
        """Makes the next `find` read the keys; the old ones still serve if Auth is down."""
        self._fetched_at = self._attempted_at = _NEVER

    async def _read_first(self) -> None:
        if self._busy or self._since_attempt() >= _FIRST_RETRY_S:
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
        return self._since_attempt() >= RETRY_S

    def _start(self) -> asyncio.Task[None]:
        if self._running is None or self._running.done():
            self._attempted_at = self._clock().timestamp()
            self._started_reads += 1
            self._running = asyncio.create_task(self._fetch(self._started_reads))
        return self._running

    async def _refresh(self) -> None:
        # Shielded: a cancelled caller must not cancel the read of the others.
        await asyncio.shield(self._start())

    async def _fetch(self, number: int) -> None:
        try:
            response = await self._http.fetch(
                "supabase_keys", "GET", self._url, timeout_s=self._timeout_s, max_bytes=_MAX_BYTES
            )
            if not response.is_success:
                raise ValueError(f"HTTP {response.status_code}")  # noqa: TRY301 - one way to fail
            keys = read_keys(response.content)
        except (HttpError, ValueError) as error:
            metrics.JWKS_FETCHES.labels("failed").inc()
            _log.warning("jwks_read_failed", error=f"{type(error).__name__}: {error}")
            return
        metrics.JWKS_FETCHES.labels("read").inc()
        before = self._keys or {}
        for kid in before.keys() - keys.keys():  # known before this read, so it was removed
            self._remember(kid, number - 1)
        self._keys = keys
        self._last_good_read = number
        self._fetched_at = self._clock().timestamp()
        if any(kid not in keys or keys[kid].source != key.source for kid, key in before.items()):
            _log.info("signing_keys_changed", kids=sorted(keys))
            self._on_loss()


def read_keys(body: bytes) -> dict[str, SigningKey]:
    """Returns the usable keys of a JWK set (RFC 7517 5) by kid. Raises ValueError."""
    listed: object = read_object(body, max_bytes=_MAX_BYTES).get("keys")
    if not isinstance(listed, list):
        raise ValueError("not a JWK set")  # noqa: TRY004 - the response is wrong, not the caller
    keys: dict[str, SigningKey] = {}
    for raw in cast("list[object]", listed)[:_MAX_KEYS]:
        key = _read_key(cast("dict[str, Any]", raw)) if isinstance(raw, dict) else None
        if key is not None:
            keys[key.kid] = key
    return keys


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
    import jwt  # only where tokens are verified

    public = {name: raw[name] for name in ("kty", "crv", "x", "y", "n", "e") if name in raw}
    try:
        key = jwt.PyJWK.from_dict(public, algorithm=algorithm).key
    except (jwt.PyJWTError, ValueError, TypeError, KeyError):
        return None
    if algorithm == "RS256" and key.key_size < _RSA_MIN_BITS:
        return None
    return SigningKey(kid, algorithm, key, orjson.dumps(public, option=orjson.OPT_SORT_KEYS))

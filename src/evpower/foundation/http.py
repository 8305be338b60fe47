"""Every HTTP call that leaves the process goes through `HttpClient.fetch`, and is bounded there.

HttpError
├── RequestNotSent        no byte of the request left: certainly nothing was done
└── OutcomeUnknown        no whole response: the request may or may not have been carried out
    └── ResponseTooLarge  more than the caller reads, before or after decompression
"""

import asyncio
import ssl
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from time import perf_counter
from types import TracebackType
from typing import Any, Final, Literal, Self, cast
from urllib.parse import urlsplit

import httpx
import orjson
from prometheus_client import Histogram

from evpower import __version__
from evpower.foundation.json_reader import read_json
from evpower.foundation.public_address import public_address

Target = Literal[
    "supabase_rest", "supabase_auth", "supabase_keys", "payment_provider", "alert_webhook",
    "push", "sms", "devstack",
]  # fmt: skip
_SUPABASE: Final[frozenset[Target]] = frozenset({"supabase_rest", "supabase_auth", "supabase_keys"})
# Their addresses come from strangers. Nothing is sent to a host with an address inside a network;
# through a proxy, that is the proxy's to refuse.
_OF_STRANGERS: Final[frozenset[Target]] = frozenset({"push"})
MAX_RESPONSE_BYTES: Final = 16 * 1024 * 1024
_CONNECT_S: Final = 2.0  # TCP and TLS each
# Of the time that is left: httpcore closes a socket whose handshake timed out, not one whose
# handshake was cancelled by the total time.
_CONNECT_SHARE: Final = 0.45
_CONNECTIONS: Final = 50  # of one target
_HTTPS_PORT: Final = 443
# Calls wait for a connection here, never in httpcore's pool: a call that is cancelled there can
# occupy its place in the pool for good (1.0.9).
_LIMITS: Final = httpx.Limits(
    max_connections=None, max_keepalive_connections=20, keepalive_expiry=20
)
_NOT_SENT: Final = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
    httpx.LocalProtocolError,
    httpx.InvalidURL,
)
_HEADERS: Final = {
    "Accept": "*/*",
    "Accept-Encoding": "gzip",
    "User-Agent": f"evpower/{__version__}",
}
# Some pass the libraries unchanged: TLS alerts, a port beyond 65535, a header in Cyrillic.
_FAILURES: Final = (
    httpx.HTTPError,
    httpx.InvalidURL,
    OSError,
    ValueError,
    OverflowError,
    ExceptionGroup,
)
_REQUEST_BEGINS: Final = "http11.send_request_headers.started"
_SUCCESS: Final = range(200, 300)
_CLIENT_ERRORS: Final = range(400, 500)

SECONDS: Final = Histogram(
    "evpower_http_client_seconds",
    "Outgoing HTTP calls until the whole response was read, by target and outcome",
    ("target", "outcome"),  # outcome: 2xx ... 5xx, or an HttpError.outcome, or cancelled
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30),
)


class HttpError(Exception):
    """An outgoing call without a response; only subclasses are raised."""

    outcome = "lost"


class RequestNotSent(HttpError):
    """No connection, or no place in the pool: the other side has received nothing."""

    outcome = "not_sent"


class OutcomeUnknown(HttpError):
    """The request was sent, or a part of it, and no complete response could be read.

    `connection_lost`: the other side closed it, as a server does with an idle connection.
    """

    outcome = "unreadable"

    def __init__(self, detail: str, *, connection_lost: bool = False) -> None:
        super().__init__(detail)
        self.connection_lost = connection_lost
        if connection_lost:
            self.outcome = "lost"


class _TimedOut(OutcomeUnknown):
    outcome = "timeout"


class ResponseTooLarge(OutcomeUnknown):
    """The response was not read completely: it is larger than the caller allows."""

    outcome = "too_large"


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """A complete response; header names are matched in any case."""

    status_code: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def is_success(self) -> bool:
        """Whether the status is 2xx."""
        return self.status_code in _SUCCESS

    @property
    def is_client_error(self) -> bool:
        """Whether the status is 4xx."""
        return self.status_code in _CLIENT_ERRORS

    @property
    def text(self) -> str:
        """The content as UTF-8; invalid bytes are replaced."""
        return self.content.decode(errors="replace")

    def retry_after_s(self, now: datetime) -> float | None:
        """Returns the seconds of Retry-After (RFC 9110, 10.2.3), a number or a date; None: none."""
        value = self.headers.get("retry-after", "").strip()
        if value.isdecimal() and value.isascii():
            return float(value[:9])
        at = _moment(value)
        return None if at is None else max(0.0, (at - now).total_seconds())

    @property
    def date(self) -> datetime | None:
        """The moment of the header Date, aware; None: it has none, or none that can be read."""
        return _moment(self.headers.get("date", ""))

    def json(self) -> Any:  # noqa: ANN401 - JSON
        """The parsed content. Raises NotJson."""
        return read_json(self.content)


def _moment(text: str) -> datetime | None:
    """Returns the moment of an HTTP date (RFC 9110, 5.6.7), aware; None: it is none."""
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


class HttpClient:
    """HTTP/1.1 without redirects or environment proxies; each target has its own connections."""

    def __init__(
        self,
        *,
        supabase_ca: str = "",
        proxy: str = "",
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """`supabase_ca`: path of a PEM file, the only authority trusted for Supabase then.

        `proxy`: http://[user:password@]host:port, for every call except the devstack's. Raises
        ValueError, which never quotes the proxy.
        """
        self._proxy = _proxy(proxy)
        self._supabase_tls = _own_authority(supabase_ca) if supabase_ca else None
        self._transport = transport
        self._clients: dict[Target, httpx.AsyncClient] = {}
        self._free: dict[Target, asyncio.Semaphore] = {}
        self._tls: ssl.SSLContext | None = None
        self._closed = False

    async def fetch(
        self,
        target: Target,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        json: object = None,
        timeout_s: float,
        max_bytes: int = MAX_RESPONSE_BYTES,
    ) -> HttpResponse:
        """Returns the complete response; `timeout_s` covers everything until then.

        Raises RequestNotSent, OutcomeUnknown, ResponseTooLarge. Any status is a response.
        """
        sent = _Sent()
        outcome = "cancelled"
        started = perf_counter()
        deadline = asyncio.get_running_loop().time() + timeout_s
        try:
            all_headers = httpx.Headers({**_HEADERS, **(headers or {})})
            if json is not None:
                content = orjson.dumps(json)
                all_headers.setdefault("Content-Type", "application/json")
            request = httpx.Request(method, url, headers=all_headers, content=content)
            request.extensions["trace"] = sent.trace
            async with asyncio.timeout_at(deadline), self._slots(target):
                if target in _OF_STRANGERS and self._proxy is None:
                    await _pin(request)
                request.extensions["timeout"] = _timeouts(deadline)
                response = await _exchange(self._client(target), request, max_bytes)
            outcome = f"{response.status_code // 100}xx"
        except HttpError as error:
            outcome = error.outcome
            raise
        except _FAILURES as error:
            failure = _failure(error, timeout_s, sent=sent.begun)
            outcome = failure.outcome
            # The library quotes the header it does not send, which may be a key.
            raise failure from None if isinstance(error, httpx.LocalProtocolError) else error
        else:
            return response
        finally:
            SECONDS.labels(target, outcome).observe(perf_counter() - started)

    async def aclose(self) -> None:
        """Closes every connection; later calls are not sent."""
        self._closed = True
        for client in self._clients.values():
            await client.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    def _client(self, target: Target) -> httpx.AsyncClient:
        if self._closed:
            raise RequestNotSent("the HTTP client is closed")
        client = self._clients.get(target)
        if client is None:
            # A target that hangs can't use up the connections of another.
            client = self._clients[target] = httpx.AsyncClient(
                http2=False,
                verify=self._tls_context(target),
                proxy=None if target == "devstack" else self._proxy,
                limits=_LIMITS,
                follow_redirects=False,
                trust_env=False,
                transport=self._transport,
            )
        return client

    def _tls_context(self, target: Target) -> ssl.SSLContext:
        if self._supabase_tls is not None and target in _SUPABASE:
            return self._supabase_tls
        if self._tls is None:
            self._tls = httpx.create_ssl_context(trust_env=False)
        return self._tls

    def _slots(self, target: Target) -> asyncio.Semaphore:
        return self._free.setdefault(target, asyncio.Semaphore(_CONNECTIONS))


def _own_authority(path: str) -> ssl.SSLContext:
    try:
        text = Path(path).read_text()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "no text"
        raise ValueError(f"EVPOWER_SUPABASE_CA: {path} can't be read: {why}") from error
    try:
        # An empty text would load the authorities of the machine.
        return ssl.create_default_context(cadata=text if text.strip() else "-")
    except (ssl.SSLError, ValueError) as error:
        raise ValueError(f"EVPOWER_SUPABASE_CA: {path} holds no certificate in PEM form") from error


def _proxy(url: str) -> httpx.Proxy | None:
    if not url:
        return None
    try:
        parts = urlsplit(url)
        fits = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
        if fits and parts.path in {"", "/"}:
            return httpx.Proxy(url)
    except (ValueError, httpx.InvalidURL):
        pass
    raise ValueError(
        "EVPOWER_HTTP_PROXY must read http://host:3128 or http://user:password@host:3128"
    )


class _Sent:
    """Records when the first byte of a request leaves; a proxy's CONNECT is not the request."""

    def __init__(self) -> None:
        self.begun = False

    async def trace(self, event: str, info: Mapping[str, Any]) -> None:
        if event == _REQUEST_BEGINS and info["request"].method != b"CONNECT":
            self.begun = True


async def _pin(request: httpx.Request) -> None:
    """Directs a request to an address of its host that was looked at; TLS still checks the name.

    Without keep-alive: a later request to this address may be for another name.
    """
    host = request.url.host
    address = await public_address(host, request.url.port or _HTTPS_PORT)
    request.url = request.url.copy_with(host=address)
    request.extensions["sni_hostname"] = host
    request.headers["Connection"] = "close"


def _timeouts(deadline: float) -> Mapping[str, float | None]:
    """Returns the time-outs of the steps; together they are bounded by the deadline."""
    left_s = max(0.001, deadline - asyncio.get_running_loop().time())
    connect_s = min(_CONNECT_S, left_s * _CONNECT_SHARE)
    return httpx.Timeout(left_s, connect=connect_s).as_dict()


async def _exchange(
    client: httpx.AsyncClient, request: httpx.Request, max_bytes: int
) -> HttpResponse:
    response = await client.send(request, stream=True)
    try:
        content = await _read(response, max_bytes)
    finally:
        await response.aclose()
    return HttpResponse(response.status_code, response.headers, content)


def _failure(error: Exception, timeout_s: float, *, sent: bool) -> HttpError:
    detail = f"{type(error).__name__}: {error}".rstrip(": ")
    if isinstance(error, httpx.LocalProtocolError):
        detail = "LocalProtocolError: a header or the address can't be sent"
    timed_out = isinstance(error, TimeoutError | httpx.TimeoutException)
    if isinstance(error, _NOT_SENT) or not (sent or isinstance(error, httpx.HTTPError)):
        return RequestNotSent(f"no connection in {timeout_s:g} s" if timed_out else detail)
    if timed_out:
        return _TimedOut(f"Timeout: no whole response in {timeout_s:g} s")
    return OutcomeUnknown(detail, connection_lost=True)


async def _read(response: httpx.Response, max_bytes: int) -> bytes:
    """Returns the decoded content, bounded while it decompresses, as httpx's decoder is not."""
    declared = response.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > max_bytes:
        raise ResponseTooLarge(f"a response of {declared} bytes, at most {max_bytes} are read")
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in {"identity", "", "gzip", "x-gzip"}:
        raise OutcomeUnknown(f"a response in the encoding {encoding[:20]!r}")
    gzip = zlib.decompressobj(wbits=31)
    is_gzip = encoding.endswith("gzip")
    content, received = bytearray(), 0
    async for chunk in cast("httpx.AsyncByteStream", response.stream):
        received += len(chunk)
        try:
            # A length of 0 would mean "no limit": one byte more than allowed is enough to refuse.
            content += gzip.decompress(chunk, max_bytes + 1 - len(content)) if is_gzip else chunk
        except zlib.error as error:
            raise OutcomeUnknown(f"a response that can't be decompressed: {error}") from error
        if max(received, len(content)) > max_bytes:
            raise ResponseTooLarge(f"a response of more than {max_bytes} bytes")
    if is_gzip and received and not gzip.eof:
        raise OutcomeUnknown("a compressed response without its end")
    return bytes(content)

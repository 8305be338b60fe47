"""The one shared HTTP client of a process."""

import httpx


def new_http_client() -> httpx.AsyncClient:
    """HTTP/1.1, keep-alive below any edge's, connect 2 s, read 5 s, no redirects or proxies."""
    return httpx.AsyncClient(
        http2=False,
        timeout=httpx.Timeout(5.0, connect=2.0),
        limits=httpx.Limits(max_connections=50, max_keepalive_connections=20, keepalive_expiry=20),
        follow_redirects=False,
        trust_env=False,
    )

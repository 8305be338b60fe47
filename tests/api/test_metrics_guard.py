"""/metrics is for those who may read it, and many scrapes cost the database little."""

import httpx
import pytest
from starlette.requests import Request

from evpower.api.metrics_guard import MetricsGuard
from evpower.foundation.db import Database
from evpower.foundation.errors import Unauthenticated
from tests.api.scenario import running_api


def asking(host: str | None, **headers: str) -> Request:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    client = (host, 1) if host is not None else None
    return Request({"type": "http", "headers": raw, "client": client})


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"])
def test_this_machine_may_read_without_a_token(host: str) -> None:
    MetricsGuard("", only_here=True).check(asking(host))


@pytest.mark.parametrize(
    "request_",
    [
        asking("203.0.113.9"),
        asking("10.0.0.1"),
        asking("172.18.0.1"),
        asking(""),
        asking(None),
        asking("/run/socket"),
        asking("127.0.0.1", x_forwarded_for="127.0.0.1"),
        asking("127.0.0.1", forwarded="for=127.0.0.1"),
        asking("127.0.0.1", x_real_ip="203.0.113.9"),
        asking("203.0.113.9", x_forwarded_for="127.0.0.1"),
        asking("127.0.0.1", via="1.1 proxy"),
    ],
)
def test_another_needs_one(request_: Request) -> None:
    with pytest.raises(Unauthenticated):
        MetricsGuard("", only_here=True).check(request_)
    with pytest.raises(Unauthenticated):
        MetricsGuard("secret", only_here=True).check(request_)


def test_with_a_token_this_machine_needs_it_too() -> None:
    guard = MetricsGuard("secret", only_here=True)
    guard.check(asking("203.0.113.9", authorization="Bearer secret"))
    for wrong in ("Bearer Secret", "secret", "Bearer ", ""):
        with pytest.raises(Unauthenticated):
            guard.check(asking("127.0.0.1", authorization=wrong))


@pytest.mark.parametrize(("env", "status"), [("production", 401), ("development", 200)])
async def test_production_is_closed_and_development_open(
    db: Database, env: str, status: int
) -> None:
    async with running_api(db, env=env) as api:
        outside = httpx.ASGITransport(api.app, client=("203.0.113.9", 1))
        async with httpx.AsyncClient(transport=outside, base_url="http://api") as http:
            response = await http.get("/metrics")
        assert response.status_code == status
        assert ("evpower_http" in response.text) == (status == 200)
        assert (await api.get("/metrics")).status_code == 200  # 127.0.0.1


async def test_the_database_is_asked_once_for_many_scrapes(db: Database) -> None:
    collected: list[int] = []

    async def collect() -> None:
        collected.append(1)

    async with running_api(db, collectors=[collect]) as api:
        for _ in range(5):
            assert (await api.get("/metrics")).status_code == 200
        assert len(collected) == 1
        api.now_s.at_s += 3
        assert (await api.get("/metrics")).status_code == 200
        assert len(collected) == 2

"""The client of Supabase's functions: its headers, what it makes of each answer."""

from collections.abc import Callable
from uuid import uuid4

import httpx
import pytest

from evpower.config import Settings
from evpower.foundation.clock import utc_now
from evpower.foundation.db import Database
from evpower.foundation.http import HttpClient
from evpower.sync import Relay, SupabaseRpc, SyncError, TargetRefuses, TargetUnavailable
from evpower.sync.errors import TooLarge
from evpower.sync.outbound.judge import parse_results
from tests.sync.scenario import Scenario

KEYS = {"keys": [["client", str(uuid4()), "applied", None]]}
LEGACY_KEY = "eyJhbGciOiJIUzI1NiJ9.eyJyb2xlIjoic2VydmljZV9yb2xlIn0.c2ln"


def rpc(answer: Callable[[httpx.Request], httpx.Response], key: str = "sb_secret_1") -> SupabaseRpc:
    http = HttpClient(transport=httpx.MockTransport(answer))
    return SupabaseRpc(http, "https://project.supabase.co/", key)


async def test_secret_key_goes_in_apikey_alone() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        assert str(request.url) == "https://project.supabase.co/rest/v1/rpc/evpower_apply"
        assert request.headers["apikey"] == "sb_secret_1"
        assert "authorization" not in request.headers
        return httpx.Response(200, json=KEYS)

    assert await rpc(answer).call("evpower_apply", b"{}") == KEYS


async def test_legacy_service_key_is_a_bearer_too() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        assert request.headers["authorization"] == f"Bearer {LEGACY_KEY}"
        assert request.headers["apikey"] == LEGACY_KEY
        return httpx.Response(200, json=KEYS)

    assert await rpc(answer, LEGACY_KEY).call("evpower_apply", b"{}") == KEYS


@pytest.mark.parametrize(
    "response",
    [
        httpx.Response(200, json=KEYS),
        httpx.Response(200, json=[KEYS]),
        httpx.Response(200, json=httpx.Response(200, json=KEYS).text),
        httpx.Response(200, json=[{"evpower_apply": KEYS}]),
    ],
)
async def test_every_form_of_the_answer_is_read(response: httpx.Response) -> None:
    assert await rpc(lambda _: response).call("evpower_apply", b"{}") == KEYS


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (401, "", TargetRefuses),
        (403, "42501", TargetRefuses),
        (404, "PGRST202", TargetRefuses),
        (400, "22023", TargetRefuses),
        (302, "", TargetRefuses),
        (400, "40P01", TargetUnavailable),
        (409, "", TargetUnavailable),
        (429, "", TargetUnavailable),
        (500, "57014", TargetUnavailable),
        (503, "PGRST002", TargetUnavailable),
        (544, "", TargetUnavailable),
        (413, "", TooLarge),
    ],
)
async def test_each_failure_has_its_kind(status: int, code: str, kind: type[SyncError]) -> None:
    response = httpx.Response(status, json={"code": code, "message": "m"})
    with pytest.raises(kind):
        await rpc(lambda _: response).call("evpower_apply", b"{}")


@pytest.mark.parametrize(
    "raw", [None, 1, [], {}, {"keys": 1}, {"keys": [1]}, {"keys": [["a", "b"]]}]
)
def test_an_answer_in_another_form_did_not_come(raw: object) -> None:
    with pytest.raises(TargetUnavailable):
        parse_results(raw)


async def test_gateway_with_a_small_limit_gets_smaller_calls(
    db: Database, scenario: Scenario, settings: Settings
) -> None:
    sizes: list[int] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sizes.append(len(request.content))
        return httpx.Response(413)

    relay = Relay(db, rpc(answer), settings, utc_now)
    await scenario.top_up_everyone(await scenario.clients(40), 3)
    for _ in range(4):
        await relay.run_once()
        await scenario.db.execute("update sync.pending set next_at = now()")
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] < sizes[0] / 6

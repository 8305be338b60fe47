"""Hot paths answer what the routes of the same path answer."""

from uuid import UUID, uuid4

import pytest

from evpower.foundation.db import Connection
from tests.api.scenario import Api, bearer
from tests.charging.money import top_up

# The same request twice: as phones send it, and in a form only the router takes.
SAME_REQUESTS = [
    ("/api/v1/balance/{}", "/api/v1/balance/{}?unknown=1"),
    ("/api/v1/balance/history/{}", "/api/v1/balance/history/{}?unknown=1"),
    ("/api/v1/balance/history/{}?limit=2", "/api/v1/balance/history/{}?limit=2&unknown=1"),
    ("/api/v1/charging/history/{}", "/api/v1/charging/history/{}?unknown=1"),
    ("/api/v1/charging/history/{}?limit=7", "/api/v1/charging/history/{}?limit=7&unknown=1"),
]


@pytest.mark.parametrize(("fast", "routed"), SAME_REQUESTS)
@pytest.mark.parametrize("caller", ["the client", "another client", "anonymous", "an operator"])
async def test_both_ways_answer_the_same(
    api: Api, owner: Connection, client_id: UUID, fast: str, routed: str, caller: str
) -> None:
    for _ in range(3):
        await top_up(owner, client_id, 100)
    headers = {
        "the client": bearer(client_id),
        "another client": bearer(uuid4()),
        "anonymous": {},
        "an operator": api.operator,
    }[caller]
    first = await api.get(fast.format(client_id), headers)
    second = await api.get(routed.format(client_id), headers)
    assert first.status_code == second.status_code
    assert first.content == second.content
    assert first.headers.get("link") == second.headers.get("link")
    assert first.headers["content-type"] == second.headers["content-type"]


async def test_hot_requests_are_counted_under_their_route(api: Api, client_id: UUID) -> None:
    await api.get(f"/api/v1/balance/{client_id}", bearer(client_id))
    metrics = (await api.get("/metrics")).text
    assert 'route="/api/v1/balance/{client_id}"' in metrics
    assert str(client_id) not in metrics

"""POST /api/v1/payment/webhook/{provider}, over a real socket."""

import asyncio
from typing import Any
from uuid import UUID

import httpx
import orjson
import pytest

from evpower.foundation.db import Connection
from evpower.foundation.standard_webhooks import sign
from tests.payments.conftest import SECRET, Scenario, payment


def fact(order_id: str, **changes: Any) -> bytes:
    facts = {"ref": "r1", "order_id": order_id, "status": "approved", "paid": 10_000}
    return orjson.dumps(facts | {"currency": "KGS", "refunded": 0} | changes)


async def send(
    scenario: Scenario,
    raw: bytes,
    *,
    event_id: str = "evt_1",
    secret: str = SECRET,
    age_s: int = 0,
    provider: str = "sandbox",
    headers: dict[str, str] | None = None,
) -> httpx.Response:
    timestamp = int(scenario.clock().timestamp()) - age_s
    signed = {
        "webhook-id": event_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": sign(secret.encode(), event_id, timestamp, raw),
    }
    url = f"{scenario.api.url}/api/v1/payment/webhook/{provider}"
    return await scenario.http.post(
        url, content=raw, headers=signed if headers is None else headers
    )


async def test_signed_webhook_credits(
    scenario: Scenario, owner: Connection, client_id: UUID
) -> None:
    raw = fact(await payment(owner, client_id))
    answer = await send(scenario, raw)
    assert answer.status_code == 200
    body = answer.json()
    assert (body["status"], body["provider"], body["outcome"]) == (
        "received",
        "sandbox",
        "confirmed",
    )
    assert body["invoice_id"].startswith("inv-")
    again = await send(scenario, raw)
    assert (again.status_code, again.json()["outcome"]) == (200, "repeated")
    assert await scenario.balance() == 10_000


async def test_fifty_at_once_credit_once(
    scenario: Scenario, owner: Connection, client_id: UUID
) -> None:
    raw = fact(await payment(owner, client_id))
    answers = await asyncio.gather(*(send(scenario, raw) for _ in range(50)))
    assert {answer.status_code for answer in answers} == {200}
    outcomes = [answer.json()["outcome"] for answer in answers]
    assert (outcomes.count("confirmed"), outcomes.count("repeated")) == (1, 49)
    assert await scenario.balance() == 10_000


async def test_refusals_leave_no_trace(
    scenario: Scenario, owner: Connection, client_id: UUID
) -> None:
    raw = fact(await payment(owner, client_id))
    for how, status, code in [
        ({"secret": "forged"}, 401, "invalid_signature"),
        ({"headers": {}}, 401, "invalid_signature"),
        ({"age_s": 301}, 401, "stale_webhook"),
        ({"provider": "no-such-provider"}, 404, "provider_not_found"),
        ({"provider": "manual"}, 404, "provider_not_found"),
    ]:
        answer = await send(scenario, raw, **how)
        assert (answer.status_code, answer.json()["error"]) == (status, code)
    nonsense = await send(scenario, b"[1]")
    assert (nonsense.status_code, nonsense.json()["error"]) == (422, "invalid_webhook")
    assert await owner.fetchval("select count(*) from payments.events") == 0
    assert await scenario.balance() == 0


@pytest.mark.parametrize("size", [256 * 1024 + 1, 10 * 1024 * 1024])
async def test_huge_webhook_is_refused_unread(scenario: Scenario, size: int) -> None:
    answer = await send(scenario, b"x" * size)
    assert (answer.status_code, answer.json()["error"]) == (413, "too_large")


async def test_huge_webhook_without_a_length_is_cut(scenario: Scenario) -> None:
    async def endless() -> Any:
        for _ in range(100):
            yield b"x" * 10_000

    url = f"{scenario.api.url}/api/v1/payment/webhook/sandbox"
    answer = await scenario.http.post(url, content=endless())
    assert answer.status_code == 413


async def test_an_unknown_order_is_accepted_with_status_200(scenario: Scenario) -> None:
    answer = await send(scenario, fact("no-such-order"))
    assert (answer.status_code, answer.json()["status"]) == (200, "payment_not_found")


async def test_a_mismatch_is_accepted_but_not_credited(
    scenario: Scenario, owner: Connection, client_id: UUID
) -> None:
    answer = await send(scenario, fact(await payment(owner, client_id), paid=1))
    assert (answer.status_code, answer.json()["outcome"]) == (200, "review")
    assert await scenario.balance() == 0


async def test_with_the_database_down_the_provider_must_retry(
    scenario: Scenario, owner: Connection, client_id: UUID
) -> None:
    raw = fact(await payment(owner, client_id))
    await scenario.db.close()
    answer = await send(scenario, raw)
    assert answer.status_code == 503
    await scenario.db.start()
    assert (await send(scenario, raw)).json()["outcome"] == "confirmed"


@pytest.mark.parametrize("good_at", [0, 1])
async def test_signatures_in_two_lines_are_read_together(
    scenario: Scenario, owner: Connection, client_id: UUID, good_at: int
) -> None:
    raw = fact(await payment(owner, client_id))
    timestamp = int(scenario.clock().timestamp())
    values = ["v1,AAAA"]
    values.insert(good_at, sign(SECRET.encode(), "evt_1", timestamp, raw))
    headers = [("webhook-id", "evt_1"), ("webhook-timestamp", str(timestamp))]
    answer = await scenario.http.post(
        f"{scenario.api.url}/api/v1/payment/webhook/sandbox",
        content=raw,
        headers=[*headers, *(("webhook-signature", value) for value in values)],
    )
    assert (answer.status_code, answer.json()["outcome"]) == (200, "confirmed")

"""Whose a payment is: its own client ends it or has it asked about, operators and keys do not."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from evpower.foundation.db import Connection, Database
from evpower.identity import ROLES, add_operator, add_without_token
from evpower.payments.top_up import MAX_OPEN, MAX_OPEN_WITHOUT_TOKEN
from tests.api.scenario import bearer
from tests.old_api.whole import FAMILIES, Walk, walking
from tests.payments.conftest import payment

SWITCHES = {"without_token_mobile": "read,top-up", "without_token_v1": "read,top-up"}


@pytest.fixture(params=FAMILIES)
async def walk(
    request: pytest.FixtureRequest, db: Database, owner: Connection, tmp_path: Path
) -> AsyncIterator[Walk]:
    async with walking(request.param, db, owner, tmp_path, **SWITCHES) as walk:
        yield walk


async def bill(walk: Walk, client: UUID) -> dict[str, Any]:
    begun = await walk.call("POST", "/balance/topup-qr", client, json={"amount": 100})
    return begun.json()


async def cancel(walk: Walk, bill: dict[str, Any], **more: Any) -> httpx.Response:
    return await walk.call("POST", f"/payment/cancel/{bill['invoice_id']}", **more)


async def status(walk: Walk) -> tuple[str, bool]:
    """Returns the payment's status, and whether the bank is to be asked at once."""
    stored = await walk.ride.owner.fetchrow(
        "select status, ask_at is not null as is_asked from payments.payments"
    )
    assert stored is not None
    return stored["status"], stored["is_asked"]


async def list_client(walk: Walk, client: UUID) -> None:
    async with walk.api.db.transaction() as connection:
        await add_without_token(connection, [str(client)], actor="test", reason="proxy log")


@pytest.mark.parametrize("name", ["cancel", "status-check"])
async def test_operators_and_keys_of_other_systems_neither_end_nor_check_a_payment(
    walk: Walk, name: str
) -> None:
    callers = [walk.api.service]
    for role in ROLES:
        user = uuid4()
        async with walk.api.db.transaction() as connection:
            await add_operator(connection, user_id=user, name="Aida", role=role, actor="test")
        callers.append(bearer(user))
    begun = await bill(walk, await walk.driver())
    for invoice in (begun["invoice_id"], "nothing"):
        for headers in callers:
            answer = await walk.call("POST", f"/payment/{name}/{invoice}", headers=headers)
            assert answer.status_code == 403, answer.text
            assert "forbidden" in (answer.json().get("error_code"), answer.json()["error"])
    assert await status(walk) == ("processing", False)


async def test_without_a_token_only_a_listed_client_s_payment_is_ended(walk: Walk) -> None:
    client = await walk.driver()
    begun = await bill(walk, client)
    refused = await cancel(walk, begun)
    assert refused.status_code == 401
    assert str(client) not in refused.text
    assert await status(walk) == ("processing", False)
    await list_client(walk, client)
    assert (await cancel(walk, begun)).json()["success"] is True
    assert await status(walk) == ("canceled", False)


async def test_without_a_token_no_call_by_an_invoice_tells_whose_it_is(walk: Walk) -> None:
    client = await walk.driver()
    begun = await bill(walk, client)
    for method, name in (("GET", "status"), ("GET", "h2h-status"), ("POST", "status-check")):
        answer = await walk.call(method, f"/payment/{name}/{begun['invoice_id']}")
        assert answer.json()["success"] is True
        assert str(client) not in answer.text


async def ask(walk: Walk, client: UUID, *, with_token: bool) -> httpx.Response:
    """Asks for a QR of the client."""
    body = {"client_id": str(client), "amount": 10}
    caller = client if with_token else None
    return await walk.call("POST", "/balance/topup-qr", caller, json=body)


async def shown(walk: Walk) -> list[str]:
    """Returns the invoices whose QR an app still shows."""
    rows = await walk.ride.owner.fetch(
        "select invoice_id from payments.payments where expires_at > $1 order by id",
        walk.api.clock(),
    )
    return [row["invoice_id"] for row in rows]


class TestTopUpsWithoutAToken:
    async def test_hide_only_each_other(self, walk: Walk) -> None:
        client = await walk.driver()
        await list_client(walk, client)
        own = (await ask(walk, client, with_token=True)).json()["invoice_id"]
        first = (await ask(walk, client, with_token=False)).json()["invoice_id"]
        assert await shown(walk) == [own, first]
        second = (await ask(walk, client, with_token=False)).json()["invoice_id"]
        assert await shown(walk) == [own, second]
        newer = (await ask(walk, client, with_token=True)).json()["invoice_id"]
        assert await shown(walk) == [newer]

    async def test_have_a_small_number_of_their_own(self, walk: Walk) -> None:
        client = await walk.driver()
        await list_client(walk, client)
        for _ in range(MAX_OPEN - 1):
            await payment(walk.ride.owner, client)
        begun = [
            await ask(walk, client, with_token=False) for _ in range(MAX_OPEN_WITHOUT_TOKEN + 1)
        ]
        codes = [answer.status_code for answer in begun]
        assert codes == [200] * MAX_OPEN_WITHOUT_TOKEN + [429]
        assert "too_many_unpaid" in begun[-1].text
        assert begun[-1].headers["retry-after"] == "3600"
        own = [(await ask(walk, client, with_token=True)).status_code for _ in range(2)]
        assert own == [200, 429]

    async def test_go_on_once_one_is_closed(self, walk: Walk) -> None:
        client = await walk.driver()
        await list_client(walk, client)
        begun = [await ask(walk, client, with_token=False) for _ in range(MAX_OPEN_WITHOUT_TOKEN)]
        assert (await ask(walk, client, with_token=False)).status_code == 429
        assert (await cancel(walk, begun[0].json())).json()["success"] is True
        assert (await ask(walk, client, with_token=False)).json()["success"] is True

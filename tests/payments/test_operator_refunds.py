"""Refunds to the driver's bank by the operator API: the use case of the command, and who may."""

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import pytest

from evpower.foundation.db import Connection
from evpower.identity import add_operator
from tests.api.operator_scenario import OperatorApi, running_operator_api
from tests.api.scenario import bearer
from tests.payments.conftest import SECRET, Scenario

KEY = "request 88/1"


@pytest.fixture
async def operators(scenario: Scenario) -> AsyncIterator[OperatorApi]:
    """The API of operators beside that of drivers, with the same bank."""
    bank = {"sandbox_url": scenario.bank.url, "sandbox_secret": SECRET}
    async with running_operator_api(scenario.db, payment_qr_provider="sandbox", **bank) as api:
        yield api


@pytest.fixture
async def paid(scenario: Scenario) -> dict[str, Any]:
    begun = await scenario.top_up(100)
    await scenario.pay(begun)
    await scenario.until_approved(begun)
    return begun


def order(amount: Any = 30.5, key: str = KEY) -> dict[str, Any]:
    return {"amount": amount, "key": key, "reason": "asked by phone"}


async def test_a_part_is_returned_once_by_finance_alone(
    scenario: Scenario, operators: OperatorApi, paid: dict[str, Any], owner: Connection
) -> None:
    path = f"/payments/{paid['invoice_id']}/bank-refunds"
    for role in ("viewer", "support", "operator", "admin"):
        await operators.call("POST", path, role, json=order(), expect=403)
    assert await scenario.balance() == 10_000

    once = {"Idempotency-Key": "one-tap"}
    done = await operators.call("POST", path, "finance", json=order(), headers=once)
    assert (done["state"], done["amount"], done["key"]) == ("returned", 30.5, KEY)
    assert done["actor"] == f"operator:{operators.users['finance']}"
    assert await operators.call("POST", path, "finance", json=order(), headers=once) == done
    assert await operators.call("POST", path, "finance", json=order()) == done
    assert await scenario.balance() == 6_950
    payment = f"payment:{paid['invoice_id']}"
    assert await operators.acts(payment) == ["payments.refund_at_bank"]
    returned = await owner.fetch("select amount_minor from payments.bank_refunds")
    assert [row["amount_minor"] for row in returned] == [3_050]


async def test_refusals_are_those_of_the_command(
    operators: OperatorApi, paid: dict[str, Any]
) -> None:
    path = f"/payments/{paid['invoice_id']}/bank-refunds"

    async def refusal(body: dict[str, Any], expect: int, path: str = path) -> str:
        answer = await operators.call("POST", path, "finance", json=body, expect=expect)
        return answer["error"]

    assert await refusal(order(100.01), 409) == "refund_exceeds"
    assert await refusal(order(), 404, "/payments/none/bank-refunds") == "payment_not_found"
    await operators.call("POST", path, "finance", json=order())
    assert await refusal(order(30), 409) == "refund_conflict"
    for amount in (0, -1, "10", "1_0", True, None, 10_000_001):
        assert await refusal(order(amount, "other"), 422) == "invalid_request"
    assert await refusal(order(1.001, "other"), 422) == "invalid_amount"
    assert await refusal(order(1, "k\u200b"), 422) == "invalid_request"  # not to be seen
    assert await refusal({**order(1, "other"), "reason": "  "}, 422) == "invalid_request"


async def test_the_amount_that_is_written_is_returned(
    operators: OperatorApi, paid: dict[str, Any]
) -> None:
    path = f"/payments/{paid['invoice_id']}/bank-refunds"
    headers = {"Content-Type": "application/json"}
    for text in ("10.00000000000000000000000000001", '"10"', "1e-7", "0.001", "NaN"):
        body = f'{{"amount": {text}, "key": "other", "reason": "asked"}}'
        refused = await operators.answer("POST", path, "finance", content=body, headers=headers)
        assert refused.status_code == 422, (text, refused.text)
    body = '{"amount": 1e1, "key": "other", "reason": "asked"}'
    done = await operators.answer("POST", path, "finance", content=body, headers=headers)
    assert (done.status_code, done.json()["amount"]) == (200, 10.0)


async def test_the_own_payment_is_returned_by_another_operator(
    scenario: Scenario, operators: OperatorApi, paid: dict[str, Any]
) -> None:
    path = f"/payments/{paid['invoice_id']}/bank-refunds"
    await scenario.faults(refund={"mode": "error"})
    await operators.call("POST", path, "finance", json=order(), expect=202)
    async with operators.db.transaction() as connection:
        await add_operator(
            connection, user_id=scenario.client_id, name="Aida", role="finance", actor="test"
        )
    decide = f"/bank-refunds/{quote(KEY, safe='')}/decide"
    own = bearer(scenario.client_id)
    for where, body in (
        (path, order(2, "mine")),
        (decide, {"decision": "refused", "reason": "in the cabinet"}),
    ):
        response = await operators.answer("POST", where, "finance", json=body, headers=own)
        assert (response.status_code, response.json()["error"]) == (409, "own_account")
    assert await operators.acts(f"client:{scenario.client_id}") == ["own_account.refused"] * 2
    assert await operators.acts(f"payment:{paid['invoice_id']}") == ["payments.refund_at_bank"]


async def test_an_unknown_outcome_is_listed_and_decided(
    scenario: Scenario, operators: OperatorApi, paid: dict[str, Any]
) -> None:
    path = f"/payments/{paid['invoice_id']}/bank-refunds"
    await scenario.faults(refund={"mode": "error"})
    unknown = await operators.call("POST", path, "finance", json=order(), expect=202)
    assert (unknown["state"], unknown["ended_at"]) == ("unknown", None)
    again = await operators.call("POST", path, "finance", json=order(2, "other"), expect=409)
    assert again["error"] == "refund_pending"
    listed = await operators.call("GET", "/bank-refunds", "viewer")
    assert (listed["items"], listed["next"]) == ([unknown], None)

    decide = f"/bank-refunds/{quote(KEY, safe='')}/decide"
    why = {"decision": "returned", "reason": "in the cabinet"}
    await operators.call("POST", decide, "viewer", json=why, expect=403)
    done = await operators.call("POST", decide, "finance", json=why)
    assert done["state"] == "returned"
    assert await scenario.balance() == 6_950
    again = await operators.call("POST", decide, "finance", json=why, expect=409)
    assert again["error"] == "refund_decided"
    none = await operators.call(
        "POST", "/bank-refunds/none/decide", "finance", json=why, expect=404
    )
    assert none["error"] == "refund_not_found"
    assert await operators.acts(f"payment:{paid['invoice_id']}") == [
        "payments.refund_at_bank", "payments.refund_returned",
    ]  # fmt: skip

    await operators.call("POST", path, "finance", json=order(1, "next"))
    pages = [await operators.call("GET", "/bank-refunds?state=all&limit=1", "viewer")]
    pages.append(
        await operators.call(
            "GET", f"/bank-refunds?state=all&limit=1&cursor={pages[0]['next']}", "viewer"
        )
    )
    assert [page["items"][0]["key"] for page in pages] == ["next", KEY]
    by_state = {
        state: len((await operators.call("GET", f"/bank-refunds?state={state}", "viewer"))["items"])
        for state in ("open", "ended")
    }
    assert by_state == {"open": 0, "ended": 2}

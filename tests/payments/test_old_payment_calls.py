"""Payments as both families call them: top-up, status, its check, its end, its state in words."""

import asyncio
from typing import Any
from uuid import uuid4

import httpx
import pytest

from evpower.foundation.db import Connection
from tests.payments.conftest import Scenario
from tests.payments.test_confirm import event
from tests.waiting import until

FAMILIES = ["/api", "/api/v1"]


async def call(
    scenario: Scenario, method: str, path: str, body: Any = None, **headers: str
) -> httpx.Response:
    return await scenario.http.request(
        method,
        f"{scenario.api.url}{path}",
        json=body,
        headers={
            "Authorization": f"Bearer {scenario.token()}", "Accept-Language": "en", **headers,
        },
    )  # fmt: skip


async def top_up(scenario: Scenario, prefix: str = "/api", **body: Any) -> dict[str, Any]:
    body = {"client_id": str(scenario.client_id), "amount": 100, **body}
    response = await call(scenario, "POST", f"{prefix}/balance/topup-qr", body)
    assert response.status_code == 200, response.text
    return response.json()


class TestMobileTopUp:
    async def test_has_the_old_members(self, scenario: Scenario) -> None:
        begun = await top_up(scenario, amount=250.5)
        assert (begun["success"], begun["error"], begun["amount"]) == (True, None, 250.5)
        assert begun["client_id"] == str(scenario.client_id)
        assert begun["qr_lifetime_seconds"] == 300

    async def test_refusals_are_200_with_a_code(self, scenario: Scenario) -> None:
        response = await call(
            scenario, "POST", "/api/balance/topup-qr", {"amount": 100, "client_id": str(uuid4())}
        )
        assert (response.status_code, response.json()["error"]) == (403, "forbidden")
        await scenario.bank.stop()
        response = await call(scenario, "POST", "/api/balance/topup-qr", {"amount": 100})
        answer = response.json()
        assert (response.status_code, answer["error"]) == (200, "payment_provider_error")
        assert answer["client_id"] == str(scenario.client_id)
        await scenario.start_bank()

    async def test_a_payment_is_read_as_it_was(self, scenario: Scenario) -> None:
        begun = await top_up(scenario)
        path = f"/api/payment/status/{begun['invoice_id']}"
        waiting = (await call(scenario, "GET", path)).json()
        assert (waiting["status"], waiting["paid_amount"], waiting["error"]) == (0, None, None)
        await scenario.pay(begun)
        await scenario.until_approved(begun)
        paid = (await call(scenario, "GET", path)).json()
        assert (paid["status"], paid["paid_amount"], paid["can_proceed"]) == (1, 100.0, True)
        by_order = await call(scenario, "GET", f"/api/payment/status/{begun['order_id']}")
        assert by_order.json() == paid

    async def test_an_unknown_one_is_status_0_with_the_code(self, scenario: Scenario) -> None:
        response = await call(scenario, "GET", "/api/payment/status/nothing")
        answer = response.json()
        assert (response.status_code, answer["success"], answer["status"]) == (200, False, 0)
        assert answer["error"] == "payment_not_found"

    async def test_two_at_once_are_two_invoices_and_one_is_shown(
        self, scenario: Scenario, owner: Connection
    ) -> None:
        begun = await asyncio.gather(*(top_up(scenario) for _ in range(3)))
        assert len({answer["invoice_id"] for answer in begun}) == 3
        shown = "select count(*) from payments.payments where expires_at > now()"
        assert await owner.fetchval(shown) == 1


@pytest.mark.parametrize("prefix", FAMILIES)
class TestStatusCheck:
    async def test_has_the_provider_asked_at_once(
        self, scenario: Scenario, owner: Connection, prefix: str
    ) -> None:
        begun = await top_up(scenario, prefix)
        path = f"{prefix}/payment/status-check/{begun['invoice_id']}"
        answer = (await call(scenario, "POST", path)).json()
        assert (answer["success"], answer["invoice_id"]) == (True, begun["invoice_id"])
        assert ("check_type" in answer) == (prefix == "/api")
        due = "select next_check_at <= $1 from payments.payments"
        assert await owner.fetchval(due, scenario.clock()) is True

    async def test_is_asked_once_in_five_seconds(
        self, scenario: Scenario, owner: Connection, prefix: str
    ) -> None:
        begun = await top_up(scenario, prefix)
        path = f"{prefix}/payment/status-check/{begun['invoice_id']}"
        await call(scenario, "POST", path)
        first = await owner.fetchval("select ask_at from payments.payments")
        await call(scenario, "POST", path)
        assert await owner.fetchval("select ask_at from payments.payments") == first
        scenario.clock.forward(seconds=6)
        await call(scenario, "POST", path)
        assert await owner.fetchval("select ask_at from payments.payments") > first

    async def test_of_an_expired_invoice_is_refused_and_asked_about(
        self, scenario: Scenario, owner: Connection, prefix: str
    ) -> None:
        begun = await top_up(scenario, prefix)
        scenario.clock.forward(minutes=6)
        path = f"{prefix}/payment/status-check/{begun['invoice_id']}"
        response = await call(scenario, "POST", path)
        answer = response.json()
        if prefix == "/api":
            assert (response.status_code, answer["error"]) == (200, "payment_expired")
            assert answer["invoice_expires_at"].endswith("Z")
        else:
            assert response.status_code == 409
            assert answer["error_code"] == "payment_not_processing"
        assert await owner.fetchval("select ask_at is not null from payments.payments")

    async def test_of_a_paid_one_is_refused(self, scenario: Scenario, prefix: str) -> None:
        begun = await top_up(scenario, prefix)
        await scenario.pay(begun)
        await scenario.until_approved(begun)
        path = f"{prefix}/payment/status-check/{begun['invoice_id']}"
        answer = (await call(scenario, "POST", path)).json()
        if prefix == "/api":
            assert (answer["error"], answer["current_status"]) == ("payment_completed", "approved")
        else:
            assert (answer["error_code"], answer["status"]) == (
                "payment_not_processing", "approved",
            )  # fmt: skip

    async def test_of_another_client_s_is_as_of_none(
        self, scenario: Scenario, owner: Connection, prefix: str
    ) -> None:
        begun = await top_up(scenario, prefix)
        other = uuid4()
        headers = {"Authorization": f"Bearer {scenario.token(other)}"}
        for name in ("status-check", "cancel"):
            path = f"{prefix}/payment/{name}/{begun['invoice_id']}"
            response = await call(scenario, "POST", path, **headers)
            assert response.status_code == (200 if prefix == "/api" else 404)
            assert response.json()["error_code"] == "payment_not_found"
        assert await owner.fetchval("select ask_at is null from payments.payments")


@pytest.mark.parametrize("prefix", FAMILIES)
class TestCancel:
    async def test_ends_it_at_the_bank_and_here(
        self, scenario: Scenario, owner: Connection, prefix: str
    ) -> None:
        begun = await top_up(scenario, prefix)
        path = f"{prefix}/payment/cancel/{begun['invoice_id']}"
        answer = (await call(scenario, "POST", path)).json()
        assert (answer["success"], answer["invoice_id"]) == (True, begun["invoice_id"])
        if prefix == "/api":
            assert (answer["previous_status"], answer["new_status"]) == ("processing", "canceled")
            assert (answer["amount"], answer["provider"]) == (100.0, "sandbox")
            assert answer["client_id"] == str(scenario.client_id)
        else:
            assert answer["status"] == "canceled"
        assert await owner.fetchval("select status from payments.payments") == "canceled"
        status = await call(scenario, "GET", f"{prefix}/payment/status/{begun['invoice_id']}")
        assert status.json()["status"] == 2

    async def test_again_is_refused_with_the_status(self, scenario: Scenario, prefix: str) -> None:
        begun = await top_up(scenario, prefix)
        path = f"{prefix}/payment/cancel/{begun['invoice_id']}"
        await call(scenario, "POST", path)
        response = await call(scenario, "POST", path)
        answer = response.json()
        if prefix == "/api":
            assert (response.status_code, answer["error"]) == (200, "cannot_cancel")
            assert answer["current_status"] == "canceled"
        else:
            assert response.status_code == 409
            assert answer["error_code"] == "payment_not_cancellable"
            assert answer["status"] == "canceled"

    async def test_of_a_paid_one_credits_it(self, scenario: Scenario, prefix: str) -> None:
        begun = await top_up(scenario, prefix)
        await scenario.pay(begun, delay_s=86_000)
        path = f"{prefix}/payment/cancel/{begun['invoice_id']}"
        answer = (await call(scenario, "POST", path)).json()
        assert answer["success"] is False
        assert answer["error_code"] == "payment_not_cancellable"

        async def is_credited() -> bool:
            return await scenario.balance() == 10_000

        await until(is_credited, "the money of a paid bill")


@pytest.mark.parametrize("prefix", FAMILIES)
async def test_h2h_status_is_the_payment_in_other_words(scenario: Scenario, prefix: str) -> None:
    begun = await top_up(scenario, prefix)
    path = f"{prefix}/payment/h2h-status/{begun['order_id']}"
    answer = (await call(scenario, "GET", path)).json()
    assert (answer["success"], answer["status"]) == (True, "pending")
    if prefix == "/api":
        assert (answer["final"], answer["detail"]) == (False, "pending")
    else:
        assert answer["transaction_id"] == begun["order_id"]
        assert answer["invoice_id"] == begun["invoice_id"]
    unknown = await call(scenario, "GET", f"{prefix}/payment/h2h-status/nothing")
    assert unknown.status_code == (200 if prefix == "/api" else 404)
    assert unknown.json()["error_code"] == "payment_not_found"


@pytest.mark.parametrize("prefix", FAMILIES)
@pytest.mark.parametrize("slash", ["/", "%2F", "%2f"])
async def test_a_bill_s_second_payment_is_found_by_its_invoice_id(
    scenario: Scenario, prefix: str, slash: str
) -> None:
    begun = await top_up(scenario, prefix)
    for ref in ("first", "second"):
        await scenario.confirmer.confirm(event(begun["order_id"], provider_ref=ref))
    for kind in ("invoice_id", "order_id"):
        name = f"{begun[kind]}{slash}2"
        response = await call(scenario, "GET", f"{prefix}/payment/status/{name}")
        answer = response.json()
        assert (response.status_code, answer["status"]) == (200, 1)
        assert (answer["invoice_id"], answer["paid_amount"]) == (f"{begun['invoice_id']}/2", 100.0)
        h2h = (await call(scenario, "GET", f"{prefix}/payment/h2h-status/{name}")).json()
        assert (h2h["success"], h2h["status"]) == (True, "approved")
    for act in ("status-check", "cancel"):
        path = f"{prefix}/payment/{act}/{begun['invoice_id']}{slash}2"
        response = await call(scenario, "POST", path)
        assert response.status_code == (200 if prefix == "/api" else 409)
        assert response.json()["success"] is False


@pytest.mark.parametrize("prefix", FAMILIES)
@pytest.mark.parametrize("name", ["nothing/2", "nothing%2F2"])
async def test_a_second_payment_that_is_unknown_is_answered_as_any_other(
    scenario: Scenario, prefix: str, name: str
) -> None:
    of_any = (await call(scenario, "GET", f"{prefix}/payment/status/nothing")).json()
    response = await call(scenario, "GET", f"{prefix}/payment/status/{name}")
    assert response.status_code == 200
    assert response.json() == of_any | {"invoice_id": "nothing/2"}
    url = f"{scenario.api.url}{prefix}/payment/status/{name}"
    refused = await scenario.http.get(url, headers={"Authorization": "Bearer x"})
    assert (refused.status_code, refused.headers["content-type"]) == (401, "application/json")


@pytest.mark.parametrize("tail", ["/nothing/x", "/nothing/0", "/nothing/2/3", "//2"])
async def test_no_other_path_is_a_payment(scenario: Scenario, tail: str) -> None:
    response = await call(scenario, "GET", f"/api/v1/payment/status{tail}")
    assert response.status_code == 404

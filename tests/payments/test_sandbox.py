"""The devstack's sandbox bank: its page, its API, its retries."""

from typing import Any

import httpx

from evpower.foundation.db import Connection
from tests.payments.conftest import Scenario
from tests.waiting import until

LANGUAGES = {
    "ru": ("Оплатить", "Отменить"),
    "ky-KG,ru;q=0.5": ("Төлөө", "Жокко чыгаруу"),
    "en": ("Approve", "Cancel"),
    "zz": ("Оплатить", "Отменить"),
}
NONSENSE: dict[str, list[Any]] = {
    "amount": [0, -1, 1.001, "100", True, 1e300],
    "delay_s": [-1, "1"],
    "repeat": [1000],
    "lose_first": ["x"],
}


async def act(scenario: Scenario, begun: dict[str, Any], action: str, **how: Any) -> httpx.Response:
    return await scenario.http.post(f"{begun['app_link']}/{action}", json=how)


async def events(scenario: Scenario, begun: dict[str, Any]) -> list[dict[str, Any]]:
    return (await scenario.http.get(f"{begun['app_link']}/events")).json()


async def all_delivered(scenario: Scenario, begun: dict[str, Any]) -> None:
    async def done() -> bool:
        return {item["state"] for item in await events(scenario, begun)} == {"done"}

    await until(done)


async def outcomes(owner: Connection) -> list[str]:
    rows = await owner.fetch("select outcome from payments.events order by received_at")
    return [row["outcome"] for row in rows]


class TestPage:
    async def test_it_shows_the_amount_a_qr_and_buttons(self, scenario: Scenario) -> None:
        begun = await scenario.top_up(1250.5, description="<script>alert(1)</script>")
        for language, words in LANGUAGES.items():
            page = await scenario.http.get(begun["app_link"], headers={"Accept-Language": language})
            assert page.status_code == 200
            assert "1\N{NO-BREAK SPACE}250,50" in page.text
            assert "<svg" in page.text
            assert all(word in page.text for word in words)
            assert "<script>" not in page.text

    async def test_a_person_clicks_and_sees_that_it_is_paid(self, scenario: Scenario) -> None:
        begun = await scenario.top_up(100)
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        clicked = await scenario.http.post(
            f"{begun['app_link']}/approve?lang=en", content=b"", headers=form
        )
        assert clicked.status_code == 303
        page = await scenario.http.get(clicked.url.join(clicked.headers["location"]))
        assert "Paid" in page.text
        assert "<button" not in page.text

        async def credited() -> bool:
            return await scenario.balance() == 10_000

        await until(credited)

    async def test_qr_is_a_picture_and_a_drawing(self, scenario: Scenario) -> None:
        begun = await scenario.top_up(100)
        assert begun["qr_code"] == begun["app_link"]
        drawing = await scenario.http.get(f"{begun['app_link']}/qr.svg")
        assert drawing.headers["content-type"].startswith("image/svg+xml")

    async def test_unknown_invoice_and_action_are_not_found(self, scenario: Scenario) -> None:
        begun = await scenario.top_up(100)
        assert (await scenario.http.get(f"{scenario.bank.url}/pay/nothing")).status_code == 404
        assert (await act(scenario, begun, "steal")).status_code == 404


class TestActions:
    async def test_cancel(self, scenario: Scenario, owner: Connection) -> None:
        begun = await scenario.top_up(100)
        assert (await act(scenario, begun, "cancel")).json()["status"] == "canceled"
        await all_delivered(scenario, begun)
        assert (await scenario.status(begun["invoice_id"]))["status"] == 2
        assert await outcomes(owner) == ["canceled"]

    async def test_late_payment_after_cancel_is_credited(
        self, scenario: Scenario, owner: Connection
    ) -> None:
        begun = await scenario.top_up(100)
        await act(scenario, begun, "cancel")
        await all_delivered(scenario, begun)
        await scenario.pay(begun)
        await all_delivered(scenario, begun)
        assert await scenario.balance() == 10_000
        assert await outcomes(owner) == ["canceled", "confirmed"]
        assert (await act(scenario, begun, "cancel")).status_code == 409

    async def test_repeat_sends_one_event_many_times(
        self, scenario: Scenario, owner: Connection
    ) -> None:
        begun = await scenario.top_up(100)
        await scenario.pay(begun, repeat=5)
        await all_delivered(scenario, begun)
        sent = await events(scenario, begun)
        assert (len(sent), len({item["event_id"] for item in sent})) == (5, 1)
        assert await outcomes(owner) == ["confirmed"]
        assert await scenario.balance() == 10_000

    async def test_lost_deliveries_are_retried_until_accepted(self, scenario: Scenario) -> None:
        begun = await scenario.top_up(100)
        await scenario.pay(begun, lose_first=3)
        await all_delivered(scenario, begun)
        assert [item["attempts"] for item in await events(scenario, begun)] == [4]
        assert await scenario.balance() == 10_000

    async def test_delay_holds_the_webhook_back(self, scenario: Scenario) -> None:
        begun, other = await scenario.top_up(100), await scenario.top_up(200)
        await scenario.pay(begun, delay_s=3600)
        await act(scenario, other, "cancel")
        await all_delivered(scenario, other)  # a later webhook without a delay was delivered
        assert [item["attempts"] for item in await events(scenario, begun)] == [0]
        scenario.clock.forward(seconds=3601)
        await scenario.pay(begun)  # makes the bank check its clock again
        await all_delivered(scenario, begun)
        assert await scenario.balance() == 10_000

    async def test_another_amount_in_som_goes_to_review(
        self, scenario: Scenario, owner: Connection
    ) -> None:
        begun = await scenario.top_up(100)
        assert (await scenario.pay(begun, amount=99.5))["paid"] == 9_950
        await all_delivered(scenario, begun)
        assert await outcomes(owner) == ["review"]
        assert await scenario.balance() == 0

    async def test_the_very_amount_in_som_is_credited(self, scenario: Scenario) -> None:
        begun = await scenario.top_up(100.5)
        await scenario.pay(begun, amount=100.5)
        await all_delivered(scenario, begun)
        assert await scenario.balance() == 10_050

    async def test_partial_then_full_refund(self, scenario: Scenario) -> None:
        begun = await scenario.top_up(100)
        await scenario.pay(begun)
        await all_delivered(scenario, begun)
        assert (await act(scenario, begun, "refund", amount=30)).json()[
            "status"
        ] == "partial_refund"
        await all_delivered(scenario, begun)
        assert await scenario.balance() == 7_000
        assert (await scenario.status(begun["invoice_id"]))["status"] == 4
        assert (await act(scenario, begun, "refund", amount=71)).status_code == 409
        assert (await act(scenario, begun, "refund")).json()["status"] == "refunded"
        await all_delivered(scenario, begun)
        assert await scenario.balance() == 0
        assert (await scenario.status(begun["invoice_id"]))["status"] == 3

    async def test_nonsense_is_refused_and_pays_nothing(self, scenario: Scenario) -> None:
        begun = await scenario.top_up(100)
        for name, values in NONSENSE.items():
            for value in values:
                refused = await act(scenario, begun, "approve", **{name: value})
                assert refused.status_code == 422, (name, value)
        assert await events(scenario, begun) == []


class TestOnItsOwn:
    async def test_it_retries_until_2xx(self, scenario: Scenario) -> None:
        begun = await scenario.top_up(100)
        await scenario.db.close()  # the API answers 503
        await scenario.pay(begun)

        async def tried() -> bool:
            return (await events(scenario, begun))[0]["attempts"] >= 3

        await until(tried)
        await scenario.db.start()
        await all_delivered(scenario, begun)
        assert await scenario.balance() == 10_000

    async def test_restart_keeps_bills_and_undelivered_webhooks(self, scenario: Scenario) -> None:
        paid, unpaid = await scenario.top_up(100), await scenario.top_up(200)
        await scenario.db.close()
        await scenario.pay(paid)
        await scenario.bank.stop()
        await scenario.db.start()
        await scenario.start_bank()
        await all_delivered(scenario, paid)
        assert await scenario.balance() == 10_000
        await scenario.pay(unpaid)
        await all_delivered(scenario, unpaid)
        assert await scenario.balance() == 30_000

    async def test_same_order_twice_is_the_same_bill(self, scenario: Scenario) -> None:
        order: dict[str, Any] = {
            "order_id": "order-1",
            "currency": "KGS",
            "description": "",
            "expires_at": scenario.clock(),
        }
        first = await scenario.provider.create_invoice(amount_minor=100, **order)
        assert await scenario.provider.create_invoice(amount_minor=100, **order) == first

    async def test_strangers_cannot_make_bills(self, scenario: Scenario) -> None:
        answer = await scenario.http.post(f"{scenario.bank.url}/v1/invoices", json={})
        assert answer.status_code == 401
        answer = await scenario.http.get(f"{scenario.bank.url}/v1/orders/order-1")
        assert answer.status_code == 401

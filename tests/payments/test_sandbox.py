"""The bank of the devstack: what a person clicks, what scripts ask, what it does on its own."""

from typing import Any

import httpx

from evpower.foundation.db import Connection
from tests.payments.conftest import World
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


async def act(world: World, begun: dict[str, Any], action: str, **how: Any) -> httpx.Response:
    return await world.http.post(f"{begun['app_link']}/{action}", json=how)


async def events(world: World, begun: dict[str, Any]) -> list[dict[str, Any]]:
    return (await world.http.get(f"{begun['app_link']}/events")).json()


async def all_delivered(world: World, begun: dict[str, Any]) -> None:
    async def done() -> bool:
        return {one["state"] for one in await events(world, begun)} == {"done"}

    await until(done)


async def outcomes(owner: Connection) -> list[str]:
    rows = await owner.fetch("select outcome from payments.events order by received_at")
    return [row["outcome"] for row in rows]


class TestPage:
    async def test_it_shows_the_amount_a_qr_and_buttons(self, world: World) -> None:
        begun = await world.top_up(1250.5, description="<script>alert(1)</script>")
        for language, words in LANGUAGES.items():
            page = await world.http.get(begun["app_link"], headers={"Accept-Language": language})
            assert page.status_code == 200
            assert "1\N{NO-BREAK SPACE}250,50" in page.text
            assert "<svg" in page.text
            assert all(word in page.text for word in words)
            assert "<script>" not in page.text

    async def test_a_person_clicks_and_sees_that_it_is_paid(self, world: World) -> None:
        begun = await world.top_up(100)
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        clicked = await world.http.post(
            f"{begun['app_link']}/approve?lang=en", content=b"", headers=form
        )
        assert clicked.status_code == 303
        page = await world.http.get(clicked.url.join(clicked.headers["location"]))
        assert "Paid" in page.text
        assert "<button" not in page.text

        async def credited() -> bool:
            return await world.balance() == 10_000

        await until(credited)

    async def test_qr_is_a_picture_and_a_drawing(self, world: World) -> None:
        begun = await world.top_up(100)
        assert begun["qr_code"] == begun["app_link"]
        drawing = await world.http.get(f"{begun['app_link']}/qr.svg")
        assert drawing.headers["content-type"].startswith("image/svg+xml")

    async def test_unknown_invoice_and_action_are_not_found(self, world: World) -> None:
        begun = await world.top_up(100)
        assert (await world.http.get(f"{world.bank.url}/pay/nothing")).status_code == 404
        assert (await act(world, begun, "steal")).status_code == 404


class TestActions:
    async def test_cancel(self, world: World, owner: Connection) -> None:
        begun = await world.top_up(100)
        assert (await act(world, begun, "cancel")).json()["status"] == "canceled"
        await all_delivered(world, begun)
        assert (await world.status(begun["invoice_id"]))["status"] == 2
        assert await outcomes(owner) == ["canceled"]

    async def test_late_payment_after_cancel_is_credited(
        self, world: World, owner: Connection
    ) -> None:
        begun = await world.top_up(100)
        await act(world, begun, "cancel")
        await all_delivered(world, begun)
        await world.pay(begun)
        await all_delivered(world, begun)
        assert await world.balance() == 10_000
        assert await outcomes(owner) == ["canceled", "confirmed"]
        assert (await act(world, begun, "cancel")).status_code == 409

    async def test_repeat_sends_one_event_many_times(self, world: World, owner: Connection) -> None:
        begun = await world.top_up(100)
        await world.pay(begun, repeat=5)
        await all_delivered(world, begun)
        sent = await events(world, begun)
        assert (len(sent), len({one["event_id"] for one in sent})) == (5, 1)
        assert await outcomes(owner) == ["confirmed"]
        assert await world.balance() == 10_000

    async def test_lost_deliveries_are_retried_until_taken(self, world: World) -> None:
        begun = await world.top_up(100)
        await world.pay(begun, lose_first=3)
        await all_delivered(world, begun)
        assert [one["attempts"] for one in await events(world, begun)] == [4]
        assert await world.balance() == 10_000

    async def test_delay_holds_the_webhook_back(self, world: World) -> None:
        begun, other = await world.top_up(100), await world.top_up(200)
        await world.pay(begun, delay_s=3600)
        await act(world, other, "cancel")
        await all_delivered(world, other)  # what came later and waits for nothing is through
        assert [one["attempts"] for one in await events(world, begun)] == [0]
        world.clock.forward(seconds=3601)
        await world.pay(begun)  # the bank looks at its clock again
        await all_delivered(world, begun)
        assert await world.balance() == 10_000

    async def test_another_amount_in_som_goes_to_review(
        self, world: World, owner: Connection
    ) -> None:
        begun = await world.top_up(100)
        assert (await world.pay(begun, amount=99.5))["paid"] == 9_950
        await all_delivered(world, begun)
        assert await outcomes(owner) == ["review"]
        assert await world.balance() == 0

    async def test_the_very_amount_in_som_is_credited(self, world: World) -> None:
        begun = await world.top_up(100.5)
        await world.pay(begun, amount=100.5)
        await all_delivered(world, begun)
        assert await world.balance() == 10_050

    async def test_partial_then_full_refund(self, world: World) -> None:
        begun = await world.top_up(100)
        await world.pay(begun)
        await all_delivered(world, begun)
        assert (await act(world, begun, "refund", amount=30)).json()["status"] == "partial_refund"
        await all_delivered(world, begun)
        assert await world.balance() == 7_000
        assert (await world.status(begun["invoice_id"]))["status"] == 4
        assert (await act(world, begun, "refund", amount=71)).status_code == 409
        assert (await act(world, begun, "refund")).json()["status"] == "refunded"
        await all_delivered(world, begun)
        assert await world.balance() == 0
        assert (await world.status(begun["invoice_id"]))["status"] == 3

    async def test_nonsense_is_refused_and_pays_nothing(self, world: World) -> None:
        begun = await world.top_up(100)
        for name, values in NONSENSE.items():
            for value in values:
                refused = await act(world, begun, "approve", **{name: value})
                assert refused.status_code == 422, (name, value)
        assert await events(world, begun) == []


class TestOnItsOwn:
    async def test_it_retries_until_2xx(self, world: World) -> None:
        begun = await world.top_up(100)
        await world.db.close()  # the API answers 503
        await world.pay(begun)

        async def tried() -> bool:
            return (await events(world, begun))[0]["attempts"] >= 3

        await until(tried)
        await world.db.start()
        await all_delivered(world, begun)
        assert await world.balance() == 10_000

    async def test_restart_keeps_bills_and_undelivered_webhooks(self, world: World) -> None:
        paid, open_one = await world.top_up(100), await world.top_up(200)
        await world.db.close()
        await world.pay(paid)
        await world.bank.stop()
        await world.db.start()
        await world.start_bank()
        await all_delivered(world, paid)
        assert await world.balance() == 10_000
        await world.pay(open_one)
        await all_delivered(world, open_one)
        assert await world.balance() == 30_000

    async def test_same_order_twice_is_the_same_bill(self, world: World) -> None:
        order: dict[str, Any] = {
            "order_id": "order-1",
            "currency": "KGS",
            "description": "",
            "expires_at": world.clock(),
        }
        first = await world.provider.create_invoice(amount_minor=100, **order)
        assert await world.provider.create_invoice(amount_minor=100, **order) == first

    async def test_strangers_cannot_make_bills(self, world: World) -> None:
        answer = await world.http.post(f"{world.bank.url}/v1/invoices", json={})
        assert answer.status_code == 401
        answer = await world.http.get(f"{world.bank.url}/v1/orders/order-1")
        assert answer.status_code == 401

"""Notices that are only questions: the provider is asked, at once or seldom, and never believed."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Literal
from urllib.parse import parse_qs

import httpx
import orjson
import pytest

from evpower.foundation.db import Connection
from evpower.foundation.errors import Invalid
from evpower.foundation.http import HttpClient
from evpower.payments import questions
from evpower.payments.providers.protocol import (
    BillStatus,
    NoticeAnswer,
    NoticeRequest,
    NoticeResult,
    Question,
)
from evpower.payments.providers.sandbox import SandboxProvider
from evpower.payments.recheck import recheck_due
from tests.payments.conftest import SECRET, Scenario
from tests.waiting import WAIT_LIMIT_S


class AskingProvider(SandboxProvider):
    """The sandbox bank as a bank whose notices carry no facts: each is a question."""

    questions = 0
    seen: list[NoticeRequest]
    after_the_answer: Callable[[], Awaitable[None]] | None = None  # once, before it is applied

    def read_notice(self, request: NoticeRequest, now: Any) -> Question:  # type: ignore[override]
        del now
        self.seen.append(request)
        if request.method == "GET" or not request.raw.startswith(b"{"):
            fields = parse_qs(request.query or request.raw.decode())
            return Question(fields["order_id"][0])
        body = orjson.loads(request.raw)
        if body.get("nonsense"):
            raise Invalid("invalid_webhook", "nonsense")
        refusal: Literal["", "invalid_signature"] = (
            "" if body.get("signed") else "invalid_signature"
        )
        trusted = not refusal
        return Question(body.get("order_id"), body.get("ref"), trusted=trusted, refusal=refusal)

    def answer(self, request: NoticeRequest, result: NoticeResult) -> NoticeAnswer:
        del request
        text = f"<ok>{result.invoice_id or ''}</ok>"
        return NoticeAnswer(text.encode(), "application/xml", 201)

    async def fetch_status(self, **about: Any) -> BillStatus:  # type: ignore[override]
        self.questions += 1
        answer = await super().fetch_status(**about)
        then, self.after_the_answer = self.after_the_answer, None
        if then is not None:
            await then()
        return answer


@pytest.fixture
async def asking(scenario: Scenario) -> AskingProvider:
    """Puts the provider in the place of the sandbox's, whose bank it uses."""
    http: HttpClient = scenario.http
    provider = AskingProvider(scenario.bank.url, [SECRET], http, timeout_s=WAIT_LIMIT_S)
    provider.seen = []
    scenario.providers._by_name = {"sandbox": provider}  # type: ignore[misc]
    return provider


async def tell(scenario: Scenario, **body: Any) -> httpx.Response:
    return await scenario.http.post(f"{scenario.api.url}/api/v1/payment/webhook/sandbox", json=body)


async def paid(scenario: Scenario) -> dict[str, Any]:
    begun = await scenario.top_up(100)
    await scenario.pay(begun, delay_s=86_000)
    return begun


async def recheck(scenario: Scenario) -> int:
    return await recheck_due(scenario.db, scenario.providers, scenario.confirmer, scenario.clock)


class TestVerified:
    @pytest.mark.usefixtures("asking")
    async def test_it_is_asked_and_credited_before_the_answer(self, scenario: Scenario) -> None:
        begun = await paid(scenario)
        answer = await tell(scenario, order_id=begun["order_id"], signed=True)
        assert (answer.status_code, answer.text) == (201, f"<ok>{begun['invoice_id']}</ok>")
        assert answer.headers["content-type"] == "application/xml"
        assert await scenario.balance() == 10_000
        again = await tell(scenario, order_id=begun["order_id"], signed=True)
        assert (again.status_code, again.content) == (answer.status_code, answer.content)

    @pytest.mark.usefixtures("asking")
    async def test_it_may_name_the_bill_alone(self, scenario: Scenario, owner: Connection) -> None:
        await paid(scenario)
        ref = await owner.fetchval("select provider_ref from payments.payments")
        await tell(scenario, ref=ref, signed=True)
        assert await scenario.balance() == 10_000

    async def test_repeated_a_thousand_times_it_is_asked_twice(
        self, scenario: Scenario, asking: AskingProvider
    ) -> None:
        """A replay of a true notice from any address."""
        begun = await paid(scenario)
        for _ in range(10):
            await asyncio.gather(
                *(tell(scenario, order_id=begun["order_id"], signed=True) for _ in range(100))
            )
        assert asking.questions == 1
        scenario.clock.forward(seconds=6)
        await recheck(scenario)
        await recheck(scenario)
        assert asking.questions == 2
        assert await scenario.balance() == 10_000

    @pytest.mark.usefixtures("asking")
    async def test_the_second_notice_of_two_attempts_is_not_lost(self, scenario: Scenario) -> None:
        begun = await paid(scenario)
        await tell(scenario, order_id=begun["order_id"], signed=True)
        await scenario.pay(begun, again=True, delay_s=86_000)
        await tell(scenario, order_id=begun["order_id"], signed=True)
        assert await scenario.balance() == 10_000
        scenario.clock.forward(seconds=6)
        await recheck(scenario)
        assert await scenario.balance() == 20_000

    @pytest.mark.usefixtures("asking")
    @pytest.mark.parametrize("mode", ["error", "lost"])
    async def test_without_an_answer_of_the_bank_it_is_asked_again_soon(
        self, scenario: Scenario, mode: str
    ) -> None:
        begun = await paid(scenario)
        await scenario.faults(status={"mode": mode})
        answer = await tell(scenario, order_id=begun["order_id"], signed=True)
        assert answer.status_code == 201
        assert await scenario.balance() == 0
        scenario.clock.forward(seconds=16)
        await recheck(scenario)
        assert await scenario.balance() == 10_000

    async def test_a_notice_while_the_bank_is_asked_is_not_lost(
        self, scenario: Scenario, asking: AskingProvider
    ) -> None:
        begun = await paid(scenario)

        async def pay_once_more() -> None:
            await scenario.pay(begun, again=True, delay_s=86_000)
            await tell(scenario, order_id=begun["order_id"], signed=True)

        asking.after_the_answer = pay_once_more
        await tell(scenario, order_id=begun["order_id"], signed=True)
        assert await scenario.balance() == 10_000
        scenario.clock.forward(seconds=6)
        await recheck(scenario)
        assert await scenario.balance() == 20_000

    async def test_an_order_of_no_payment_is_recorded(
        self, scenario: Scenario, owner: Connection, asking: AskingProvider
    ) -> None:
        """The bank has a paid order of ours that a restored database does not know."""
        order = "order-lost-1"
        invoice = await asking.create_invoice(
            order_id=order,
            amount_minor=10_000,
            currency="KGS",
            description="",
            expires_at=scenario.clock(),
        )
        await scenario.pay({"app_link": invoice.app_link}, delay_s=86_000)
        answer = await tell(scenario, order_id=order, signed=True)
        assert (answer.status_code, answer.text) == (201, "<ok></ok>")
        row = await owner.fetchrow("select order_id, outcome, paid_minor from payments.events")
        assert row is not None
        assert tuple(row) == (order, "unknown_payment", 10_000)


class TestUnverified:
    @pytest.mark.parametrize("form", ["get", "form", "forged", "old get", "old form"])
    async def test_it_only_makes_the_recheck_ask(
        self, scenario: Scenario, asking: AskingProvider, form: str
    ) -> None:
        begun = await paid(scenario)
        url = f"{scenario.api.url}/api/v1/payment/webhook/sandbox"
        if form.startswith("old"):
            url = f"{scenario.api.url}/api/payment/webhook"
        about = {"order_id": begun["order_id"]}
        scenario.clock.forward(seconds=6)
        if form.endswith("get"):
            answer = await scenario.http.get(url, params=about)
        elif form.endswith("form"):
            answer = await scenario.http.post(url, data=about)
        else:
            answer = await scenario.http.post(url, json=about)
        assert answer.status_code == (401 if form == "forged" else 201)
        assert (asking.questions, await scenario.balance()) == (0, 0)
        await recheck(scenario)
        assert (asking.questions, await scenario.balance()) == (1, 10_000)

    async def test_one_order_is_asked_about_once_in_5_s(
        self, scenario: Scenario, asking: AskingProvider
    ) -> None:
        begun = await paid(scenario)
        for _ in range(20):
            answer = await tell(scenario, order_id=begun["order_id"])
            assert answer.json()["error"] == "invalid_signature"
            await recheck(scenario)
        assert asking.questions == 1
        scenario.clock.forward(seconds=6)
        await tell(scenario, order_id=begun["order_id"])
        await recheck(scenario)
        assert asking.questions == 2

    @pytest.mark.usefixtures("asking")
    async def test_all_orders_are_asked_about_60_times_a_minute(
        self, scenario: Scenario, owner: Connection
    ) -> None:
        for _ in range(49):  # as many as one client may have open
            await scenario.top_up(100)
        await owner.execute(
            "insert into payments.payments (invoice_id, order_id, client_id, provider, method,"
            " amount_minor, expires_at) select 'more-' || n, 'more-' || n, $1, 'sandbox', 'qr', 1,"
            " now() from generate_series(1, 30) n",
            scenario.client_id,
        )
        orders = await owner.fetch("select order_id from payments.payments")
        for row in orders:
            await tell(scenario, order_id=row["order_id"])
        planned = "select count(*) from payments.payments where doubted_at is not null"
        assert await owner.fetchval(planned) == 60

    async def test_an_unknown_order_leaves_no_trace(
        self, scenario: Scenario, owner: Connection, asking: AskingProvider
    ) -> None:
        assert (await tell(scenario, order_id="no-such-order")).status_code == 401
        assert await owner.fetchval("select count(*) from payments.events") == 0
        assert asking.questions == 0


async def test_the_bank_is_asked_about_so_many_unknown_orders_a_minute(
    scenario: Scenario, asking: AskingProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(questions, "UNVERIFIED_PER_MINUTE", 1)
    work = questions.Questions(scenario.db, scenario.confirmer, scenario.clock)
    for number in range(4):  # a minute may end meanwhile
        result = await work.ask(asking, Question(f"no-order-{number}", trusted=True))
        assert result == NoticeResult(None, "unknown_payment")
    assert 1 <= asking.questions <= 2


async def test_the_adapter_sees_the_whole_request(
    scenario: Scenario, asking: AskingProvider
) -> None:
    begun = await scenario.top_up(100)
    url = f"{scenario.api.url}/api/v1/payment/webhook?x=%D0%B0&order_id={begun['order_id']}"
    await scenario.http.request("GET", url, headers={"X-Any": "1", "Host": "pay.example"})
    [request] = asking.seen
    assert (request.method, request.path) == ("GET", "/api/v1/payment/webhook")
    assert request.query == f"x=%D0%B0&order_id={begun['order_id']}"
    assert (request.host, request.headers["x-any"]) == ("pay.example", "1")
    assert (request.raw, request.peer) == (b"", "127.0.0.1")

"""POST /api/v1/balance/topup-qr: as the apps send it, and with wrong input."""

import asyncio
from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import orjson
import pytest
from fastapi import FastAPI, Request, Response

from evpower.api import messages
from evpower.foundation.db import Connection
from evpower.payments import StartedTopUp, TopUpFailure, top_up
from evpower.payments.errors import ProviderRefused
from evpower.payments.providers.protocol import Invoice
from evpower.payments.top_up import MAX_OPEN
from tests.conftest import as_owner
from tests.contracts.answers import code_of
from tests.old_api.revisions import assert_taken
from tests.payments.conftest import LoopbackServer, Scenario, payment
from tests.payments.interleave import lock_waits
from tests.payments.test_confirm import event
from tests.waiting import WAIT_LIMIT_S, until


class TestAnswer:
    async def test_old_shape_with_a_qr_to_pay(self, scenario: Scenario) -> None:
        begun = await scenario.top_up(250.5, description="Tesla", client_id=str(scenario.client_id))
        assert set(begun) == {
            "success",
            "invoice_id",
            "order_id",
            "qr_code",
            "qr_code_url",
            "app_link",
            "payment_url",
            "amount",
            "client_id",
            "current_balance",
            "qr_expires_at",
            "invoice_expires_at",
            "qr_lifetime_seconds",
            "invoice_lifetime_seconds",
        }
        assert (begun["success"], begun["amount"], begun["current_balance"]) == (True, 250.5, 0)
        assert begun["client_id"] == str(scenario.client_id)
        assert begun["qr_lifetime_seconds"] == begun["invoice_lifetime_seconds"] == 300
        assert begun["qr_expires_at"].endswith("Z")
        assert begun["payment_url"] == begun["app_link"]
        assert_taken("top_up", {**begun, "qr_code_url": "https://bank.example/qr.png"})
        lasts = datetime.fromisoformat(begun["qr_expires_at"]) - scenario.clock()
        assert timedelta(seconds=300 - WAIT_LIMIT_S) < lasts <= timedelta(seconds=300)
        picture = await scenario.http.get(begun["qr_code_url"])
        assert picture.content.startswith(b"\x89PNG")

    async def test_paid_top_up_is_on_the_balance(self, scenario: Scenario) -> None:
        begun = await scenario.top_up(100)
        await scenario.pay(begun)
        await scenario.until_approved(begun)
        status = await scenario.status(begun["invoice_id"])
        assert (status["success"], status["can_proceed"], status["paid_amount"]) == (
            True,
            True,
            100,
        )
        assert await scenario.balance() == 10_000
        await until(lambda: scenario.published, "the change is published after the commit")
        assert scenario.published == [scenario.client_id]
        assert (await scenario.top_up(100))["current_balance"] == 100

    async def test_newer_qr_hides_the_older_which_stays_payable(self, scenario: Scenario) -> None:
        older = await scenario.top_up(100)
        newer = await scenario.top_up(200)
        assert (await scenario.status(older["invoice_id"]))["status"] == 2
        assert (await scenario.status(newer["invoice_id"]))["status"] == 0
        await scenario.pay(older)
        await scenario.until_approved(older)
        assert await scenario.balance() == 10_000

    async def test_newer_qr_hides_no_one_else_s_and_no_card_s(
        self, scenario: Scenario, owner: Connection
    ) -> None:
        other = uuid4()
        await owner.execute(
            "insert into identity.clients (id, origin) values ($1, 'import')", other
        )
        own, foreign = await scenario.top_up(100), await scenario.top_up(100, client=other)
        card = await payment(owner, scenario.client_id)
        await owner.execute(
            "update payments.payments set method = 'card' where order_id = $1", card
        )
        paid = await scenario.top_up(100)
        await scenario.pay(paid)
        await scenario.until_approved(paid)
        until_s = await owner.fetchval(
            "select expires_at from payments.payments where order_id = $1", paid["order_id"]
        )
        await scenario.top_up(100)
        shown = await owner.fetch(
            "select order_id from payments.payments where expires_at > $1", scenario.clock()
        )
        orders = {row["order_id"] for row in shown}
        assert {foreign["order_id"], card} <= orders
        assert own["order_id"] not in orders
        assert until_s == await owner.fetchval(
            "select expires_at from payments.payments where order_id = $1", paid["order_id"]
        )


NO_AMOUNTS = [
    *("0", "-5", "-0.0", "10.001", "10.0000000001", "1e309", "-1e309", "1e999999999999999999999"),
    *("1e999990", "1e-999990", "9" * 900, "NaN", "Infinity", "-Infinity", '"abc"', '"100"'),
    *("null", "true", "[100]", '{"som": 100}'),
]
NO_BODIES = [b"", b"nonsense", b"[]", b"null", b"\xff\xfe", b"[" * 10_000, b'{"amount": 100']
NO_DESCRIPTIONS = [b"5", b'"\\ud800"', b'"%s"' % (b"x" * 501)]


class TestBadInput:
    async def refusal(self, scenario: Scenario, body: bytes) -> tuple[int, str]:
        answer = await scenario.request("POST", "/balance/topup-qr", content=body)
        return answer.status_code, code_of(answer)

    async def test_amounts_that_are_none(self, scenario: Scenario, owner: Connection) -> None:
        for amount in NO_AMOUNTS:
            body = f'{{"amount": {amount}}}'.encode()
            assert await self.refusal(scenario, body) == (422, "invalid_amount"), amount[:40]
        assert await self.refusal(scenario, b"{}") == (422, "invalid_amount")
        assert await owner.fetchval("select count(*) from payments.payments") == 0

    async def test_amounts_beyond_the_bounds(self, scenario: Scenario) -> None:
        low = await self.refusal(scenario, b'{"amount": 9.99}')
        high = await self.refusal(scenario, b'{"amount": 100000.01}')
        assert (low, high) == ((422, "minimum_amount_required"), (422, "maximum_amount_exceeded"))

    async def test_amounts_within_the_bounds(self, scenario: Scenario) -> None:
        for amount in ["10", "100000", "100000.00", "1e2", "10.10"]:
            body = f'{{"amount": {amount}}}'.encode()
            answer = await scenario.request("POST", "/balance/topup-qr", content=body)
            assert answer.json()["amount"] == float(amount)

    async def test_bodies_that_are_no_objects(self, scenario: Scenario) -> None:
        for body in NO_BODIES:
            assert await self.refusal(scenario, body) == (422, "invalid_request"), body[:40]

    async def test_descriptions_that_are_none(self, scenario: Scenario) -> None:
        for description in NO_DESCRIPTIONS:
            body = b'{"amount": 100, "description": %s}' % description
            assert await self.refusal(scenario, body) == (422, "invalid_request"), description[:40]

    @pytest.mark.parametrize("currency", ["USD", "", 417, {"code": "KGS"}])
    async def test_money_of_another_currency_is_refused(
        self, scenario: Scenario, owner: Connection, currency: object
    ) -> None:
        body = orjson.dumps({"amount": 500, "currency": currency})
        assert await self.refusal(scenario, body) == (422, "invalid_request")
        assert await owner.fetchval("select count(*) from payments.payments") == 0

    async def test_the_currency_may_be_named_or_left_out(self, scenario: Scenario) -> None:
        for more in ('"KGS"', "null"):
            body = f'{{"amount": 500, "currency": {more}}}'.encode()
            answer = await scenario.request("POST", "/balance/topup-qr", content=body)
            assert answer.json()["success"] is True

    async def test_another_clients_id_is_forbidden(self, scenario: Scenario) -> None:
        for client_id in (str(uuid4()), 7, ""):
            body = {"amount": 100, "client_id": client_id}
            answer = await scenario.request("POST", "/balance/topup-qr", json=body)
            assert (answer.status_code, code_of(answer)) == (403, "forbidden")

    async def test_the_clients_own_id_from_before_is_the_client(
        self, scenario: Scenario, owner: Connection
    ) -> None:
        other = uuid4()
        await owner.execute(
            "insert into identity.clients (id, origin) values ($1, 'import')", other
        )
        for old_id, client in (("C-7", scenario.client_id), ("C-8", other)):
            await owner.execute(
                "insert into identity.aliases (kind, alias, client_id)"
                " values ('client_id', $1, $2)",
                old_id,
                client,
            )
        begun = await scenario.top_up(100, client_id="C-7")
        assert begun["client_id"] == str(scenario.client_id)
        body = {"amount": 100, "client_id": "C-8"}
        answer = await scenario.request("POST", "/balance/topup-qr", json=body)
        assert (answer.status_code, code_of(answer)) == (403, "forbidden")

    async def test_huge_body_is_cut(self, scenario: Scenario) -> None:
        answer = await scenario.request(
            "POST", "/balance/topup-qr", content=b"{" + b" " * 50_000 + b"}"
        )
        assert (answer.status_code, code_of(answer)) == (413, "too_large")

    async def test_without_a_token(self, scenario: Scenario) -> None:
        answer = await scenario.http.post(
            f"{scenario.api.url}/api/v1/balance/topup-qr", json={"amount": 100}
        )
        assert answer.status_code == 401

    async def test_client_who_asked_for_deletion_is_forbidden(
        self, scenario: Scenario, owner: Connection
    ) -> None:
        await owner.execute("update identity.clients set deletion_requested_at = now()")
        answer = await scenario.request("POST", "/balance/topup-qr", json={"amount": 100})
        assert (answer.status_code, code_of(answer)) == (403, "client_deleted")
        assert await owner.fetchval("select count(*) from payments.payments") == 0

    @pytest.mark.parametrize(
        ("change", "code"),
        [
            ("status = 'closed'", "client_deleted"),
            ("status = 'blocked'", "client_blocked"),
            ("deletion_requested_at = now()", "client_deleted"),
        ],
    )
    async def test_client_who_ended_while_the_bank_answered_is_shown_no_qr(
        self, scenario: Scenario, owner: Connection, change: str, code: str
    ) -> None:
        create = scenario.provider.create_invoice

        async def meanwhile(**arguments: Any) -> Invoice:
            await owner.execute(f"update identity.clients set {change}")
            return await create(**arguments)

        scenario.provider.create_invoice = meanwhile  # type: ignore[method-assign]
        answer = await scenario.request("POST", "/balance/topup-qr", json={"amount": 100})
        assert (answer.status_code, code_of(answer)) == (403, code)
        stored = await owner.fetchrow("select * from payments.payments")
        assert stored is not None
        assert stored["expires_at"] <= scenario.clock()
        await scenario.http.request(
            "POST", f"{scenario.bank.url}/pay/{stored['provider_ref']}/approve", json={}
        )

        async def credited() -> bool:
            return await scenario.balance() == 10_000

        await until(credited, "what was paid nevertheless is credited")

    async def test_blocked_client_is_forbidden(self, scenario: Scenario, owner: Connection) -> None:
        await owner.execute("update identity.clients set status = 'blocked'")
        answer = await scenario.request("POST", "/balance/topup-qr", json={"amount": 100})
        assert (answer.status_code, code_of(answer)) == (403, "client_blocked")


class TestUnpaid:
    async def begin(self, owner: Connection, client: UUID, count: int, age: timedelta) -> list[str]:
        """Insert open payments of one client; returns their order ids."""
        orders = [await payment(owner, client) for _ in range(count)]
        await owner.execute(
            "update payments.payments set created_at = now() - $2::interval"
            " where order_id = any ($1)",
            orders,
            age,
        )
        return orders

    async def test_so_many_of_a_day_and_no_more(
        self, scenario: Scenario, owner: Connection
    ) -> None:
        orders = await self.begin(owner, scenario.client_id, MAX_OPEN - 1, timedelta(hours=1))
        last = {"json": {"amount": 100}, "headers": {"Idempotency-Key": "the-last-one"}}
        begun = (await scenario.request("POST", "/balance/topup-qr", **last)).json()
        refused = await scenario.request("POST", "/balance/topup-qr", json={"amount": 100})
        assert (refused.status_code, code_of(refused)) == (429, "too_many_unpaid")
        assert refused.headers["retry-after"] == "3600"
        again = (await scenario.request("POST", "/balance/topup-qr", **last)).json()
        assert again["invoice_id"] == begun["invoice_id"], "the same key begins nothing"
        await owner.execute(
            "update payments.payments set status = 'canceled', closed_at = now()"
            " where order_id = $1",
            orders[0],
        )
        assert (await scenario.top_up(100))["success"], "one was closed"

    async def test_sixty_at_once_begin_no_more(self, scenario: Scenario, owner: Connection) -> None:
        await self.begin(owner, scenario.client_id, MAX_OPEN - 5, timedelta(hours=1))
        answers = await asyncio.gather(
            *(
                scenario.request("POST", "/balance/topup-qr", json={"amount": 100})
                for _ in range(60)
            )
        )
        statuses = Counter(answer.status_code for answer in answers)
        assert statuses == {200: 5, 429: 55}
        assert await owner.fetchval("select count(*) from payments.payments") == MAX_OPEN

    async def test_those_of_others_and_of_the_day_before_do_not_count(
        self, scenario: Scenario, owner: Connection
    ) -> None:
        other = uuid4()
        await owner.execute(
            "insert into identity.clients (id, origin) values ($1, 'import')", other
        )
        await self.begin(owner, other, MAX_OPEN, timedelta(hours=1))
        await self.begin(owner, scenario.client_id, MAX_OPEN, timedelta(hours=25))
        assert (await scenario.top_up(100))["success"]


class TestProviderFails:
    async def refused(self, scenario: Scenario, status: int = 503) -> dict[str, object]:
        answer = await scenario.request("POST", "/balance/topup-qr", json={"amount": 100})
        body = answer.json()
        assert (answer.status_code, body["success"]) == (status, False)
        assert body["error_code"] == "payment_provider_error"
        assert body["error"] == body["message"] == messages.LANGUAGES["ru"][body["error_code"]]
        assert answer.headers["content-language"] == "ru"
        assert answer.headers["content-type"] == "application/json"
        return body

    async def test_error_leaves_an_intent_that_is_asked_about(
        self, scenario: Scenario, owner: Connection
    ) -> None:
        await scenario.faults(create={"mode": "error"})
        body = await self.refused(scenario)
        stored = await owner.fetchrow("select * from payments.payments")
        assert stored is not None
        assert (stored["invoice_id"], stored["status"]) == (body["invoice_id"], "processing")
        assert stored["next_check_at"] is not None
        assert stored["closed_at"] is None

    @pytest.mark.parametrize("known_as", ["provider_ref", "credited_ref"])
    async def test_reference_of_another_invoice_is_no_invoice(
        self, scenario: Scenario, owner: Connection, known_as: str
    ) -> None:
        """The bank returns an invoice that it made, or got paid, for another order."""
        earlier = await scenario.top_up(100)
        if known_as == "credited_ref":
            await scenario.confirmer.confirm(event(earlier["order_id"]))
        [ref] = await owner.fetch(f"select {known_as}, provider_ref from payments.payments")
        create = scenario.provider.create_invoice

        async def mistaken(**arguments: Any) -> Invoice:
            return replace(await create(**arguments), provider_ref=ref[0])

        scenario.provider.create_invoice = mistaken  # type: ignore[method-assign]
        body = await self.refused(scenario)
        assert body["invoice_id"] != earlier["invoice_id"]
        rows = await owner.fetch(
            "select provider_ref, next_check_at from payments.payments order by id"
        )
        assert [row["provider_ref"] for row in rows] == [ref["provider_ref"], None]
        assert rows[1]["next_check_at"] is not None

    async def test_one_reference_for_two_orders_at_the_same_moment_is_no_invoice(
        self, scenario: Scenario, owner: Connection, dsn: str
    ) -> None:
        other = await payment(owner, scenario.client_id)
        create = scenario.provider.create_invoice
        concurrent: Connection = await asyncpg.connect(as_owner(dsn))
        same_moment = concurrent.transaction()
        await same_moment.start()

        async def mistaken(**arguments: Any) -> Invoice:
            made = await create(**arguments)
            await concurrent.execute(
                "update payments.payments set provider_ref = $1 where order_id = $2",
                made.provider_ref, other,
            )  # fmt: skip
            return made

        async def waits() -> bool:
            return refused.done() or await lock_waits(owner) > 0

        scenario.provider.create_invoice = mistaken  # type: ignore[method-assign]
        refused = asyncio.create_task(self.refused(scenario))
        await until(waits)
        await same_moment.commit()
        await concurrent.close()
        body = await refused
        stored = await owner.fetchrow(
            "select provider_ref, next_check_at from payments.payments where invoice_id = $1",
            body["invoice_id"],
        )
        assert stored is not None
        assert stored["provider_ref"] is None
        assert stored["next_check_at"] is not None

    async def test_a_slow_provider_times_out(self, scenario: Scenario) -> None:
        await scenario.faults(create={"mode": "slow", "slow_s": 3})
        scenario.shorten_waits()
        await self.refused(scenario)

    async def test_provider_that_is_down(self, scenario: Scenario) -> None:
        # A closed port may be reused by another test at any moment; port 1 is never used.
        scenario.provider._url = "http://127.0.0.1:1"
        await self.refused(scenario)

    async def test_refusal_closes_the_intent(self, scenario: Scenario, owner: Connection) -> None:
        scenario.provider._headers = {"X-Merchant-Key": "wrong"}
        await self.refused(scenario, 409)
        stored = await owner.fetchrow("select * from payments.payments")
        assert stored is not None
        assert (stored["status"], stored["next_check_at"]) == ("canceled", None)
        assert stored["closed_at"] is not None

    @pytest.mark.parametrize(("paid", "status"), [(10_000, "approved"), (5_000, "processing")])
    async def test_refusal_of_what_was_paid_meanwhile_closes_nothing(
        self, scenario: Scenario, owner: Connection, paid: int, status: str
    ) -> None:
        """A bank that contradicts itself: the money it reported first stays credited."""

        async def contradict(**arguments: Any) -> Invoice:
            await scenario.confirmer.confirm(event(arguments["order_id"], paid_minor=paid))
            raise ProviderRefused("no")

        scenario.provider.create_invoice = contradict  # type: ignore[method-assign]
        await self.refused(scenario)
        assert await owner.fetchval("select status from payments.payments") == status
        assert await scenario.balance() == (10_000 if status == "approved" else 0)

    async def test_without_any_provider(self, scenario: Scenario, owner: Connection) -> None:
        scenario.providers.qr = None
        answer = await scenario.request("POST", "/balance/topup-qr", json={"amount": 100})
        assert code_of(answer) == "payment_provider_error"
        assert await owner.fetchval("select count(*) from payments.payments") == 0


KEY = {"Idempotency-Key": "one-press-of-the-button"}


class TestIdempotencyKey:
    async def press(self, scenario: Scenario, amount: float = 100, **more: Any) -> dict[str, Any]:
        answer = await scenario.request(
            "POST", "/balance/topup-qr", json={"amount": amount, **more}, headers=dict(KEY)
        )
        return {"status_code": answer.status_code, **answer.json()}

    async def pay_the_only_payment(self, scenario: Scenario, begun: dict[str, Any]) -> None:
        await scenario.pay(begun)
        await scenario.until_approved(begun)
        assert await scenario.balance() == 10_000

    @pytest.mark.parametrize("mode", ["lost", "error"])
    async def test_after_a_lost_answer_the_same_payment_is_resumed(
        self, scenario: Scenario, owner: Connection, mode: str
    ) -> None:
        await scenario.faults(create={"mode": mode, "times": 2})
        lost = [await self.press(scenario) for _ in range(2)]
        assert [body["error_code"] for body in lost] == ["payment_provider_error"] * 2
        begun = await self.press(scenario)
        assert begun["success"] is True
        assert {body["invoice_id"] for body in (*lost, begun)} == {begun["invoice_id"]}
        again = await self.press(scenario)
        assert again == begun
        assert await owner.fetchval("select count(*) from payments.payments") == 1
        await self.pay_the_only_payment(scenario, begun)

    async def test_after_a_slow_answer_the_same_payment_is_resumed(
        self, scenario: Scenario, owner: Connection
    ) -> None:
        await scenario.faults(create={"mode": "slow", "slow_s": 3})
        scenario.shorten_waits()
        slow = await self.press(scenario)
        assert slow["success"] is False
        scenario.restore_waits()
        begun = await self.press(scenario)
        assert (begun["success"], begun["invoice_id"]) == (True, slow["invoice_id"])
        assert await owner.fetchval("select count(*) from payments.payments") == 1

    async def test_a_crash_after_the_provider_answered_is_resumed_without_it(
        self, scenario: Scenario, owner: Connection
    ) -> None:
        begun = await self.press(scenario)
        crashed = "update foundation.idempotency_keys set status = null, body = null,"
        await owner.execute(f"{crashed} leased_until = now() - interval '1 s'")
        await scenario.bank.stop()
        again = await self.press(scenario)
        assert again == begun
        assert await owner.fetchval("select count(*) from payments.payments") == 1

    async def test_a_crash_before_the_provider_call_is_resumed(
        self, scenario: Scenario, owner: Connection
    ) -> None:
        order_id = await payment(owner, scenario.client_id)
        await owner.execute(
            "update payments.payments set idempotency_key = $1", KEY["Idempotency-Key"]
        )
        begun = await self.press(scenario)
        assert (begun["success"], begun["order_id"]) == (True, order_id)
        await self.pay_the_only_payment(scenario, begun)

    async def test_two_at_once_under_one_key_share_a_payment(
        self, scenario: Scenario, owner: Connection
    ) -> None:
        """As after a lease that expired while the first call still runs."""

        async def run() -> StartedTopUp | TopUpFailure:
            return await top_up(
                scenario.db,
                scenario.provider,
                scenario.confirmer,
                client_id=scenario.client_id,
                amount_minor=10_000,
                description=None,
                clock=scenario.clock,
                key="k",
            )

        made = await asyncio.gather(*(run() for _ in range(8)))
        assert {type(item) for item in made} == {StartedTopUp}
        assert len({item.payment and item.payment.id for item in made}) == 1
        assert await owner.fetchval("select count(*) from payments.payments") == 1

    async def test_while_its_outcome_is_unknown_a_key_begins_no_other_top_up(
        self, scenario: Scenario, owner: Connection
    ) -> None:
        await scenario.faults(create={"mode": "lost"})
        await self.press(scenario)
        for another in ({"amount": 200}, {"description": "another"}) * 2:
            other = await self.press(scenario, **another)
            assert (other["status_code"], other["error_code"]) == (409, "idempotency_conflict")
            await owner.execute(
                "delete from foundation.idempotency_keys"
            )  # the payment stores the key too
        assert await owner.fetchval("select count(*) from payments.payments") == 1

    async def test_what_the_bank_refused_is_over_and_the_key_is_free(
        self, scenario: Scenario, owner: Connection
    ) -> None:
        headers, scenario.provider._headers = (
            scenario.provider._headers,
            {"X-Merchant-Key": "wrong"},
        )
        refused = await self.press(scenario)
        scenario.provider._headers = headers
        begun = await self.press(scenario)
        assert begun["success"] is True
        assert begun["invoice_id"] != refused["invoice_id"]
        states = "select array_agg(status order by id) from payments.payments"
        assert await owner.fetchval(states) == ["canceled", "processing"]
        await self.pay_the_only_payment(scenario, begun)

    async def test_a_refusal_after_a_lost_answer_closes_nothing(
        self, scenario: Scenario, owner: Connection
    ) -> None:
        await scenario.faults(create={"mode": "lost"})
        lost = await self.press(scenario)
        headers, scenario.provider._headers = (
            scenario.provider._headers,
            {"X-Merchant-Key": "wrong"},
        )
        assert (await self.press(scenario))["success"] is False
        assert await owner.fetchval("select status from payments.payments") == "processing"
        scenario.provider._headers = headers
        begun = await self.press(scenario)
        assert begun["invoice_id"] == lost["invoice_id"]
        await self.pay_the_only_payment(scenario, begun)

    @pytest.mark.parametrize("status", [408, 425, 429, 500, 503])
    async def test_try_again_later_is_no_refusal(
        self, scenario: Scenario, owner: Connection, status: int
    ) -> None:
        async def busy(_: Request) -> Response:
            return Response("{}", status)

        app = FastAPI()
        app.add_route("/v1/invoices", busy, methods=["POST"])
        other, usual = LoopbackServer(), scenario.provider._url
        await other.start(app)
        scenario.provider._url = other.url
        later = await self.press(scenario)
        await other.stop()
        other.close()
        assert later["success"] is False
        assert await owner.fetchval("select status from payments.payments") == "processing"
        scenario.provider._url = usual
        begun = await self.press(scenario)
        assert (begun["success"], begun["invoice_id"]) == (True, later["invoice_id"])

    async def test_without_a_provider_the_key_stays_free(self, scenario: Scenario) -> None:
        provider, scenario.providers.qr = scenario.providers.qr, None
        assert (await self.press(scenario))["success"] is False
        scenario.providers.qr = provider
        assert (await self.press(scenario))["success"] is True

    async def test_a_key_is_its_clients_own(self, scenario: Scenario, owner: Connection) -> None:
        first = await self.press(scenario)
        stranger = uuid4()
        await owner.execute(
            "insert into identity.clients (id, origin) values ($1, 'import')", stranger
        )
        answer = await scenario.request(
            "POST", "/balance/topup-qr", client_id=stranger, json={"amount": 100}, headers=dict(KEY)
        )
        assert answer.json()["invoice_id"] != first["invoice_id"]

    async def test_after_three_days_a_key_begins_anew(
        self, scenario: Scenario, owner: Connection
    ) -> None:
        old = await self.press(scenario)
        await owner.execute("delete from foundation.idempotency_keys")
        await owner.execute("update payments.payments set created_at = now() - interval '72 h'")
        new = await self.press(scenario)
        assert (new["success"], new["invoice_id"] == old["invoice_id"]) == (True, False)


class TestStatus:
    async def test_old_shape_while_it_waits(self, scenario: Scenario) -> None:
        begun = await scenario.top_up(100)
        status = await scenario.status(begun["invoice_id"])
        assert status == {
            "success": True,
            "status": 0,
            "status_text": "processing",
            "amount": 100.0,
            "invoice_id": begun["invoice_id"],
            "can_proceed": False,
            "can_start_charging": False,
            "qr_expired": False,
            "invoice_expired": False,
            "qr_expires_at": begun["qr_expires_at"],
            "invoice_expires_at": begun["qr_expires_at"],
            "needs_callback_check": True,
        }
        assert_taken("payment", status)
        assert await scenario.status(begun["order_id"]) == status

    async def test_expired_reads_as_canceled_and_is_still_credited(
        self, scenario: Scenario
    ) -> None:
        begun = await scenario.top_up(100)
        scenario.clock.forward(minutes=6)
        status = await scenario.status(begun["invoice_id"])
        assert (status["status"], status["qr_expired"]) == (2, True)
        await scenario.pay(begun)
        await scenario.until_approved(begun)
        assert await scenario.balance() == 10_000

    async def test_another_clients_invoice_is_as_unknown(
        self, scenario: Scenario, owner: Connection
    ) -> None:
        other = uuid4()
        await owner.execute(
            "insert into identity.clients (id, origin) values ($1, 'import')", other
        )
        begun = await scenario.top_up(100)
        answer = await scenario.request(
            "GET", f"/payment/status/{begun['invoice_id']}", client_id=other
        )
        unknown = await scenario.request("GET", "/payment/status/nothing", client_id=other)
        named = {**unknown.json(), "invoice_id": begun["invoice_id"]}
        assert (answer.status_code, answer.json()) == (200, named)

    async def test_unknown_invoices(self, scenario: Scenario) -> None:
        for invoice_id in ["nothing", "'; drop table x --", "ыыы"]:
            answer = await scenario.request("GET", f"/payment/status/{invoice_id}")
            body = answer.json()
            assert (answer.status_code, body["success"]) == (200, True)
            assert (body["status"], body["error_code"]) == (2, "payment_not_found")
            assert_taken("payment", body)
            named = answer.headers["content-language"], answer.headers["vary"]
            assert named == ("ru", "Accept-Language")

    async def test_without_a_token(self, scenario: Scenario) -> None:
        answer = await scenario.http.get(f"{scenario.api.url}/api/v1/payment/status/x")
        assert answer.status_code == 401

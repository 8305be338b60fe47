"""POST /api/v1/balance/topup-qr, as the apps send it and as nobody should."""

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import orjson
import pytest
from fastapi import FastAPI, Request, Response

from evpower.foundation.db import Connection
from evpower.payments import Invoice, NotBegun, ToppingUp, top_up
from evpower.payments.errors import ProviderRefused
from evpower.payments.top_up import MAX_OPEN
from tests.conftest import as_owner
from tests.payments.conftest import Served, World, payment
from tests.payments.interleave import waiting
from tests.payments.test_confirm import event
from tests.waiting import WAIT_LIMIT_S, until


class TestAnswer:
    async def test_old_shape_with_a_qr_to_pay(self, world: World) -> None:
        begun = await world.top_up(250.5, description="Tesla", client_id=str(world.client_id))
        assert set(begun) == {
            "success",
            "invoice_id",
            "order_id",
            "qr_code",
            "qr_code_url",
            "app_link",
            "amount",
            "client_id",
            "current_balance",
            "qr_expires_at",
            "invoice_expires_at",
            "qr_lifetime_seconds",
            "invoice_lifetime_seconds",
        }
        assert (begun["success"], begun["amount"], begun["current_balance"]) == (True, 250.5, 0)
        assert begun["client_id"] == str(world.client_id)
        assert begun["qr_lifetime_seconds"] == begun["invoice_lifetime_seconds"] == 300
        assert begun["qr_expires_at"].endswith("Z")
        lasts = datetime.fromisoformat(begun["qr_expires_at"]) - world.clock()
        assert timedelta(seconds=300 - WAIT_LIMIT_S) < lasts <= timedelta(seconds=300)
        picture = await world.http.get(begun["qr_code_url"])
        assert picture.content.startswith(b"\x89PNG")

    async def test_paid_top_up_is_on_the_balance(self, world: World) -> None:
        begun = await world.top_up(100)
        await world.pay(begun)
        await world.until_approved(begun)
        status = await world.status(begun["invoice_id"])
        assert (status["success"], status["can_proceed"], status["paid_amount"]) == (
            True,
            True,
            100,
        )
        assert await world.balance() == 10_000
        await until(lambda: world.told, "it is told after it is committed")
        assert world.told == [world.client_id]
        assert (await world.top_up(100))["current_balance"] == 100

    async def test_newer_qr_hides_the_older_which_stays_payable(self, world: World) -> None:
        older = await world.top_up(100)
        newer = await world.top_up(200)
        assert (await world.status(older["invoice_id"]))["status"] == 2
        assert (await world.status(newer["invoice_id"]))["status"] == 0
        await world.pay(older)
        await world.until_approved(older)
        assert await world.balance() == 10_000

    async def test_newer_qr_hides_no_one_else_s_and_no_card_s(
        self, world: World, owner: Connection
    ) -> None:
        other = uuid4()
        await owner.execute(
            "insert into identity.clients (id, origin) values ($1, 'import')", other
        )
        mine, theirs = await world.top_up(100), await world.top_up(100, client=other)
        card = await payment(owner, world.client_id)
        await owner.execute(
            "update payments.payments set method = 'card' where order_id = $1", card
        )
        paid = await world.top_up(100)
        await world.pay(paid)
        await world.until_approved(paid)
        until_s = await owner.fetchval(
            "select expires_at from payments.payments where order_id = $1", paid["order_id"]
        )
        await world.top_up(100)
        shown = await owner.fetch(
            "select order_id from payments.payments where expires_at > $1", world.clock()
        )
        orders = {row["order_id"] for row in shown}
        assert {theirs["order_id"], card} <= orders
        assert mine["order_id"] not in orders
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
    async def refusal(self, world: World, body: bytes) -> tuple[int, str]:
        answer = await world.ask("POST", "/balance/topup-qr", content=body)
        return answer.status_code, answer.json()["error"]

    async def test_amounts_that_are_none(self, world: World, owner: Connection) -> None:
        for amount in NO_AMOUNTS:
            body = f'{{"amount": {amount}}}'.encode()
            assert await self.refusal(world, body) == (422, "invalid_amount"), amount[:40]
        assert await self.refusal(world, b"{}") == (422, "invalid_amount")
        assert await owner.fetchval("select count(*) from payments.payments") == 0

    async def test_amounts_beyond_the_bounds(self, world: World) -> None:
        low = await self.refusal(world, b'{"amount": 9.99}')
        high = await self.refusal(world, b'{"amount": 100000.01}')
        assert (low, high) == ((422, "minimum_amount_required"), (422, "maximum_amount_exceeded"))

    async def test_amounts_within_the_bounds(self, world: World) -> None:
        for amount in ["10", "100000", "100000.00", "1e2", "10.10"]:
            body = f'{{"amount": {amount}}}'.encode()
            answer = await world.ask("POST", "/balance/topup-qr", content=body)
            assert answer.json()["amount"] == float(amount)

    async def test_bodies_that_are_no_objects(self, world: World) -> None:
        for body in NO_BODIES:
            assert await self.refusal(world, body) == (422, "invalid_request"), body[:40]

    async def test_descriptions_that_are_none(self, world: World) -> None:
        for description in NO_DESCRIPTIONS:
            body = b'{"amount": 100, "description": %s}' % description
            assert await self.refusal(world, body) == (422, "invalid_request"), description[:40]

    @pytest.mark.parametrize("currency", ["USD", "", 417, {"code": "KGS"}])
    async def test_money_of_another_currency_is_refused(
        self, world: World, owner: Connection, currency: object
    ) -> None:
        body = orjson.dumps({"amount": 500, "currency": currency})
        assert await self.refusal(world, body) == (422, "invalid_request")
        assert await owner.fetchval("select count(*) from payments.payments") == 0

    async def test_the_currency_may_be_named_or_left_out(self, world: World) -> None:
        for more in ('"KGS"', "null"):
            body = f'{{"amount": 500, "currency": {more}}}'.encode()
            answer = await world.ask("POST", "/balance/topup-qr", content=body)
            assert answer.json()["success"] is True

    async def test_another_clients_id_is_forbidden(self, world: World) -> None:
        for said in (str(uuid4()), 7, ""):
            asked = {"amount": 100, "client_id": said}
            answer = await world.ask("POST", "/balance/topup-qr", json=asked)
            assert (answer.status_code, answer.json()["error"]) == (403, "forbidden")

    async def test_the_clients_own_id_from_before_is_the_client(
        self, world: World, owner: Connection
    ) -> None:
        other = uuid4()
        await owner.execute(
            "insert into identity.clients (id, origin) values ($1, 'import')", other
        )
        for old_id, client in (("C-7", world.client_id), ("C-8", other)):
            await owner.execute(
                "insert into identity.aliases (kind, alias, client_id)"
                " values ('client_id', $1, $2)",
                old_id,
                client,
            )
        begun = await world.top_up(100, client_id="C-7")
        assert begun["client_id"] == str(world.client_id)
        asked = {"amount": 100, "client_id": "C-8"}
        answer = await world.ask("POST", "/balance/topup-qr", json=asked)
        assert (answer.status_code, answer.json()["error"]) == (403, "forbidden")

    async def test_huge_body_is_cut(self, world: World) -> None:
        answer = await world.ask("POST", "/balance/topup-qr", content=b"{" + b" " * 50_000 + b"}")
        assert (answer.status_code, answer.json()["error"]) == (413, "too_large")

    async def test_without_a_token(self, world: World) -> None:
        answer = await world.http.post(
            f"{world.api.url}/api/v1/balance/topup-qr", json={"amount": 100}
        )
        assert answer.status_code == 401

    async def test_client_who_asked_for_deletion_is_forbidden(
        self, world: World, owner: Connection
    ) -> None:
        await owner.execute("update identity.clients set deletion_requested_at = now()")
        answer = await world.ask("POST", "/balance/topup-qr", json={"amount": 100})
        assert (answer.status_code, answer.json()["error"]) == (403, "client_deleted")
        assert await owner.fetchval("select count(*) from payments.payments") == 0

    @pytest.mark.parametrize(
        ("change", "code"),
        [
            ("status = 'closed'", "client_closed"),
            ("status = 'blocked'", "client_blocked"),
            ("deletion_requested_at = now()", "client_deleted"),
        ],
    )
    async def test_client_who_ended_while_the_bank_answered_is_shown_no_qr(
        self, world: World, owner: Connection, change: str, code: str
    ) -> None:
        create = world.provider.create_invoice

        async def meanwhile(**asked: Any) -> Invoice:
            await owner.execute(f"update identity.clients set {change}")
            return await create(**asked)

        world.provider.create_invoice = meanwhile  # type: ignore[method-assign]
        answer = await world.ask("POST", "/balance/topup-qr", json={"amount": 100})
        assert (answer.status_code, answer.json()["error"]) == (403, code)
        stored = await owner.fetchrow("select * from payments.payments")
        assert stored is not None
        assert stored["expires_at"] <= world.clock()
        await world.http.request(
            "POST", f"{world.bank.url}/pay/{stored['provider_ref']}/approve", json={}
        )

        async def credited() -> bool:
            return await world.balance() == 10_000

        await until(credited, "what was paid nevertheless is credited")

    async def test_blocked_client_is_forbidden(self, world: World, owner: Connection) -> None:
        await owner.execute("update identity.clients set status = 'blocked'")
        answer = await world.ask("POST", "/balance/topup-qr", json={"amount": 100})
        assert (answer.status_code, answer.json()["error"]) == (403, "client_blocked")


class TestUnpaid:
    async def begin(self, owner: Connection, client: UUID, count: int, age: timedelta) -> list[str]:
        """Begin open payments of one client; their order ids."""
        orders = [await payment(owner, client) for _ in range(count)]
        await owner.execute(
            "update payments.payments set created_at = now() - $2::interval"
            " where order_id = any ($1)",
            orders,
            age,
        )
        return orders

    async def test_so_many_of_a_day_and_no_more(self, world: World, owner: Connection) -> None:
        orders = await self.begin(owner, world.client_id, MAX_OPEN - 1, timedelta(hours=1))
        last = {"json": {"amount": 100}, "headers": {"Idempotency-Key": "the-last-one"}}
        begun = (await world.ask("POST", "/balance/topup-qr", **last)).json()
        refused = await world.ask("POST", "/balance/topup-qr", json={"amount": 100})
        assert (refused.status_code, refused.json()["error"]) == (429, "too_many_unpaid")
        assert refused.headers["retry-after"] == "3600"
        again = (await world.ask("POST", "/balance/topup-qr", **last)).json()
        assert again["invoice_id"] == begun["invoice_id"], "the same key begins nothing"
        await owner.execute(
            "update payments.payments set status = 'canceled', closed_at = now()"
            " where order_id = $1",
            orders[0],
        )
        assert (await world.top_up(100))["success"], "one was closed"

    async def test_those_of_others_and_of_the_day_before_do_not_count(
        self, world: World, owner: Connection
    ) -> None:
        other = uuid4()
        await owner.execute(
            "insert into identity.clients (id, origin) values ($1, 'import')", other
        )
        await self.begin(owner, other, MAX_OPEN, timedelta(hours=1))
        await self.begin(owner, world.client_id, MAX_OPEN, timedelta(hours=25))
        assert (await world.top_up(100))["success"]


class TestProviderFails:
    async def refused(self, world: World) -> dict[str, object]:
        answer = await world.ask("POST", "/balance/topup-qr", json={"amount": 100})
        body = answer.json()
        assert (answer.status_code, body["success"]) == (200, False)
        assert body["error"] == "payment_provider_error"
        assert body["message"]
        assert answer.headers["content-language"] == "ru"
        return body

    async def test_error_leaves_an_intent_that_is_asked_about(
        self, world: World, owner: Connection
    ) -> None:
        await world.faults(create={"mode": "error"})
        body = await self.refused(world)
        stored = await owner.fetchrow("select * from payments.payments")
        assert stored is not None
        assert (stored["invoice_id"], stored["status"]) == (body["invoice_id"], "processing")
        assert stored["next_check_at"] is not None
        assert stored["closed_at"] is None

    @pytest.mark.parametrize("known_as", ["provider_ref", "credited_ref"])
    async def test_reference_of_another_invoice_is_no_invoice(
        self, world: World, owner: Connection, known_as: str
    ) -> None:
        """The bank answers with a bill it made, or took money for, under another order."""
        earlier = await world.top_up(100)
        if known_as == "credited_ref":
            await world.confirmer.confirm(event(earlier["order_id"]))
        [ref] = await owner.fetch(f"select {known_as}, provider_ref from payments.payments")
        create = world.provider.create_invoice

        async def mistaken(**asked: Any) -> Invoice:
            return replace(await create(**asked), provider_ref=ref[0])

        world.provider.create_invoice = mistaken  # type: ignore[method-assign]
        body = await self.refused(world)
        assert body["invoice_id"] != earlier["invoice_id"]
        rows = await owner.fetch(
            "select provider_ref, next_check_at from payments.payments order by id"
        )
        assert [row["provider_ref"] for row in rows] == [ref["provider_ref"], None]
        assert rows[1]["next_check_at"] is not None

    async def test_one_reference_for_two_orders_at_the_same_moment_is_no_invoice(
        self, world: World, owner: Connection, dsn: str
    ) -> None:
        other = await payment(owner, world.client_id)
        create = world.provider.create_invoice
        twin: Connection = await asyncpg.connect(as_owner(dsn))
        same_moment = twin.transaction()
        await same_moment.start()

        async def mistaken(**asked: Any) -> Invoice:
            made = await create(**asked)
            await twin.execute(
                "update payments.payments set provider_ref = $1 where order_id = $2",
                made.provider_ref, other,
            )  # fmt: skip
            return made

        async def waits() -> bool:
            return refused.done() or await waiting(owner) > 0

        world.provider.create_invoice = mistaken  # type: ignore[method-assign]
        refused = asyncio.create_task(self.refused(world))
        await until(waits)
        await same_moment.commit()
        await twin.close()
        body = await refused
        stored = await owner.fetchrow(
            "select provider_ref, next_check_at from payments.payments where invoice_id = $1",
            body["invoice_id"],
        )
        assert stored is not None
        assert stored["provider_ref"] is None
        assert stored["next_check_at"] is not None

    async def test_slow_provider_is_not_waited_for(self, world: World) -> None:
        await world.faults(create={"mode": "slow", "slow_s": 3})
        world.shorten_waits()
        await self.refused(world)

    async def test_provider_that_is_down(self, world: World) -> None:
        # A port given up may be another test's in the next moment; this one is nobody's.
        world.provider._url = "http://127.0.0.1:1"
        await self.refused(world)

    async def test_refusal_closes_the_intent(self, world: World, owner: Connection) -> None:
        world.provider._headers = {"X-Merchant-Key": "wrong"}
        await self.refused(world)
        stored = await owner.fetchrow("select * from payments.payments")
        assert stored is not None
        assert (stored["status"], stored["next_check_at"]) == ("canceled", None)
        assert stored["closed_at"] is not None

    @pytest.mark.parametrize(("paid", "status"), [(10_000, "approved"), (5_000, "processing")])
    async def test_refusal_of_what_was_paid_meanwhile_closes_nothing(
        self, world: World, owner: Connection, paid: int, status: str
    ) -> None:
        """A bank that contradicts itself: the money it spoke of first stays where it is."""

        async def contradict(**asked: Any) -> Invoice:
            await world.confirmer.confirm(event(asked["order_id"], paid_minor=paid))
            raise ProviderRefused("no")

        world.provider.create_invoice = contradict  # type: ignore[method-assign]
        await self.refused(world)
        assert await owner.fetchval("select status from payments.payments") == status
        assert await world.balance() == (10_000 if status == "approved" else 0)

    async def test_without_any_provider(self, world: World, owner: Connection) -> None:
        world.providers.qr = None
        answer = await world.ask("POST", "/balance/topup-qr", json={"amount": 100})
        assert answer.json()["error"] == "payment_provider_error"
        assert await owner.fetchval("select count(*) from payments.payments") == 0


KEY = {"Idempotency-Key": "one-press-of-the-button"}


class TestIdempotencyKey:
    async def press(self, world: World, amount: float = 100, **more: Any) -> dict[str, Any]:
        answer = await world.ask(
            "POST", "/balance/topup-qr", json={"amount": amount, **more}, headers=dict(KEY)
        )
        return {"status_code": answer.status_code, **answer.json()}

    async def the_only_one_is_paid(self, world: World, begun: dict[str, Any]) -> None:
        await world.pay(begun)
        await world.until_approved(begun)
        assert await world.balance() == 10_000

    @pytest.mark.parametrize("mode", ["lost", "error"])
    async def test_after_a_lost_answer_the_same_payment_is_resumed(
        self, world: World, owner: Connection, mode: str
    ) -> None:
        await world.faults(create={"mode": mode, "times": 2})
        lost = [await self.press(world) for _ in range(2)]
        assert [one["error"] for one in lost] == ["payment_provider_error"] * 2
        begun = await self.press(world)
        assert begun["success"] is True
        assert {one["invoice_id"] for one in (*lost, begun)} == {begun["invoice_id"]}
        again = await self.press(world)
        assert again == begun
        assert await owner.fetchval("select count(*) from payments.payments") == 1
        await self.the_only_one_is_paid(world, begun)

    async def test_after_a_slow_answer_the_same_payment_is_resumed(
        self, world: World, owner: Connection
    ) -> None:
        await world.faults(create={"mode": "slow", "slow_s": 3})
        world.shorten_waits()
        slow = await self.press(world)
        assert slow["success"] is False
        world.restore_waits()
        begun = await self.press(world)
        assert (begun["success"], begun["invoice_id"]) == (True, slow["invoice_id"])
        assert await owner.fetchval("select count(*) from payments.payments") == 1

    async def test_a_crash_after_the_provider_answered_is_resumed_without_it(
        self, world: World, owner: Connection
    ) -> None:
        begun = await self.press(world)
        crashed = "update foundation.idempotency_keys set status = null, body = null,"
        await owner.execute(f"{crashed} leased_until = now() - interval '1 s'")
        await world.bank.stop()
        again = await self.press(world)
        assert again == begun
        assert await owner.fetchval("select count(*) from payments.payments") == 1

    async def test_a_crash_before_the_provider_was_asked_is_resumed(
        self, world: World, owner: Connection
    ) -> None:
        order_id = await payment(owner, world.client_id)
        await owner.execute(
            "update payments.payments set idempotency_key = $1", KEY["Idempotency-Key"]
        )
        begun = await self.press(world)
        assert (begun["success"], begun["order_id"]) == (True, order_id)
        await self.the_only_one_is_paid(world, begun)

    async def test_two_at_once_under_one_key_share_a_payment(
        self, world: World, owner: Connection
    ) -> None:
        """As after a lease that passed while the first still runs."""

        async def run() -> ToppingUp | NotBegun:
            return await top_up(
                world.db,
                world.provider,
                client_id=world.client_id,
                amount_minor=10_000,
                description=None,
                clock=world.clock,
                key="k",
            )

        made = await asyncio.gather(*(run() for _ in range(8)))
        assert {type(one) for one in made} == {ToppingUp}
        assert len({one.payment and one.payment.id for one in made}) == 1
        assert await owner.fetchval("select count(*) from payments.payments") == 1

    async def test_while_its_outcome_is_unknown_a_key_begins_no_other_top_up(
        self, world: World, owner: Connection
    ) -> None:
        await world.faults(create={"mode": "lost"})
        await self.press(world)
        for another in ({"amount": 200}, {"description": "another"}) * 2:
            other = await self.press(world, **another)
            assert (other["status_code"], other["error"]) == (409, "idempotency_conflict")
            await owner.execute("delete from foundation.idempotency_keys")  # the payment knows too
        assert await owner.fetchval("select count(*) from payments.payments") == 1

    async def test_what_the_bank_refused_is_over_and_the_key_is_free(
        self, world: World, owner: Connection
    ) -> None:
        headers, world.provider._headers = world.provider._headers, {"X-Merchant-Key": "wrong"}
        refused = await self.press(world)
        world.provider._headers = headers
        begun = await self.press(world)
        assert begun["success"] is True
        assert begun["invoice_id"] != refused["invoice_id"]
        states = "select array_agg(status order by id) from payments.payments"
        assert await owner.fetchval(states) == ["canceled", "processing"]
        await self.the_only_one_is_paid(world, begun)

    async def test_a_refusal_after_a_lost_answer_closes_nothing(
        self, world: World, owner: Connection
    ) -> None:
        await world.faults(create={"mode": "lost"})
        lost = await self.press(world)
        headers, world.provider._headers = world.provider._headers, {"X-Merchant-Key": "wrong"}
        assert (await self.press(world))["success"] is False
        assert await owner.fetchval("select status from payments.payments") == "processing"
        world.provider._headers = headers
        begun = await self.press(world)
        assert begun["invoice_id"] == lost["invoice_id"]
        await self.the_only_one_is_paid(world, begun)

    @pytest.mark.parametrize("status", [408, 425, 429, 500, 503])
    async def test_try_again_later_is_no_refusal(
        self, world: World, owner: Connection, status: int
    ) -> None:
        async def busy(_: Request) -> Response:
            return Response("{}", status)

        app = FastAPI()
        app.add_route("/v1/invoices", busy, methods=["POST"])
        other, usual = Served(), world.provider._url
        await other.start(app)
        world.provider._url = other.url
        later = await self.press(world)
        await other.stop()
        other.close()
        assert later["success"] is False
        assert await owner.fetchval("select status from payments.payments") == "processing"
        world.provider._url = usual
        begun = await self.press(world)
        assert (begun["success"], begun["invoice_id"]) == (True, later["invoice_id"])

    async def test_without_a_provider_the_key_stays_free(self, world: World) -> None:
        provider, world.providers.qr = world.providers.qr, None
        assert (await self.press(world))["success"] is False
        world.providers.qr = provider
        assert (await self.press(world))["success"] is True

    async def test_a_key_is_its_clients_own(self, world: World, owner: Connection) -> None:
        first = await self.press(world)
        stranger = uuid4()
        await owner.execute(
            "insert into identity.clients (id, origin) values ($1, 'import')", stranger
        )
        answer = await world.ask(
            "POST", "/balance/topup-qr", client_id=stranger, json={"amount": 100}, headers=dict(KEY)
        )
        assert answer.json()["invoice_id"] != first["invoice_id"]

    async def test_after_three_days_a_key_begins_anew(
        self, world: World, owner: Connection
    ) -> None:
        old = await self.press(world)
        await owner.execute("delete from foundation.idempotency_keys")
        await owner.execute("update payments.payments set created_at = now() - interval '72 h'")
        new = await self.press(world)
        assert (new["success"], new["invoice_id"] == old["invoice_id"]) == (True, False)


class TestStatus:
    async def test_old_shape_while_it_waits(self, world: World) -> None:
        begun = await world.top_up(100)
        status = await world.status(begun["invoice_id"])
        assert status == {
            "success": True,
            "status": 0,
            "status_text": "processing",
            "amount": 100.0,
            "paid_amount": None,
            "invoice_id": begun["invoice_id"],
            "can_proceed": False,
            "can_start_charging": False,
            "qr_expired": False,
            "invoice_expired": False,
            "qr_expires_at": begun["qr_expires_at"],
            "invoice_expires_at": begun["qr_expires_at"],
            "last_status_check_at": None,
            "needs_callback_check": True,
            "error": None,
        }
        assert await world.status(begun["order_id"]) == status

    async def test_expired_reads_as_canceled_and_is_still_credited(self, world: World) -> None:
        begun = await world.top_up(100)
        world.clock.forward(minutes=6)
        status = await world.status(begun["invoice_id"])
        assert (status["status"], status["qr_expired"]) == (2, True)
        await world.pay(begun)
        await world.until_approved(begun)
        assert await world.balance() == 10_000

    async def test_another_clients_invoice_is_forbidden(
        self, world: World, owner: Connection
    ) -> None:
        other = uuid4()
        await owner.execute(
            "insert into identity.clients (id, origin) values ($1, 'import')", other
        )
        begun = await world.top_up(100)
        answer = await world.ask("GET", f"/payment/status/{begun['invoice_id']}", client_id=other)
        assert (answer.status_code, answer.json()["error"]) == (403, "forbidden")

    async def test_unknown_invoices(self, world: World) -> None:
        for invoice_id in ["nothing", "'; drop table x --", "ыыы"]:
            answer = await world.ask("GET", f"/payment/status/{invoice_id}")
            body = answer.json()
            assert (answer.status_code, body["success"]) == (200, False)
            assert (body["status"], body["error"]) == (0, "payment_not_found")
            named = answer.headers["content-language"], answer.headers["vary"]
            assert named == ("ru", "Accept-Language")

    async def test_without_a_token(self, world: World) -> None:
        answer = await world.http.get(f"{world.api.url}/api/v1/payment/status/x")
        assert answer.status_code == 401

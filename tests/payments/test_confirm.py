"""Events of providers are applied once, even if repeated, reordered or wrong."""

import asyncio
import hashlib
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from evpower.foundation.bus import LocalBus
from evpower.foundation.db import Connection, Database
from evpower.foundation.errors import Invalid, Unavailable
from evpower.payments.confirm import Confirmer
from evpower.payments.model import Event
from evpower.payments.store import confirm_many
from tests.payments.conftest import payment
from tests.waiting import WAIT_LIMIT_S


def event(order_id: str | None, event_id: str = "", **fields: Any) -> Event:
    facts: dict[str, Any] = {
        "provider": "sandbox",
        "event_id": event_id or uuid4().hex,
        "order_id": order_id,
        "provider_ref": f"ref-of-{order_id}",
        "status": "approved",
        "paid_minor": 10_000,
        "currency": "KGS",
        "refunded_minor": 0,
    } | fields
    digest = hashlib.sha256(repr(sorted(facts.items(), key=str)).encode()).digest()
    return Event(**{"body_sha256": digest} | facts)


@pytest.fixture
def published() -> list[UUID]:
    return []


@pytest.fixture
def confirmer(db: Database, published: list[UUID]) -> Confirmer:
    bus = LocalBus()
    bus.subscribe(lambda _, key: published.append(key))
    return Confirmer(db, bus)


async def balance(owner: Connection, client_id: UUID) -> int:
    return await owner.fetchval(
        "select balance_minor from wallet.wallets where client_id = $1", client_id
    )


async def row(owner: Connection, order_id: str) -> Any:
    return await owner.fetchrow("select * from payments.payments where order_id = $1", order_id)


async def kinds(owner: Connection, client_id: UUID) -> list[tuple[str, int]]:
    rows = await owner.fetch(
        "select kind::text, amount_minor from wallet.transactions where client_id = $1"
        " order by version",
        client_id,
    )
    return [(row["kind"], row["amount_minor"]) for row in rows]


class TestOnePayment:
    async def test_approval_credits_and_is_published(
        self, confirmer: Confirmer, owner: Connection, client_id: UUID, published: list[UUID]
    ) -> None:
        order = await payment(owner, client_id)
        done = await confirmer.confirm(event(order))
        assert (done.outcome, done.client_id, done.balance_minor) == (
            "confirmed",
            client_id,
            10_000,
        )
        assert (done.held_minor, done.version, done.review) == (0, 1, None)
        assert published == [client_id]
        stored = await row(owner, order)
        assert (stored["status"], stored["paid_minor"]) == ("approved", 10_000)
        assert stored["confirmed_at"] is not None
        assert stored["closed_at"] is not None
        assert timedelta(minutes=59) < stored["next_check_at"] - stored["closed_at"]

    async def test_second_webhook_credits_nothing(
        self, confirmer: Confirmer, owner: Connection, client_id: UUID, published: list[UUID]
    ) -> None:
        approval = event(await payment(owner, client_id))
        await confirmer.confirm(approval)
        again = await confirmer.confirm(approval)
        assert (again.outcome, again.balance_minor) == ("repeated", 10_000)
        assert published == [client_id]

    async def test_another_event_about_the_same_fact_credits_nothing(
        self, confirmer: Confirmer, owner: Connection, client_id: UUID
    ) -> None:
        order = await payment(owner, client_id)
        await confirmer.confirm(event(order))
        assert (await confirmer.confirm(event(order))).outcome == "repeated"
        assert await balance(owner, client_id) == 10_000

    @pytest.mark.parametrize("same_id", [True, False])
    async def test_fifty_parallel_confirmations_credit_once(
        self,
        db: Database,
        owner: Connection,
        client_id: UUID,
        same_id: bool,  # noqa: FBT001
    ) -> None:
        order = await payment(owner, client_id)
        workers = [Confirmer(db, LocalBus()) for _ in range(5)]
        events = [event(order, "evt" if same_id else f"evt{n}") for n in range(50)]
        done = await asyncio.gather(
            *(workers[n % 5].confirm(item) for n, item in enumerate(events))
        )
        outcomes = [confirmation.outcome for confirmation in done]
        assert (outcomes.count("confirmed"), outcomes.count("repeated")) == (1, 49)
        assert await kinds(owner, client_id) == [("topup", 10_000)]

    async def test_approval_after_cancel_is_credited(
        self, confirmer: Confirmer, owner: Connection, client_id: UUID
    ) -> None:
        order = await payment(owner, client_id)
        canceled = await confirmer.confirm(event(order, status="canceled", paid_minor=0))
        assert canceled.outcome == "canceled"
        assert (await row(owner, order))["status"] == "canceled"
        assert (await confirmer.confirm(event(order))).outcome == "confirmed"
        assert await balance(owner, client_id) == 10_000

    async def test_cancel_after_approval_changes_nothing(
        self, confirmer: Confirmer, owner: Connection, client_id: UUID
    ) -> None:
        order = await payment(owner, client_id)
        await confirmer.confirm(event(order))
        late = await confirmer.confirm(event(order, status="canceled", paid_minor=0))
        assert late.outcome == "ignored"
        assert (await row(owner, order))["status"] == "approved"

    async def test_processing_changes_nothing(
        self, confirmer: Confirmer, owner: Connection, client_id: UUID
    ) -> None:
        order = await payment(owner, client_id)
        early = await confirmer.confirm(event(order, status="processing", paid_minor=0))
        assert early.outcome == "ignored"
        stored = await row(owner, order)
        assert (stored["status"], stored["closed_at"]) == ("processing", None)

    async def test_it_is_found_by_the_providers_id_too(
        self, confirmer: Confirmer, owner: Connection, client_id: UUID
    ) -> None:
        await payment(owner, client_id, provider_ref="ref-7")
        done = await confirmer.confirm(event(None, provider_ref="ref-7"))
        assert done.outcome == "confirmed"


class TestReview:
    @pytest.mark.parametrize(
        ("fields", "reason"),
        [
            ({"paid_minor": 9_999}, "amount_mismatch"),
            ({"paid_minor": None}, "amount_mismatch"),
            ({"currency": "KZT"}, "currency_mismatch"),
            ({"currency": None}, "currency_mismatch"),
            ({"status": "partial_refund", "refunded_minor": 10_001}, "refund_exceeds"),
        ],
    )
    async def test_a_mismatch_goes_to_review_and_credits_nothing(
        self,
        confirmer: Confirmer,
        owner: Connection,
        client_id: UUID,
        published: list[UUID],
        fields: dict[str, Any],
        reason: str,
    ) -> None:
        order = await payment(owner, client_id)
        done = await confirmer.confirm(event(order, **fields))
        assert (done.outcome, done.review) == ("review", reason)
        assert (await balance(owner, client_id), published) == (0, [])
        stored = await row(owner, order)
        assert (stored["status"], stored["review"]) == ("processing", reason)
        assert stored["closed_at"] is not None
        expected = None if reason == "currency_mismatch" else fields.get("paid_minor", 10_000)
        assert stored["paid_minor"] == expected

    async def test_same_id_with_another_body_goes_to_review(
        self, confirmer: Confirmer, owner: Connection, client_id: UUID
    ) -> None:
        order = await payment(owner, client_id)
        at = await owner.fetchval(
            "update payments.payments set next_check_at = now() returning next_check_at"
        )
        first = event(order, "evt", status="processing")
        await confirmer.confirm(first)
        other = await confirmer.confirm(event(order, "evt"))
        assert (other.outcome, other.review) == ("event_reused", "event_reused")
        stored = await row(owner, order)
        assert (stored["status"], stored["review"]) == ("processing", "event_reused")
        assert (stored["closed_at"], stored["next_check_at"]) == (None, at)
        assert await balance(owner, client_id) == 0

    async def test_the_bill_s_reference_and_another_go_to_review(
        self, confirmer: Confirmer, owner: Connection, client_id: UUID
    ) -> None:
        """They may be two names of the same money."""
        order = await payment(owner, client_id, provider_ref="first")
        await confirmer.confirm(event(order, provider_ref="first"))
        twice = await confirmer.confirm(event(order, provider_ref="second"))
        assert (twice.outcome, twice.review) == ("review", "paid_twice")
        assert await balance(owner, client_id) == 10_000


class TestUnknown:
    async def test_unknown_order_is_reported_and_stored(
        self, confirmer: Confirmer, owner: Connection
    ) -> None:
        done = await confirmer.confirm(event("no-such-order", "evt"))
        assert (done.outcome, done.client_id, done.payment_id) == ("unknown_payment", None, None)
        assert await owner.fetchval("select outcome from payments.events") == "unknown_payment"

    async def test_concurrent_duplicates_are_both_unknown(self, confirmer: Confirmer) -> None:
        unknown = event("order-of-no-payment")
        done = await asyncio.gather(confirmer.confirm(unknown), confirmer.confirm(unknown))
        assert [item.outcome for item in done] == ["unknown_payment", "unknown_payment"]

    async def test_it_is_applied_when_sent_again_after_the_payment_exists(
        self, confirmer: Confirmer, owner: Connection, client_id: UUID
    ) -> None:
        early = event("order-later", "evt")
        await confirmer.confirm(early)
        await payment(owner, client_id, order_id="order-later")
        assert (await confirmer.confirm(early)).outcome == "confirmed"
        stored = await owner.fetchrow("select outcome, payment_id from payments.events")
        assert stored is not None
        assert (stored["outcome"], stored["payment_id"] is not None) == ("confirmed", True)

    async def test_another_provider_cannot_confirm_it(
        self, confirmer: Confirmer, owner: Connection, client_id: UUID
    ) -> None:
        order = await payment(owner, client_id)
        done = await confirmer.confirm(event(order, provider="odengi"))
        assert (done.outcome, await balance(owner, client_id)) == ("unknown_payment", 0)


class TestRefunds:
    async def test_partial_then_full_refund_takes_the_money_back(
        self, confirmer: Confirmer, owner: Connection, client_id: UUID, published: list[UUID]
    ) -> None:
        order = await payment(owner, client_id)
        await confirmer.confirm(event(order))
        part = await confirmer.confirm(event(order, status="partial_refund", refunded_minor=3_000))
        assert (part.outcome, part.balance_minor) == ("refunded", 7_000)
        assert (await row(owner, order))["status"] == "partial_refund"
        whole = await confirmer.confirm(event(order, status="refunded", refunded_minor=10_000))
        assert (whole.outcome, whole.balance_minor) == ("refunded", 0)
        assert (await row(owner, order))["status"] == "refunded"
        assert published == [client_id] * 3
        assert await kinds(owner, client_id) == [
            ("topup", 10_000),
            ("refund", -3_000),
            ("refund", -7_000),
        ]

    async def test_reordered_and_repeated_refunds_take_no_more(
        self, confirmer: Confirmer, owner: Connection, client_id: UUID
    ) -> None:
        order = await payment(owner, client_id)
        await confirmer.confirm(event(order))
        whole = event(order, status="refunded", refunded_minor=None)
        assert (await confirmer.confirm(whole)).outcome == "refunded"
        assert (await confirmer.confirm(whole)).outcome == "repeated"
        late = await confirmer.confirm(event(order, status="partial_refund", refunded_minor=3_000))
        assert late.outcome == "repeated"
        assert await balance(owner, client_id) == 0

    async def test_refund_before_its_approval_credits_and_takes_back(
        self, confirmer: Confirmer, owner: Connection, client_id: UUID
    ) -> None:
        order = await payment(owner, client_id)
        done = await confirmer.confirm(event(order, status="partial_refund", refunded_minor=4_000))
        assert (done.outcome, done.balance_minor) == ("confirmed", 6_000)
        assert (await confirmer.confirm(event(order))).outcome == "repeated"
        assert await kinds(owner, client_id) == [("topup", 10_000), ("refund", -4_000)]

    async def test_refund_above_the_balance_becomes_a_debt(
        self, confirmer: Confirmer, owner: Connection, client_id: UUID
    ) -> None:
        order = await payment(owner, client_id)
        await confirmer.confirm(event(order))
        await hold(owner, client_id, 8_000)
        done = await confirmer.confirm(event(order, status="refunded", refunded_minor=10_000))
        assert (done.balance_minor, done.debt_minor) == (8_000, 8_000)
        assert (await row(owner, order))["status"] == "refunded"


async def hold(owner: Connection, client_id: UUID, amount_minor: int) -> None:
    session = uuid4()
    await owner.execute(
        "insert into charging.sessions (id, client_id, station_id, connector_id, state, source,"
        " started_at) values ($1, $2, 'EVP-1', 1, 'charging', 'evpower', now())",
        session,
        client_id,
    )
    outcome = await owner.fetchval("select (wallet.hold($1, $2)).outcome", session, amount_minor)
    assert outcome == "held"


class TestBatches:
    async def test_confirmations_are_in_the_order_of_the_events(
        self, db: Database, owner: Connection, client_id: UUID
    ) -> None:
        orders = [await payment(owner, client_id, 100 + n) for n in range(5)]
        events = [event(order, paid_minor=100 + n) for n, order in enumerate(orders)]
        events.insert(2, event("no-such-order"))
        async with db.transaction() as connection:
            done = await confirm_many(connection, events)
        outcomes = [item.outcome for item in done]
        assert outcomes == ["confirmed"] * 2 + ["unknown_payment"] + ["confirmed"] * 3
        assert {item.balance_minor for item in done if item.client_id} == {510}

    async def test_several_events_of_one_payment_are_applied_in_order(
        self, db: Database, owner: Connection, client_id: UUID
    ) -> None:
        order = await payment(owner, client_id)
        approved = event(order, "evt-a")
        events = [
            event(order, status="canceled", paid_minor=0),
            approved,
            approved,
            event(order, "evt-a", paid_minor=5),
            event(order, status="refunded", refunded_minor=10_000),
            event(order, status="processing"),
        ]
        async with db.transaction() as connection:
            done = await confirm_many(connection, events)
        outcomes = [item.outcome for item in done]
        assert outcomes == [
            "canceled",
            "confirmed",
            "repeated",
            "event_reused",
            "refunded",
            "ignored",
        ]
        assert await kinds(owner, client_id) == [("topup", 10_000), ("refund", -10_000)]

    async def test_events_of_many_wallets_and_refunds_at_once_do_not_deadlock(
        self, db: Database, owner: Connection
    ) -> None:
        clients = [uuid4() for _ in range(6)]
        await owner.executemany(
            "insert into identity.clients (id, origin) values ($1, 'import')",
            [(client,) for client in clients],
        )
        orders = [await payment(owner, client) for client in clients for _ in range(6)]
        bus = LocalBus()
        workers = [Confirmer(db, bus) for _ in range(4)]
        events = [event(order) for order in orders]
        events += [event(order, status="refunded", refunded_minor=None) for order in orders]
        done = await asyncio.gather(
            *(workers[n * 7 % 4].confirm(item) for n, item in enumerate(events * 2))
        )
        assert {item.outcome for item in done} <= {"confirmed", "refunded", "repeated"}
        for client in clients:
            assert sum(amount for _, amount in await kinds(owner, client)) == 0
            assert len(await kinds(owner, client)) == 12

    async def test_a_batch_reads_no_more_rows_when_the_tables_grow(
        self, owner: Connection, client_id: UUID
    ) -> None:
        """Plans made while the tables were small stay good: measured in rows, not in seconds."""

        async def batch() -> list[Event]:
            orders = [await payment(owner, client_id) for _ in range(8)]
            odd = [event(orders[0], "a"), event(orders[0], "a", paid_minor=1)]
            second = event(orders[1], provider_ref=f"second of {orders[1]}")
            back = event(orders[2], status="refunded", refunded_minor=10_000)
            early = event(f"later-{uuid4()}")
            return [*(event(order) for order in orders[1:]), *odd, second, back, early, second]

        async def counted() -> dict[str, int]:
            rows = await owner.fetch(
                "select relname, coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0) as n"
                " from pg_stat_xact_user_tables where schemaname in ('payments', 'wallet')"
            )
            return {row["relname"]: row["n"] for row in rows}

        async def read_rows() -> dict[str, int]:
            events = await batch()
            async with owner.transaction():
                before = await counted()
                await confirm_many(owner, events)
                after = await counted()
            return {table: after[table] - before[table] for table in after}

        await owner.execute("set enable_seqscan = off")  # as in the processes
        for _ in range(7):
            before = await read_rows()
        await owner.execute(
            "insert into payments.payments (invoice_id, order_id, client_id, provider, method,"
            " amount_minor, expires_at) select 'invoice' || g, 'order' || g, $1, 'sandbox', 'qr',"
            " 1, now() from generate_series(1, 3000) g",
            client_id,
        )
        await owner.execute(
            "insert into payments.events (provider, event_id, body_sha256, payment_id, status,"
            " outcome) select 'sandbox', 'event' || g, sha256(''), p.id, 'processing', 'ignored'"
            " from generate_series(1, 3000) g"
            " join payments.payments p on p.order_id = 'order' || g"
        )
        after = await read_rows()
        assert all(after[table] <= before[table] + 10 for table in before), (before, after)

    async def test_one_invalid_event_fails_alone(
        self, confirmer: Confirmer, owner: Connection, client_id: UUID
    ) -> None:
        confirmer._batcher._retry_budget_s = WAIT_LIMIT_S  # time enough to retry each event alone
        good = [event(await payment(owner, client_id)) for _ in range(10)]
        bad = replace(good[0], event_id="a\0b")
        done = await asyncio.gather(
            *map(confirmer.confirm, [*good[:5], bad, *good[5:]]),
            return_exceptions=True,
        )
        failed = [item for item in done if isinstance(item, BaseException)]
        assert len(failed) == 1
        assert isinstance(failed[0], Invalid)
        assert await balance(owner, client_id) == 100_000

    async def test_a_busy_database_is_retried_twice(
        self, confirmer: Confirmer, owner: Connection, client_id: UUID
    ) -> None:
        await owner.execute(
            "create schema busy; create sequence busy.tries;"
            " create function busy.be_busy() returns trigger language plpgsql"
            " set search_path = pg_catalog, pg_temp as $$ begin"
            " if nextval('busy.tries') <= 2 then"
            " raise exception 'busy' using errcode = 'lock_not_available'; end if;"
            " return new; end $$;"
            " create trigger busy before insert on payments.events"
            " for each row execute function busy.be_busy()"
        )
        done = await confirmer.confirm(event(await payment(owner, client_id)))
        assert (done.outcome, done.balance_minor) == ("confirmed", 10_000)

    async def test_without_a_database_the_event_is_refused_as_unavailable(
        self, published: list[UUID]
    ) -> None:
        nowhere = Database("postgresql://127.0.0.1:1/none", size=2)
        await nowhere.start()
        confirmer = Confirmer(nowhere, LocalBus())
        with pytest.raises(Unavailable) as refused:
            await confirmer.confirm(event("order-1"))
        assert refused.value.retry_after_s
        assert published == []
        await nowhere.close()


class TestOnlyTheFunction:
    async def test_processes_cannot_call_apply_events(self, db: Database) -> None:
        async with db.connection() as connection:
            allowed = await connection.fetchval(
                "select has_function_privilege('payments.apply_events(payments.incoming[])',"
                " 'execute')"
            )
        assert allowed is False

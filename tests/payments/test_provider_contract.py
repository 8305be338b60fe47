"""What every provider promises, whatever its bank: docs/how-to/payment-provider.md."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from evpower.foundation.errors import Invalid, Unauthenticated
from evpower.payments.errors import ProviderError, ProviderRefused, ProviderUnavailable
from evpower.payments.model import Event
from evpower.payments.providers.protocol import (
    BillStatus,
    Invoice,
    NoticeAnswer,
    NoticeResult,
    Question,
)
from tests.payments.rigs import RIGS, Rig, later

ORDER = "qr_topup_abcdefghjkmn"
AMOUNT = 12_550
NO_AMOUNTS: list[Any] = [1.5, 100.0, -1, "-1", "1.5", None, True, [], {}, "", 10**15]


@pytest.fixture(params=RIGS)
async def rig(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Rig]:
    rig = RIGS[request.param]()
    await rig.start(tmp_path)
    yield rig
    await rig.stop()


async def create(rig: Rig, order_id: str = ORDER, *, bill: int = 1) -> Invoice:
    return await rig.provider.create_invoice(
        order_id=order_id,
        amount_minor=AMOUNT,
        currency="KGS",
        description="Зарядка №1 \u2028 <b>\n",
        expires_at=later(minutes=5),
        bill=bill,
    )


async def status(rig: Rig, invoice: Invoice | None, *, bills: int = 1) -> BillStatus:
    reference = invoice.provider_ref if invoice else None
    return await rig.provider.fetch_status(order_id=ORDER, provider_ref=reference, bills=bills)


def decided(status: BillStatus) -> list[Event]:
    return [event for event in status.events if event.status != "processing"]


async def paid(rig: Rig) -> tuple[Invoice, Event]:
    invoice = await create(rig)
    await rig.pay(invoice)
    [event] = decided(await status(rig, invoice))
    return invoice, event


class TestAmounts:
    @pytest.mark.parametrize("minor", [0, 1, 99, 100, 12_550, 10_000_000, 10**11])
    async def test_they_convert_exactly(self, rig: Rig, minor: int) -> None:
        assert rig.provider.from_unit(rig.provider.to_unit(minor)) == minor

    async def test_what_is_no_amount_is_refused(self, rig: Rig) -> None:
        for value in NO_AMOUNTS:
            with pytest.raises(Invalid):
                rig.provider.from_unit(value)


class TestBill:
    async def test_it_has_a_reference_and_a_way_to_pay(self, rig: Rig) -> None:
        invoice = await create(rig)
        assert invoice.provider_ref
        assert invoice.qr_code or invoice.qr_code_url or invoice.page_url or invoice.app_link
        assert decided(await status(rig, invoice)) == []

    async def test_two_orders_have_two_references(self, rig: Rig) -> None:
        other = await create(rig, f"{ORDER}o")
        assert (await create(rig)).provider_ref != other.provider_ref

    async def test_a_lost_answer_is_no_refusal_and_the_order_is_known(self, rig: Rig) -> None:
        await rig.lose_next("create")
        with pytest.raises(ProviderUnavailable):
            await create(rig)
        assert decided(await status(rig, None)) == []
        again = await create(rig, bill=2)
        await rig.pay(again)
        [event] = decided(await status(rig, again, bills=2))
        assert (event.status, event.order_id) == ("approved", ORDER)


class TestStatus:
    async def test_a_paid_bill_is_one_approved_event(self, rig: Rig) -> None:
        _, event = await paid(rig)
        assert event.provider == rig.provider.name
        assert (event.status, event.order_id, event.doubt) == ("approved", ORDER, None)
        assert (event.paid_minor, event.currency) == (AMOUNT, "KGS")
        assert not event.refunded_minor
        assert event.provider_ref

    async def test_the_same_answer_is_the_same_event(self, rig: Rig) -> None:
        invoice, event = await paid(rig)
        assert decided(await status(rig, invoice)) == [event]
        assert len(event.event_id) <= 200

    async def test_it_is_known_by_the_order_alone(self, rig: Rig) -> None:
        _, event = await paid(rig)
        assert decided(await status(rig, None)) == [event]

    async def test_two_payments_of_one_bill_are_two_events(self, rig: Rig) -> None:
        invoice, first = await paid(rig)
        await rig.pay(invoice, again=True)
        events = decided(await status(rig, invoice))
        assert first in events
        assert len({event.provider_ref for event in events}) == 2
        assert len({event.event_id for event in events}) == 2

    async def test_an_unknown_order_is_an_error(self, rig: Rig) -> None:
        with pytest.raises(ProviderError):
            await status(rig, None)

    async def test_no_answer_is_no_state(self, rig: Rig) -> None:
        invoice = await create(rig)
        await rig.lose_next("status")
        with pytest.raises(ProviderUnavailable):
            await status(rig, invoice)


class TestCancel:
    async def cancel(self, rig: Rig, invoice: Invoice) -> str:
        return await rig.provider.cancel(order_id=ORDER, provider_ref=invoice.provider_ref)

    async def test_an_open_bill(self, rig: Rig) -> None:
        invoice = await create(rig)
        assert await self.cancel(rig, invoice) == "canceled"
        [event] = decided(await status(rig, invoice))
        assert (event.status, event.paid_minor or 0) == ("canceled", 0)

    async def test_a_paid_bill_is_not_canceled(self, rig: Rig) -> None:
        invoice, event = await paid(rig)
        assert await self.cancel(rig, invoice) == "already_paid"
        assert decided(await status(rig, invoice)) == [event]

    async def test_money_after_the_cancellation_is_reported(self, rig: Rig) -> None:
        invoice = await create(rig)
        await self.cancel(rig, invoice)
        await rig.pay(invoice)
        events = decided(await status(rig, invoice))
        assert [event.status for event in events] == ["approved"]

    async def test_a_lost_answer_is_no_result(self, rig: Rig) -> None:
        invoice = await create(rig)
        await rig.lose_next("cancel")
        with pytest.raises(ProviderUnavailable):
            await self.cancel(rig, invoice)


class TestReturn:
    async def refund(self, rig: Rig, reference: str, amount: int) -> None:
        await rig.provider.refund(
            transaction_ref=reference, amount_minor=amount, paid_minor=AMOUNT, key="1"
        )

    @pytest.mark.parametrize("amount", [AMOUNT, 550])
    async def test_it_is_no_approved_payment_any_more(self, rig: Rig, amount: int) -> None:
        invoice, event = await paid(rig)
        assert event.provider_ref
        await self.refund(rig, event.provider_ref, amount)
        events = decided(await status(rig, invoice))
        assert [it.status == "approved" for it in events] == [False]
        assert events[0].event_id != event.event_id

    async def test_more_than_was_paid_is_refused(self, rig: Rig) -> None:
        _, event = await paid(rig)
        assert event.provider_ref
        with pytest.raises(ProviderRefused):
            await self.refund(rig, event.provider_ref, AMOUNT + 1)

    async def test_an_unknown_payment_is_refused(self, rig: Rig) -> None:
        with pytest.raises(ProviderRefused):
            await self.refund(rig, "0000000000", AMOUNT)

    async def test_a_lost_answer_is_not_a_refusal(self, rig: Rig) -> None:
        _, event = await paid(rig)
        assert event.provider_ref
        await rig.lose_next("refund")
        with pytest.raises(ProviderUnavailable):
            await self.refund(rig, event.provider_ref, AMOUNT)


class TestNotice:
    async def test_a_signed_one_is_an_event_or_a_trusted_question(self, rig: Rig) -> None:
        read = rig.provider.read_notice(rig.notice(ORDER, forged=False), later())
        assert read.order_id == ORDER
        assert isinstance(read, Event) or (read.trusted and not read.refusal)

    async def test_a_forged_one_proves_nothing(self, rig: Rig) -> None:
        refusal = ""
        try:
            read = rig.provider.read_notice(rig.notice(ORDER, forged=True), later())
            refusal = read.refusal if isinstance(read, Question) and not read.trusted else ""
        except Unauthenticated as refused:
            refusal = refused.code
        assert refusal == "invalid_signature"

    async def test_its_answer_is_the_same_for_the_same_request(self, rig: Rig) -> None:
        request = rig.notice(ORDER, forged=False)
        answers: list[NoticeAnswer] = [
            rig.provider.answer(request, NoticeResult("inv", "confirmed")) for _ in range(2)
        ]
        assert answers[0] == answers[1]
        assert answers[0].status == 200
        assert orjson.loads(answers[0].body)

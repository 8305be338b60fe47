"""O!Dengi's adapter against the simulated bank: bills, attempts, returns, notices."""

import asyncio
import hmac
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from evpower.foundation.errors import Invalid, Unauthenticated
from evpower.foundation.http import HttpClient
from evpower.payments.errors import ProviderRefused, ProviderUnavailable
from evpower.payments.model import Event
from evpower.payments.providers.odengi import OdengiProvider, Reports, metrics
from evpower.payments.providers.odengi.client import Merchant
from evpower.payments.providers.protocol import (
    BillStatus,
    Invoice,
    NoticeRequest,
    NoticeResult,
    Question,
)
from tests.faults.hostile_server import HostileServer, closes_after, whole
from tests.payments.odengi.conftest import PASSWORD, SID, BankSite
from tests.waiting import until

ORDER = "qr_topup_abcdefghjkmn"
NOTICES = "https://evpower.example/api/v1/payment/webhook/odengi"
NOW = datetime(2026, 11, 29, 12, 0, tzinfo=UTC)


def adapter(bank: BankSite, **changes: Any) -> OdengiProvider:
    merchant = bank.merchant(**{key: changes.pop(key) for key in ("is_test",) if key in changes})
    return OdengiProvider(merchant, bank.http, **changes)


async def create(bank: BankSite, **changes: Any) -> Invoice:
    how: dict[str, Any] = {
        "order_id": ORDER,
        "amount_minor": 12_550,
        "currency": "KGS",
        "description": "EvPower №1",
        "expires_at": datetime.now(UTC) + timedelta(minutes=5),
    }
    return await adapter(bank).create_invoice(**how | changes)


async def status(bank: BankSite, invoice: Invoice | None = None, **changes: Any) -> BillStatus:
    bills = changes.pop("bills", 1)
    reference = invoice.provider_ref if invoice else None
    provider = adapter(bank, **changes)
    return await provider.fetch_status(order_id=ORDER, provider_ref=reference, bills=bills)


async def only_event(bank: BankSite, invoice: Invoice, **changes: Any) -> Event:
    [event] = (await status(bank, invoice, **changes)).events
    return event


class TestBill:
    async def test_it_has_a_verified_text_and_links(self, bank: BankSite) -> None:
        invoice = await create(bank)
        assert invoice.qr_code is not None
        assert "540512550" in invoice.qr_code
        assert invoice.qr_code_url == f"{bank.server.url}/qr/{invoice.provider_ref}.png"
        assert invoice.page_url == f"{bank.server.url}/pay/{invoice.provider_ref}"
        assert invoice.app_link == f"{invoice.page_url}?app=1"
        assert (await bank.http.get(invoice.qr_code_url)).headers["content-type"] == "image/png"

    async def test_it_is_sent_so(self, bank: BankSite) -> None:
        sent: list[dict[str, Any]] = []

        async def record(request: httpx.Request) -> None:
            sent.append(json.loads(request.content))

        bank.http.event_hooks = {"request": [record], "response": []}
        provider = adapter(bank, notice_url=NOTICES, return_url="https://app.example/paid")
        await provider.create_invoice(
            order_id=ORDER, amount_minor=12_550, currency="KGS", description="Зарядка",
            expires_at=datetime(2026, 12, 31, 20, 0, tzinfo=UTC),
        )  # fmt: skip
        [body] = sent
        assert list(body) == ["cmd", "version", "sid", "mktime", "lang", "data", "hash"]
        assert (body["cmd"], body["version"], body["sid"]) == ("createInvoice", 1005, SID)
        assert body["data"] == {
            "order_id": ORDER, "desc": "Зарядка", "amount": 12_550, "currency": "KGS", "test": 0,
            "long_term": 0, "date_life": "2027-01-01 02:15:00", "send_push": 0, "send_sms": 0,
            "result_url": NOTICES, "success_url": "https://app.example/paid",
            "fail_url": "https://app.example/paid",
        }  # fmt: skip

    @pytest.mark.parametrize("elqr", ["wrong_amount", "editable", "damaged", "missing"])
    async def test_an_unverified_text_is_not_shown_and_the_links_stay(
        self, bank: BankSite, elqr: str
    ) -> None:
        result = "missing" if elqr == "missing" else "refused"
        before = metrics.ELQR.labels(result)._value.get()
        await bank.control(elqr=elqr)
        invoice = await create(bank)
        assert invoice.qr_code is None
        assert invoice.qr_code_url
        assert invoice.page_url
        assert metrics.ELQR.labels(result)._value.get() == before + 1

    async def test_a_bill_of_an_id_alone(self, bank: BankSite) -> None:
        await bank.control(links="none")
        invoice = await create(bank)
        assert invoice == Invoice(invoice.provider_ref)

    @pytest.mark.parametrize("ahead_s", [-600, 0, 600])
    async def test_it_lives_longer_than_the_clocks_differ(
        self, bank: BankSite, ahead_s: float
    ) -> None:
        await bank.control(clock_ahead_s=ahead_s)
        invoice = await create(bank)
        assert (await status(bank, invoice)).events == ()

    async def test_it_ends_after_its_time(self, bank: BankSite) -> None:
        invoice = await create(bank)
        await bank.control(clock_ahead_s=60 * 20 + 1)
        event = await only_event(bank, invoice)
        assert (event.status, event.provider_ref) == ("canceled", None)

    async def test_a_further_bill_has_an_order_of_its_own(self, bank: BankSite) -> None:
        await bank.control(same_order="refused")
        first, second = await create(bank), await create(bank, bill=2)
        assert first.provider_ref != second.provider_ref
        with pytest.raises(ProviderRefused, match="error 20"):
            await create(bank)

    @pytest.mark.parametrize(
        "changes", [{"order_id": "x" * 65}, {"amount_minor": 0}, {"currency": "USD"}], ids=repr
    )
    async def test_what_the_bank_can_not_take_is_not_sent(
        self, bank: BankSite, changes: dict[str, Any]
    ) -> None:
        with pytest.raises(ProviderRefused):
            await create(bank, **changes)

    async def test_a_driver_s_text_is_made_safe(self, bank: BankSite) -> None:
        await create(bank, description="a\u2028b\n" + "я" * 2000)

    async def test_an_error_made_nothing(self, bank: BankSite) -> None:
        await bank.fault("createInvoice", "refused", code=26)
        with pytest.raises(ProviderRefused, match="error 26"):
            await create(bank)

    @pytest.mark.parametrize("mode", ["error", "lost", "page", "busy", "redirect"])
    async def test_no_answer_may_have_made_it(self, bank: BankSite, mode: str) -> None:
        await bank.fault("createInvoice", mode)
        with pytest.raises(ProviderUnavailable):
            await create(bank)

    async def test_a_lost_answer_is_known_by_its_order(self, bank: BankSite) -> None:
        await bank.fault("createInvoice", "lost")
        with pytest.raises(ProviderUnavailable):
            await create(bank)
        known = await status(bank)
        assert known.events == ()
        assert known.provider_ref == (await create(bank)).provider_ref

    async def test_a_slow_bill_delays_no_other(self, bank: BankSite) -> None:
        await bank.fault("createInvoice", "slow", slow_s=3)
        calls = [asyncio.create_task(create(bank, order_id=ORDER + letter)) for letter in "abc"]
        await until(lambda: sum(call.done() for call in calls) == 2)
        assert len({(await call).provider_ref for call in calls}) == 3


class TestStatus:
    @pytest.mark.parametrize("form", ["word", "number", "both"])
    @pytest.mark.parametrize("amount", ["text", "number"])
    @pytest.mark.parametrize("shape", ["payments", "both"])
    async def test_a_payment_in_every_form(
        self, bank: BankSite, form: str, amount: str, shape: str
    ) -> None:
        await bank.control(status=form, amount=amount, shape=shape)
        invoice = await create(bank)
        paid = await bank.act(invoice.provider_ref, "approve")
        event = await only_event(bank, invoice)
        assert (event.status, event.paid_minor, event.currency) == ("approved", 12_550, "KGS")
        assert (event.provider_ref, event.order_id, event.doubt) == (paid["trans_id"], ORDER, None)
        assert event.occurred_at is not None
        assert abs(event.occurred_at - datetime.now(UTC)) < timedelta(minutes=5)
        assert await only_event(bank, invoice) == event

    async def test_a_commission_does_not_count(self, bank: BankSite) -> None:
        await bank.control(commission=251)
        invoice = await create(bank)
        await bank.act(invoice.provider_ref, "approve")
        assert (await only_event(bank, invoice)).paid_minor == 12_550

    async def test_an_amount_before_of_0_is_none(self, bank: BankSite) -> None:
        await bank.control(amount_old_absent=True)
        invoice = await create(bank)
        await bank.act(invoice.provider_ref, "approve")
        assert (await only_event(bank, invoice)).paid_minor == 12_550

    async def test_another_amount_is_reported_as_it_is(self, bank: BankSite) -> None:
        invoice = await create(bank)
        await bank.act(invoice.provider_ref, "approve", amount=100)
        assert (await only_event(bank, invoice)).paid_minor == 100

    async def test_an_attempt_under_way_is_no_event(self, bank: BankSite) -> None:
        invoice = await create(bank)
        scanned = await bank.act(invoice.provider_ref, "scan")
        assert (await status(bank, invoice)).events == ()
        await bank.act(invoice.provider_ref, "approve", trans_id=scanned["trans_id"])
        assert (await only_event(bank, invoice)).provider_ref == scanned["trans_id"]

    async def test_several_approved_attempts_are_several_events(self, bank: BankSite) -> None:
        invoice = await create(bank)
        for action in ("cancel", "approve", "approve"):
            await bank.act(invoice.provider_ref, action)
        events = (await status(bank, invoice)).events
        assert [event.status for event in events] == ["approved", "approved", "canceled"]
        assert len({event.provider_ref for event in events}) == 3
        assert len({event.event_id for event in events}) == 3
        assert events[-1].paid_minor is None

    async def test_a_canceled_attempt_beside_one_under_way_says_nothing(
        self, bank: BankSite
    ) -> None:
        invoice = await create(bank)
        await bank.act(invoice.provider_ref, "cancel")
        await bank.act(invoice.provider_ref, "scan")
        assert (await status(bank, invoice)).events == ()

    async def test_a_late_approval_of_a_canceled_bill(self, bank: BankSite) -> None:
        await bank.control(shape="both")
        invoice = await create(bank)
        scanned = await bank.act(invoice.provider_ref, "scan")
        canceled = await adapter(bank).cancel(order_id=ORDER, provider_ref=invoice.provider_ref)
        assert canceled == "canceled"
        assert (await status(bank, invoice)).events == ()
        await bank.act(invoice.provider_ref, "approve", trans_id=scanned["trans_id"])
        assert (await only_event(bank, invoice)).status == "approved"

    async def test_a_contradiction_is_a_doubt(self, bank: BankSite) -> None:
        invoice = await create(bank)
        await bank.act(invoice.provider_ref, "approve")
        clean = await only_event(bank, invoice)
        await bank.control(status="contradictory")
        doubtful = await only_event(bank, invoice)
        assert (doubtful.status, doubtful.doubt) == ("approved", "contradictory")
        assert doubtful.event_id != clean.event_id

    async def test_test_money_is_a_doubt_unless_it_was_asked_for(self, bank: BankSite) -> None:
        invoice = await create(bank)
        await bank.act(invoice.provider_ref, "approve", test=1)
        assert (await only_event(bank, invoice)).doubt == "test_payment"
        assert (await only_event(bank, invoice, is_test=True)).doubt is None

    async def test_an_error_is_a_refusal_and_63_is_open(self, bank: BankSite) -> None:
        with pytest.raises(ProviderRefused, match="error 50"):
            await status(bank)
        await bank.fault("statusPayment", "refused", code=63)
        assert await status(bank) == BillStatus()

    @pytest.mark.parametrize("mode", ["error", "lost", "page", "busy", "redirect"])
    async def test_no_answer(self, bank: BankSite, mode: str) -> None:
        invoice = await create(bank)
        await bank.fault("statusPayment", mode)
        with pytest.raises(ProviderUnavailable):
            await status(bank, invoice)

    async def test_two_bills_of_one_order_are_asked_about(self, bank: BankSite) -> None:
        await bank.control(same_order="new")
        first, second = await create(bank), await create(bank)
        for invoice in (first, second):
            await bank.act(invoice.provider_ref, "approve")
        events = (await status(bank)).events
        assert len({event.provider_ref for event in events}) == 2

    async def test_further_bills_are_asked_about(self, bank: BankSite) -> None:
        first = await create(bank)
        third = await create(bank, bill=3)
        for invoice in (first, third):
            await bank.act(invoice.provider_ref, "approve")
        known = await status(bank, third, bills=3)
        assert [event.order_id for event in known.events] == [ORDER, ORDER]
        assert known.provider_ref == third.provider_ref

    async def test_of_many_bills_the_newest_are_asked_about(self, bank: BankSite) -> None:
        newest = await create(bank, bill=10)
        await bank.act(newest.provider_ref, "approve")
        known = await status(bank, bills=10)
        assert [event.status for event in known.events] == ["approved"]

    async def test_what_is_known_is_not_lost_with_another_answer(self, bank: BankSite) -> None:
        first = await create(bank)
        await bank.act(first.provider_ref, "approve")
        known = await status(bank, bills=2)  # the second bill is unknown to the bank
        assert [event.status for event in known.events] == ["approved"]
        await bank.fault("statusPayment", "error", times=2)
        with pytest.raises(ProviderUnavailable):
            await status(bank, bills=2)

    async def test_an_open_bill_does_not_hide_a_lost_answer(self, bank: BankSite) -> None:
        await create(bank)
        await create(bank, bill=2)
        await bank.fault("statusPayment", "error")
        with pytest.raises(ProviderUnavailable):
            await status(bank, bills=2)


class TestCancelAndReturn:
    async def test_a_paid_bill_is_already_paid(self, bank: BankSite) -> None:
        invoice = await create(bank)
        await bank.act(invoice.provider_ref, "approve")
        provider = adapter(bank)
        result = await provider.cancel(order_id=ORDER, provider_ref=invoice.provider_ref)
        assert result == "already_paid"

    async def test_a_canceled_bill_is_canceled(self, bank: BankSite) -> None:
        invoice = await create(bank)
        await adapter(bank).cancel(order_id=ORDER, provider_ref=invoice.provider_ref)
        assert (await only_event(bank, invoice)).status == "canceled"

    async def test_an_unknown_bill_and_a_lost_answer(self, bank: BankSite) -> None:
        with pytest.raises(ProviderRefused):
            await adapter(bank).cancel(order_id=ORDER, provider_ref="000000000000")
        invoice = await create(bank)
        await bank.fault("invoiceCancel", "lost")
        with pytest.raises(ProviderUnavailable):
            await adapter(bank).cancel(order_id=ORDER, provider_ref=invoice.provider_ref)

    async def refund(self, bank: BankSite, trans_id: str, amount: int, paid: int = 12_550) -> None:
        await adapter(bank).refund(
            transaction_ref=trans_id, amount_minor=amount, paid_minor=paid, key="1"
        )

    async def paid(self, bank: BankSite) -> tuple[Invoice, str]:
        invoice = await create(bank)
        return invoice, (await bank.act(invoice.provider_ref, "approve"))["trans_id"]

    async def test_all_of_it(self, bank: BankSite) -> None:
        invoice, trans_id = await self.paid(bank)
        await self.refund(bank, trans_id, 12_550)
        event = await only_event(bank, invoice)
        assert (event.status, event.provider_ref, event.paid_minor) == ("canceled", trans_id, None)

    async def test_a_part_of_it(self, bank: BankSite) -> None:
        invoice, trans_id = await self.paid(bank)
        await self.refund(bank, trans_id, 550)
        event = await only_event(bank, invoice)
        assert (event.status, event.provider_ref) == ("partial_refund", trans_id)
        assert event.refunded_minor is None

    async def test_more_than_was_paid_is_not_sent(self, bank: BankSite) -> None:
        for amount in (0, -1, 12_551):
            with pytest.raises(ProviderRefused):
                await self.refund(bank, "1", amount)

    async def test_a_refusal_is_certain_and_a_lost_answer_is_not(self, bank: BankSite) -> None:
        with pytest.raises(ProviderRefused):
            await self.refund(bank, "0000000000", 12_550)
        _, trans_id = await self.paid(bank)
        await bank.fault("*", "lost", times=2)
        for amount in (550, 12_550):
            with pytest.raises(ProviderUnavailable):
                await self.refund(bank, trans_id, amount)

    async def test_a_command_that_was_not_sent_returned_nothing(self, bank: BankSite) -> None:
        merchant = bank.merchant(url="http://127.0.0.1:9/json.php")
        with pytest.raises(ProviderRefused):
            await OdengiProvider(merchant, bank.http).refund(
                transaction_ref="1", amount_minor=1, paid_minor=1, key="1"
            )


class TestHistory:
    async def test_the_list_of_a_period(self, bank: BankSite) -> None:
        invoice = await create(bank, bill=2)
        paid = await bank.act(invoice.provider_ref, "approve")
        host = bank.server.url.removeprefix("http://")
        provider = adapter(bank, reports=Reports(frozenset({host})))
        now = datetime.now(UTC)
        hour = timedelta(hours=1)
        [item] = await provider.fetch_history(since=now - hour, until=now + hour)
        assert (item.order_id, item.transaction_ref) == (ORDER, paid["trans_id"])
        assert (item.status, item.amount_minor, item.refunded_minor) == ("approved", 12_550, 0)
        assert await provider.fetch_history(since=now + hour, until=now + 2 * hour) == []
        assert item.at is not None  # the end is of the next period
        assert await provider.fetch_history(since=item.at - hour, until=item.at) == []
        assert await provider.fetch_history(since=item.at, until=item.at + hour) == [item]

    async def test_a_link_to_another_host_is_not_followed(self, bank: BankSite) -> None:
        now = datetime.now(UTC)
        provider = adapter(bank, reports=Reports(frozenset({"reports.example"})))
        with pytest.raises(ProviderUnavailable, match="EVPOWER_ODENGI_REPORT_HOSTS"):
            await provider.fetch_history(since=now, until=now)

    async def test_without_the_right_it_is_refused(self, bank: BankSite) -> None:
        await bank.fault("getHistoryCsv", "refused", code=7)
        now = datetime.now(UTC)
        with pytest.raises(ProviderRefused):
            await adapter(bank).fetch_history(since=now, until=now)


def mac(message: str) -> str:
    return hmac.new(PASSWORD.encode(), message.encode(), "md5").hexdigest()


def notice(raw: bytes = b"", **how: Any) -> NoticeRequest:
    fields: dict[str, Any] = {
        "method": "POST",
        "path": "/api/v1/payment/webhook/odengi",
        "host": "evpower.example",
        "query": "",
        "headers": {"content-type": "application/json"},
        "peer": "127.0.0.1",
    }
    return NoticeRequest(raw=raw, **fields | how)


SIGNED = f"100:::3:::{SID}:::{ORDER}:::12550:::KGS:::1795953600250:::0"


def body(*, amount: str = "12550", given: str | None = None, **changes: str) -> bytes:
    texts = {
        "trans_id": '"100"', "status_pay": "3", "site_id": f'"{SID}"', "order_id": f'"{ORDER}"',
        "amount": amount, "currency": '"KGS"', "mktime": '"1795953600250"', "test": "0",
        "mobile": '"996555000111"', "hash": f'"{given or mac(SIGNED)}"', **changes,
    }  # fmt: skip
    return ("{" + ",".join(f'"{name}":{text}' for name, text in texts.items()) + "}").encode()


class TestNotice:
    def read(self, bank: BankSite, request: NoticeRequest, **changes: Any) -> Question:
        read = adapter(bank, **changes).read_notice(request, NOW)
        assert isinstance(read, Question)
        return read

    async def test_a_right_hash_is_a_trusted_question(self, bank: BankSite) -> None:
        asked_about = Question(ORDER, trusted=True)
        assert self.read(bank, notice(body())) == asked_about
        assert self.read(bank, notice(body(given=mac(SIGNED).upper()))) == asked_about
        assert self.read(bank, notice(body(test='"0"', status_pay='"3"'))) == asked_about

    async def test_the_texts_are_those_that_were_sent(self, bank: BankSite) -> None:
        for amount in ("12550.00", "1.255e4", '"12550.00"'):
            signed = SIGNED.replace("12550", amount.strip('"'))
            assert self.read(bank, notice(body(amount=amount, given=mac(signed)))).trusted

    async def test_a_null_is_an_empty_text(self, bank: BankSite) -> None:
        signed = SIGNED.replace("KGS", "")
        assert self.read(bank, notice(body(currency="null", given=mac(signed)))).trusted

    async def test_the_order_of_a_further_bill_is_ours(self, bank: BankSite) -> None:
        signed = SIGNED.replace(ORDER, f"{ORDER}-3")
        read = self.read(bank, notice(body(order_id=f'"{ORDER}-3"', given=mac(signed))))
        assert read == Question(ORDER, trusted=True)

    @pytest.mark.parametrize(
        "changes",
        [{"given": "0" * 32}, {"given": "я"}, {"status_pay": "2"}, {"amount": "1"},
         {"order_id": '"qr_topup_other"'}, {"hash": "null"}, {"hash": "[]"}, {"amount": "[12550]"}],
        ids=repr,
    )  # fmt: skip
    async def test_a_wrong_hash_is_refused_and_still_asks(
        self, bank: BankSite, changes: dict[str, Any]
    ) -> None:
        counted = [metrics.HASHES.labels("notice", result) for result in ("wrong", "missing")]
        before = sum(counter._value.get() for counter in counted)
        read = self.read(bank, notice(body(**changes)))
        assert (read.trusted, read.refusal) == (False, "invalid_signature")
        assert read.order_id in {ORDER, "qr_topup_other"}
        assert sum(counter._value.get() for counter in counted) == before + 1

    async def test_another_merchant_s_notice_is_not_trusted(self, bank: BankSite) -> None:
        signed = SIGNED.replace(SID, "1")
        read = self.read(bank, notice(body(site_id='"1"', given=mac(signed))))
        assert (read.trusted, read.refusal) == (False, "invalid_signature")

    async def test_a_wrong_hash_without_an_order(self, bank: BankSite) -> None:
        with pytest.raises(Unauthenticated):
            self.read(bank, notice(b'{"hash":"00"}'))

    async def test_test_money_is_refused_unless_it_was_asked_for(self, bank: BankSite) -> None:
        raw = body(test="1", given=mac(SIGNED[:-1] + "1"))
        with pytest.raises(Invalid, match="test"):
            self.read(bank, notice(raw))
        assert self.read(bank, notice(raw), is_test=True).trusted

    async def test_forms_queries_and_the_old_header_only_ask(self, bank: BankSite) -> None:
        fields = f"order_id={ORDER}&status_pay=3&amount=12550&hash={mac(SIGNED)}"
        form = {"content-type": "application/x-www-form-urlencoded; charset=utf-8"}
        old = {"content-type": "application/json", "x-o-dengi-signature": "sha256=00"}
        untrusted = Question(ORDER)
        assert self.read(bank, notice(fields.encode(), headers=form)) == untrusted
        assert self.read(bank, notice(method="GET", query=fields, headers={})) == untrusted
        raw = f'{{"order_id":"{ORDER}","invoice_id":"001","status":1,"paid_amount":9}}'.encode()
        assert self.read(bank, notice(raw, headers=old)) == Question(ORDER, "001")

    @pytest.mark.parametrize(
        "raw", [b"", b"[]", b"{", b"\xff", b'{"hash":null,"order_id":"\\ud800"}', b"[" * 9000]
    )
    async def test_what_can_not_be_read(self, bank: BankSite, raw: bytes) -> None:
        with pytest.raises((Invalid, Unauthenticated)):
            self.read(bank, notice(raw))

    async def test_the_answer_says_nothing_about_a_payer(self, bank: BankSite) -> None:
        answer = adapter(bank).answer(notice(body()), NoticeResult("inv", "asked"))
        assert (answer.body, answer.status) == (b'{"status":"received","provider":"odengi"}', 200)

    async def test_what_the_bank_sends_is_trusted(self, bank: BankSite) -> None:
        provider = adapter(bank, notice_url=NOTICES)
        invoice = await provider.create_invoice(
            order_id=ORDER, amount_minor=100, currency="KGS", description="",
            expires_at=datetime.now(UTC),
        )  # fmt: skip
        url = f"{bank.server.url}/health"  # any address: the answer is not read
        await bank.act(invoice.provider_ref, "notice", url=url)
        sent: list[dict[str, Any]] = []

        async def arrived() -> bool:
            sent[:] = (await bank.http.get(f"{bank.server.url}/notices")).json()
            return bool(sent)

        await until(arrived)
        raw = json.dumps(sent[0]["members"], ensure_ascii=False).encode()
        assert self.read(bank, notice(raw)) == Question(ORDER, trusted=True)


async def answered(data: dict[str, Any], call: str, **how: Any) -> Any:
    """What the adapter makes of this answer of a bank."""
    raw = json.dumps({"cmd": "", "data": data}).encode()
    async with HostileServer(closes_after(whole(raw))) as server, HttpClient() as http:
        merchant = Merchant(server.url, SID, PASSWORD.encode())
        return await getattr(OdengiProvider(merchant, http), call)(**how)


async def test_a_return_that_is_not_said_to_be_done_is_unknown() -> None:
    how = {"transaction_ref": "1", "amount_minor": 1, "paid_minor": 1, "key": "1"}
    for word in (False, None, 0, 1, "true", ""):
        with pytest.raises(ProviderUnavailable):
            await answered({"success": word}, "refund", **how)
    await answered({}, "refund", **how)


async def test_a_bill_paid_by_no_attempt_has_no_reference_and_no_amount() -> None:
    known = await answered({"status": "approved"}, "fetch_status", order_id=ORDER, provider_ref="1")
    [event] = known.events
    assert (event.status, event.provider_ref, event.paid_minor) == ("approved", None, None)


async def test_a_canceled_bill_says_nothing_while_it_is_being_paid() -> None:
    for state, statuses in (("processing", []), ("canceled", ["canceled", "canceled"])):
        data = {"status": "canceled", "payments": [{"trans_id": "1", "status": state}]}
        known = await answered(data, "fetch_status", order_id=ORDER, provider_ref="1")
        assert [event.status for event in known.events] == statuses


async def test_a_password_in_the_address_of_a_list_is_shown_to_no_one() -> None:
    data = {"url": "https://shop:secret@reports.example/list.csv"}
    with pytest.raises(ProviderUnavailable) as refused:
        await answered(data, "fetch_history", since=NOW, until=NOW)
    assert "secret" not in str(refused.value)

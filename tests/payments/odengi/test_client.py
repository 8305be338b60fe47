"""Commands over a socket: signed as the bank checks it, and failing in one of three ways."""

from typing import Any

import httpx
import pytest
import structlog

from evpower.payments.errors import ProviderUnavailable
from evpower.payments.providers.odengi import metrics
from evpower.payments.providers.odengi.answers import BankError
from evpower.payments.providers.odengi.client import NothingSent
from tests.payments.odengi.conftest import BankSite
from tests.waiting import WAIT_LIMIT_S

BILL: dict[str, Any] = {
    "order_id": "qr_topup_abc",
    "desc": 'Зарядка №1/2 «Эл» \\ "x"',
    "amount": 12_550,
    "currency": "KGS",
    "test": 0,
    "result_url": None,
}


async def create(bank: BankSite, **changes: Any) -> dict[str, Any]:
    return await bank.client(**changes).call("createInvoice", BILL, timeout_s=WAIT_LIMIT_S)


def answers(result: str) -> float:
    return metrics.HASHES.labels("answer", result)._value.get()


class TestHash:
    @pytest.mark.parametrize("unit", ["ms", "s"])
    async def test_the_bank_takes_what_is_sent(self, bank: BankSite, unit: str) -> None:
        assert len((await create(bank, mktime_unit=unit))["invoice_id"]) == 12

    async def test_another_password_is_refused(self, bank: BankSite) -> None:
        with pytest.raises(BankError) as refused:
            await create(bank, password=b"another")
        assert refused.value.description == "Неверный hash"

    @pytest.mark.parametrize("result", ["right", "wrong", "missing"])
    async def test_an_answer_s_hash_is_counted_and_never_refused(
        self, bank: BankSite, result: str
    ) -> None:
        await bank.control(answer_hash=result)
        before = answers(result)
        assert (await create(bank))["invoice_id"]
        assert answers(result) == before + 1


class TestFailures:
    @pytest.mark.parametrize("mode", ["error", "lost", "page", "busy", "redirect"])
    async def test_no_answer_to_read(self, bank: BankSite, mode: str) -> None:
        await bank.fault("createInvoice", mode)
        with pytest.raises(ProviderUnavailable) as failed:
            await create(bank)
        assert not isinstance(failed.value, NothingSent)

    async def test_a_time_out_after_the_bill_was_made(self, bank: BankSite) -> None:
        await bank.fault("createInvoice", "slow", slow_s=1)
        with pytest.raises(ProviderUnavailable, match="Timeout"):
            await bank.client().call("createInvoice", BILL, timeout_s=0.3)
        question = {"order_id": BILL["order_id"]}
        answer = await bank.client().call("statusPayment", question, timeout_s=WAIT_LIMIT_S)
        assert answer["status"] == "processing"

    async def test_an_answer_of_single_bytes_ends_with_the_time(self, bank: BankSite) -> None:
        await bank.fault("createInvoice", "slow_bytes", slow_s=0.05)
        with pytest.raises(ProviderUnavailable, match="Timeout"):
            await bank.client().call("createInvoice", BILL, timeout_s=0.4)

    async def test_an_answer_of_single_bytes_is_read_whole(self, bank: BankSite) -> None:
        await bank.fault("createInvoice", "slow_bytes", slow_s=0)
        assert (await create(bank))["invoice_id"]

    async def test_a_host_that_is_not_there(self, bank: BankSite) -> None:
        with pytest.raises(NothingSent):
            await create(bank, url="http://127.0.0.1:9/json.php")


async def test_no_cookie_comes_back(bank: BankSite) -> None:
    sent: list[httpx.Headers] = []

    async def record(request: httpx.Request) -> None:
        sent.append(request.headers)

    bank.http.event_hooks = {"request": [record], "response": []}
    await create(bank)
    await create(bank)
    assert len(sent) == 2
    assert not [headers for headers in sent if "cookie" in headers]


async def test_a_payer_s_data_is_in_no_log(bank: BankSite) -> None:
    invoice = (await create(bank))["invoice_id"]
    with structlog.testing.capture_logs() as logs:
        await bank.act(invoice, "approve")
        await bank.control(answer_hash="wrong", status="contradictory")
        answer = await bank.client().call(
            "statusPayment", {"invoice_id": invoice}, timeout_s=WAIT_LIMIT_S
        )
    assert answer["payments"][0]["mobile"] == "996555000111"
    assert logs
    assert "996555000111" not in repr(logs)

"""Every provider with its bank on a socket, behind one face for the tests of the contract."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

import orjson

from evpower.devstack.bank.odengi import create_odengi_bank
from evpower.devstack.bank.server import create_sandbox
from evpower.foundation.clock import utc_now
from evpower.foundation.standard_webhooks import key_bytes, sign
from evpower.payments.providers.odengi import OdengiProvider
from evpower.payments.providers.odengi.client import Merchant
from evpower.payments.providers.protocol import Invoice, NoticeRequest, Provider
from evpower.payments.providers.sandbox import SandboxProvider
from tests.payments.conftest import SECRET, LoopbackServer
from tests.payments.odengi.conftest import PASSWORD, SID
from tests.payments.odengi.test_signing import notice as odengi_notice
from tests.waiting import WAIT_LIMIT_S, patient_http

ODENGI_COMMANDS = {
    "create": "createInvoice",
    "status": "statusPayment",
    "cancel": "invoiceCancel",
    "refund": "*",
}


class Rig(Protocol):
    """A provider and its bank."""

    provider: Provider

    async def start(self, folder: Path) -> None: ...
    async def stop(self) -> None: ...
    async def pay(self, invoice: Invoice, *, again: bool = False) -> None: ...
    async def lose_next(self, call: str) -> None: ...
    def notice(self, order_id: str, *, forged: bool) -> NoticeRequest: ...


class BaseRig:
    """A bank on a socket."""

    def __init__(self) -> None:
        self.bank = LoopbackServer()
        self.http = patient_http()

    async def stop(self) -> None:
        await self.bank.stop()
        self.bank.close()
        await self.http.aclose()

    async def post(self, url: str, **body: Any) -> None:
        answer = await self.http.post(url, json=body)
        assert answer.status_code == 200, answer.text


class SandboxRig(BaseRig):
    """The sandbox."""

    def __init__(self) -> None:
        super().__init__()
        self.provider = SandboxProvider(self.bank.url, [SECRET], self.http, timeout_s=WAIT_LIMIT_S)

    async def start(self, folder: Path) -> None:
        webhook = "http://127.0.0.1:9/nothing-answers"
        await self.bank.start(create_sandbox(SECRET, webhook, folder, utc_now, retries_s=(3600.0,)))

    async def pay(self, invoice: Invoice, *, again: bool = False) -> None:
        await self.post(f"{invoice.page_url}/approve", again=again)

    async def lose_next(self, call: str) -> None:
        await self.post(f"{self.bank.url}/faults", **{call: {"mode": "lost", "times": 1}})

    def notice(self, order_id: str, *, forged: bool) -> NoticeRequest:
        fields = {"order_id": order_id, "ref": "r", "status": "approved", "currency": "KGS"}
        raw, now = orjson.dumps({**fields, "paid": 100}), int(utc_now().timestamp())
        key = key_bytes(SECRET) if not forged else b"another key of 24 bytes or more"
        headers = {
            "webhook-id": "evt_1",
            "webhook-timestamp": str(now),
            "webhook-signature": sign(key, "evt_1", now, raw),
        }
        return request(raw, headers)


class OdengiRig(BaseRig):
    """O!Dengi's simulator."""

    def __init__(self) -> None:
        super().__init__()
        merchant = Merchant(f"{self.bank.url}/api/json/json.php", SID, PASSWORD.encode())
        self.provider = OdengiProvider(merchant, self.http)

    async def start(self, folder: Path) -> None:
        await self.bank.start(create_odengi_bank(SID, PASSWORD, folder))

    async def pay(self, invoice: Invoice, *, again: bool = False) -> None:
        del again
        await self.post(f"{self.bank.url}/pay/{invoice.provider_ref}/approve")

    async def lose_next(self, call: str) -> None:
        fault = {ODENGI_COMMANDS[call]: {"mode": "lost"}}
        await self.post(f"{self.bank.url}/control", faults=fault)

    def notice(self, order_id: str, *, forged: bool) -> NoticeRequest:
        password = b"another" if forged else PASSWORD.encode()
        fields = odengi_notice(password=password, order_id=order_id)
        return request(orjson.dumps(fields), {})


RIGS: dict[str, Callable[[], Rig]] = {"sandbox": SandboxRig, "odengi": OdengiRig}


def request(raw: bytes, headers: dict[str, str]) -> NoticeRequest:
    return NoticeRequest(
        method="POST",
        path="/notice",
        host="evpower.example",
        query="",
        headers={"content-type": "application/json", **headers},
        raw=raw,
        peer="127.0.0.1",
    )


def later(**delta: float) -> Any:
    return utc_now() + timedelta(**delta)

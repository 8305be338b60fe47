"""The simulated bank on a socket, and a client of it."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from evpower.devstack.bank.odengi import create_odengi_bank
from evpower.foundation.clock import utc_now
from evpower.payments.providers.odengi.client import Merchant, OdengiClient
from tests.payments.conftest import LoopbackServer
from tests.waiting import PatientHttp, patient_http

SID = "4672496329"
PASSWORD = "пароль API, for tests only"


class BankSite:
    """The bank on a socket, its control calls, and how it is called."""

    def __init__(self) -> None:
        self.server = LoopbackServer()
        self.http: PatientHttp = patient_http()

    @property
    def url(self) -> str:
        return f"{self.server.url}/api/json/json.php"

    def merchant(self, **changes: Any) -> Merchant:
        how = {"url": self.url, "sid": SID, "password": PASSWORD.encode(), **changes}
        return Merchant(**how)

    def client(self, **changes: Any) -> OdengiClient:
        return OdengiClient(self.merchant(**changes), self.http, utc_now)

    async def start(self) -> None:
        await self.server.start(create_odengi_bank(SID, PASSWORD))

    async def stop(self) -> None:
        await self.server.stop()
        self.server.close()
        await self.http.aclose()

    async def control(self, **how: Any) -> None:
        answer = await self.http.post(f"{self.server.url}/control", json=how)
        assert answer.status_code == 200, answer.text

    async def fault(self, command: str, mode: str, **how: Any) -> None:
        await self.control(faults={command: {"mode": mode, **how}})

    async def act(self, invoice_id: str, action: str, **how: Any) -> dict[str, Any]:
        answer = await self.http.post(f"{self.server.url}/pay/{invoice_id}/{action}", json=how)
        assert answer.status_code == 200, answer.text
        return answer.json()


@pytest.fixture
async def bank() -> AsyncIterator[BankSite]:
    site = BankSite()
    await site.start()
    yield site
    await site.stop()

"""A top-up through O!Dengi: its CPU."""

import json
import sys
import time
from contextlib import AsyncExitStack
from typing import Any, Final

from bench import seed
from bench.evpower_server import SANDBOX_SECRET, EvPowerServer, access_token
from bench.harness import Bar, Row, in_turn
from bench.live import cpu_s
from bench.rig import Rig
from evpower.devstack.bank.odengi.wire import sign_notice
from evpower.devstack.ports import LOOPBACK, free_port
from evpower.devstack.services import ProcessService
from evpower.foundation import standard_webhooks
from evpower.foundation.http import HttpClient
from evpower.payments.providers.odengi import OdengiProvider
from evpower.payments.providers.odengi.client import Merchant

SID: Final = "4672496329"
PASSWORD: Final = "bench only"  # noqa: S105 - of the simulator
AMOUNT: Final = 10_000
_ROUNDS: Final = 5
_EACH: Final = 40  # of a round; fewer than one client may have open
NOTICES: Final = "/api/v1/payment/webhook/odengi"
COMMANDS: Final = "/api/json/json.php"
_NO_LIMIT: Final = {"EVPOWER_RATE_MONEY_PER_MINUTE": "1000000000"}


class Banks:
    """O!Dengi's simulator and the sandbox bank, as processes."""

    def __init__(self, odengi_port: int, sandbox_port: int, http: HttpClient) -> None:
        self.odengi = f"http://{LOOPBACK}:{odengi_port}"
        self.sandbox = f"http://{LOOPBACK}:{sandbox_port}"
        self.http = http

    @classmethod
    async def start(cls, rig: Rig, stack: AsyncExitStack) -> "Banks":
        http = await stack.enter_async_context(HttpClient())
        banks = cls(free_port(), free_port(), http)
        serve = "from evpower.devstack import serve_odengi_bank as serve; serve(*{!r}, None)"
        for name, url, argv, env in (
            (
                "odengi", banks.odengi,
                ["-c", serve.format((SID, PASSWORD, int(banks.odengi.rsplit(":", 1)[1])))], {},
            ),
            (
                "sandbox", banks.sandbox,
                ["-m", "evpower.devstack.bank.server", "--port", banks.sandbox.rsplit(":", 1)[1]],
                {"EVPOWER_SANDBOX_SECRET": SANDBOX_SECRET},
            ),
        ):  # fmt: skip
            process = ProcessService(
                name, [sys.executable, *argv], log=rig.folder / f"{name}-bank.log",
                ready_url=f"{url}/health", env=env,
            )  # fmt: skip
            await process.start()
            stack.push_async_callback(process.stop)
        await banks.post(f"{banks.odengi}/control", {"notices": "none"})
        return banks

    async def post(
        self, url: str, body: object, headers: dict[str, str] | None = None
    ) -> dict[str, Any]:
        answer = await self.http.fetch(
            "devstack", "POST", url, json=body, headers=headers, timeout_s=10
        )
        if not answer.is_success:
            raise RuntimeError(f"{url} answered {answer.status_code}: {answer.text[:200]}")
        return answer.json()

    async def pay(self, bank_ref: str) -> None:
        """Pays a bill."""
        await self.post(f"{self.odengi}/pay/{bank_ref}/approve", {"amount": AMOUNT})

    def settings(self, provider: str) -> dict[str, str]:
        return {
            **_NO_LIMIT,
            "EVPOWER_PAYMENT_QR_PROVIDER": provider,
            "EVPOWER_SANDBOX_URL": self.sandbox,
            "EVPOWER_ODENGI_URL": self.odengi,
            "EVPOWER_ODENGI_SID": SID,
            "EVPOWER_ODENGI_PASSWORD": PASSWORD,
        }

    def adapter(self) -> OdengiProvider:
        """Returns what asks O!Dengi's simulator, in this process."""
        merchant = Merchant(self.odengi + COMMANDS, SID, PASSWORD.encode())
        return OdengiProvider(merchant, self.http)


def signed_notice(order_id: str) -> dict[str, Any]:
    """Returns the bank's notice that an order is paid."""
    members: dict[str, Any] = {
        "trans_id": "1", "status_pay": 3, "site_id": SID, "order_id": order_id,
        "amount": AMOUNT, "currency": "KGS", "mktime": str(time.time_ns()), "test": 0,
    }  # fmt: skip
    return members | {"hash": sign_notice(PASSWORD.encode(), members)}


async def odengi_cpu(rig: Rig) -> list[Row]:
    """CPU of the server for one top-up: the bill, the notice, the question, the credit.

    The limit: the same top-up where the bank's event itself credits, and one more outgoing call.
    """
    supabase = await rig.supabase()
    dsn = await rig.new_database()
    async with rig.owner(dsn) as owner:
        clients = await seed.add_clients(owner, 2 * _ROUNDS + 2)
        await seed.settle_down(owner)
    async with AsyncExitStack() as stack:
        banks = await Banks.start(rig, stack)
        servers = {
            name: await EvPowerServer.start(rig, stack, dsn, env=banks.settings(name))
            for name in ("odengi", "sandbox")
        }
        fresh = iter(clients)

        async def side(name: str) -> float:
            server = servers[name]
            token = access_token(supabase, next(fresh))
            used = cpu_s(server)
            for _ in range(_EACH):
                await _top_up_once(banks, server, name, token)
            return (cpu_s(server) - used) / _EACH * 1000

        async def limit() -> float:
            return await side("sandbox") + await _outgoing_ms(banks)

        await side("odengi")
        await side("sandbox")
        turns = await in_turn(lambda: side("odengi"), limit, rounds=_ROUNDS)
    took_ms, limit_ms = turns
    return [
        Row(
            "odengi_top_up_cpu", took_ms, "ms CPU", "a bare top-up and as many calls", limit_ms,
            Bar("<=", 1.5), "", turns.ratio(),
        )
    ]  # fmt: skip


async def _top_up_once(banks: Banks, server: EvPowerServer, name: str, token: str) -> None:
    url = f"http://{LOOPBACK}:{server.port}"
    begun = await banks.post(
        f"{url}/api/v1/balance/topup-qr", {"amount": 100}, {"Authorization": f"Bearer {token}"}
    )
    order_id = begun["order_id"]
    if name == "odengi":
        await banks.pay(begun["payment_url"].split("/pay/")[1].split("?")[0])
        await banks.post(url + NOTICES, signed_notice(order_id))
        return
    event = {"order_id": order_id, "ref": order_id, "status": "approved", "currency": "KGS"}
    raw = json.dumps({**event, "paid": AMOUNT}).encode()
    key, now = standard_webhooks.key_bytes(SANDBOX_SECRET), int(time.time())
    headers = {
        "webhook-id": order_id,
        "webhook-timestamp": str(now),
        "webhook-signature": standard_webhooks.sign(key, order_id, now, raw),
    }
    path = f"{url}/api/v1/payment/webhook/sandbox"
    await banks.http.fetch("devstack", "POST", path, content=raw, headers=headers, timeout_s=10)


async def _outgoing_ms(banks: Banks) -> float:
    """CPU of one outgoing call, measured in this process."""
    url, count = f"{banks.odengi}/health", 200
    used = time.process_time()
    for _ in range(count):
        await banks.http.fetch("devstack", "POST", url + "?", content=b"{}", timeout_s=10)
    return (time.process_time() - used) / count * 1000

"""Three API processes, a worker and a real NATS: a driver sees at one node what another did.

One node compares its sockets' clients with the database once a second, the other practically
never: what reaches a socket there came over the bus.
"""

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from evpower.devstack.local import LocalEvPower, running
from evpower.devstack.nats import LocalNats
from evpower.foundation.failpoints import Failpoint
from tests.cli.patient import PATIENT
from tests.faults.conftest import set_failpoint
from tests.faults.driver import Driver
from tests.folders import server_folder
from tests.waiting import COMMAND_S, WAIT_LIMIT_S, until

pytestmark = [pytest.mark.xdist_group("two-nodes"), pytest.mark.timeout(900)]
_NEVER_S = "86400"
_RECEIVED = "evpower_bus_received_total "


@dataclass
class Nodes:
    """The stack, and its other API processes beside the one that drivers call."""

    evpower: LocalEvPower
    nats: LocalNats
    by_bus: str  # URL of the node that practically never sweeps
    by_sweep: str  # URL of the one that sweeps every second

    @property
    def urls(self) -> list[str]:
        return [self.evpower.api_url, self.by_bus, self.by_sweep]

    async def bus_is(self, state: str, http: httpx.AsyncClient, *urls: str) -> None:
        async def all_say_so() -> bool:
            answers = [await http.get(f"{url}/readyz") for url in urls or self.urls]
            states = [(answer.status_code, answer.json()["bus"]) for answer in answers]
            return states == [(200, state)] * len(
                states
            )  # the state of the bus makes no node unready

        await until(all_say_so, f"the bus never was {state} everywhere, and all of them ready")


@pytest.fixture(scope="module")
async def nodes() -> AsyncIterator[Nodes]:
    with server_folder("nodes") as folder:
        made = LocalEvPower(
            folder / "data",
            split=True,
            nats=True,
            environment={"EVPOWER_FAILPOINT_FILE": str(folder / "data" / "failpoint")},
        )
        async with running(made) as evpower:
            assert evpower.nats is not None
            _, by_bus = await evpower.add_process("api", {"EVPOWER_LIVE_SWEEP_S": _NEVER_S})
            _, by_sweep = await evpower.add_process("api", {"EVPOWER_LIVE_SWEEP_S": "1"})
            yield Nodes(evpower, evpower.nats, by_bus, by_sweep)


@pytest.fixture(scope="module")
async def driver(nodes: Nodes) -> AsyncIterator[Driver]:
    async with httpx.AsyncClient(timeout=WAIT_LIMIT_S, trust_env=False) as http:
        driver = Driver(nodes.evpower, http)
        await driver.sign_up()
        await nodes.bus_is("ok", http)
        yield driver


class Live:
    """A driver's open socket, and the last balance it received."""

    def __init__(self, ws: ClientConnection) -> None:
        self._ws = ws
        self.balance_som = -1.0
        self.version = -1

    async def hear(self) -> None:
        """Read until the next balance."""
        while True:
            frame: dict[str, Any] = json.loads(await self._ws.recv())
            if frame["type"] == "balance_update":
                assert frame["version"] >= self.version, "a version went down"
                self.balance_som, self.version = frame["balance"], frame["version"]
                return

    async def close_reason(self) -> tuple[int | None, str | None]:
        """Read to its end."""
        async with asyncio.timeout(WAIT_LIMIT_S):
            with contextlib.suppress(ConnectionClosed):
                while True:
                    await self.hear()
        return self._ws.close_code, self._ws.close_reason

    async def shows(self, som: float, within_s: float = WAIT_LIMIT_S) -> None:
        """Wait until it shows this balance."""
        async with asyncio.timeout(within_s):
            while self.balance_som != som:
                await self.hear()


@contextlib.asynccontextmanager
async def live(url: str, driver: Driver) -> AsyncIterator[Live]:
    """Yields a socket of this driver that received the current balance."""
    address = url.replace("http", "ws", 1) + "/api/v1/ws"
    async with connect(address, proxy=None, open_timeout=WAIT_LIMIT_S, ping_interval=None) as ws:
        await ws.send(json.dumps({"type": "auth", "token": driver._token}))
        socket = Live(ws)
        async with asyncio.timeout(WAIT_LIMIT_S):
            await socket.hear()
        yield socket


async def pay(driver: Driver, som: int) -> float:
    """Pay through the node that drivers call; answers the balance there will be."""
    before = await driver.here()
    await driver.approve(await driver.open_invoice(som))
    return before.balance_minor / 100 + som


async def test_a_top_up_at_one_node_is_seen_at_the_others(nodes: Nodes, driver: Driver) -> None:
    async with live(nodes.by_bus, driver) as there, live(nodes.evpower.api_url, driver) as here:
        for som in (10, 20, 30):
            after = await pay(driver, som)
            await here.shows(after)
            await there.shows(after)


async def test_cash_received_by_a_command_is_seen_at_once(nodes: Nodes, driver: Driver) -> None:
    before = await driver.here()
    async with live(nodes.by_bus, driver) as there:
        output = await command(
            nodes, "payments", "cash", "--client", str(driver.client_id), "--amount", "15",
            "--receipt", "two-nodes-1", "--reason", "test", program=[PATIENT],
        )  # fmt: skip
        await there.shows(before.balance_minor / 100 + 15)
    assert "NATS" not in output


async def test_without_nats_the_sweep_brings_it_and_with_it_again_the_bus(
    nodes: Nodes, driver: Driver
) -> None:
    async with live(nodes.by_bus, driver) as by_bus, live(nodes.by_sweep, driver) as by_sweep:
        nodes.nats.kill()
        try:
            await nodes.bus_is("degraded", driver.http)
            after = await pay(driver, 40)
            await by_sweep.shows(after)
            with pytest.raises(TimeoutError):  # there is no other way to this node
                await by_bus.shows(after, within_s=1)
            output = await command(
                nodes, "payments", "cash", "--client", str(driver.client_id), "--amount", "5",
                "--receipt", "two-nodes-2", "--reason", "test",
            )  # fmt: skip
            assert "a few seconds later" in output, "the command says so, and is done all the same"
            await by_sweep.shows(after + 5)
        finally:
            await nodes.nats.start()
        await nodes.bus_is("ok", driver.http)
        await by_bus.shows(await pay(driver, 50))


async def test_a_node_killed_before_it_notified_any_other(nodes: Nodes, driver: Driver) -> None:
    """Committed, and the process killed: the other nodes' sockets are updated by their sweep."""
    async with live(nodes.by_sweep, driver) as there:
        before = await driver.here()
        invoice = await driver.open_invoice(60)
        set_failpoint(nodes.evpower, Failpoint.CONFIRM_COMMITTED, nodes.evpower.api.pid)
        await driver.approve(invoice)
        await until(lambda: _is_gone(nodes), "the node was not killed")
        await there.shows(before.balance_minor / 100 + 60)
        assert not nodes.evpower.api.running, "no other process notified it"
    await nodes.evpower.restart("api")
    await nodes.bus_is("ok", driver.http, nodes.evpower.api_url)


async def test_the_worker_hears_the_nodes_and_supabase_has_all_of_it(
    nodes: Nodes, driver: Driver
) -> None:
    worker = nodes.evpower.worker
    assert worker is not None
    url = worker._ready_url.removesuffix("/readyz")
    await nodes.bus_is("ok", driver.http, *nodes.urls, url)
    before = await _heard(url, driver.http)
    som = await pay(driver, 70)

    async def equal() -> bool:
        here = await driver.here()
        return here.balance_minor == som * 100 and here == await driver.there()

    await until(equal, "Supabase never had it")

    async def has_heard() -> bool:
        return await _heard(url, driver.http) > before

    await until(has_heard, "the worker never heard of it")


async def _heard(url: str, http: httpx.AsyncClient) -> float:
    """How many changes of other nodes this one has heard of."""
    metrics = await http.get(f"{url}/metrics")
    (line,) = [line for line in metrics.text.splitlines() if line.startswith(_RECEIVED)]
    return float(line.removeprefix(_RECEIVED))


async def test_an_account_deleted_in_supabase_ends_its_sockets_everywhere(
    nodes: Nodes, driver: Driver
) -> None:
    leaver = Driver(nodes.evpower, driver.http)
    await leaver.sign_up()
    async with contextlib.AsyncExitStack() as stack:
        sockets = [await stack.enter_async_context(live(url, leaver)) for url in nodes.urls]
        stays = await stack.enter_async_context(live(nodes.by_bus, driver))
        await leaver.leave()
        for socket in sockets:
            assert await socket.close_reason() == (4403, "client_closed")
        await stays.shows(await pay(driver, 80))


async def test_the_doctor_tries_every_server(nodes: Nodes) -> None:
    url = nodes.nats.url.replace("nats://", "nats://evpower:wr0ng@")
    urls = url + ",nats://127.0.0.1:1"
    output = await command(nodes, "doctor", "--json", program=[PATIENT], EVPOWER_NATS_URL=urls)
    findings = [
        finding
        for finding in json.loads(output.splitlines()[0])
        if finding["name"].startswith("NATS")
    ]
    assert [finding["ok"] for finding in findings] == [True, False], findings
    assert "wr0ng" not in output


async def _is_gone(nodes: Nodes) -> bool:
    return not nodes.evpower.api.running


async def command(
    nodes: Nodes, *words: str, program: Sequence[str | Path] = ("-m", "evpower"), **changes: str
) -> str:
    """Runs `evpower ...` beside the stack. Returns its output."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, *program, *words,
        env={**nodes.evpower.environment(), **changes},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await asyncio.wait_for(process.communicate(), COMMAND_S)
    assert "Traceback" not in err.decode(), err.decode()
    return out.decode() + err.decode()

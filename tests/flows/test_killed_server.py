"""SIGKILL of the whole server at each step of a charge; the station sends again what it has."""

import contextlib
from collections.abc import AsyncIterator
from zlib import crc32

import httpx
import pytest

from evpower.foundation.failpoints import Failpoint
from evpower.simulator import SimulatedStation
from tests.faults.conftest import set_failpoint
from tests.flows.charging_site import LEAST_WH, QUICK, Phone, Site, cost_minor, minor, running_site
from tests.folders import server_folder
from tests.waiting import until

pytestmark = [pytest.mark.xdist_group("charging"), pytest.mark.timeout(900)]
AT_THE_START = (
    Failpoint.START_UNCOMMITTED, Failpoint.BEGIN_UNCOMMITTED, Failpoint.CHANGES_COMMITTED,
)  # fmt: skip
AT_THE_END = (Failpoint.STOP_UNCOMMITTED, Failpoint.SETTLE_UNCOMMITTED)
POWER_KW = 600


@pytest.fixture(scope="module")
async def site() -> AsyncIterator[Site]:
    with server_folder("killed_server", durable=True) as folder:
        environment = QUICK | {"EVPOWER_FAILPOINT_FILE": str(folder / "data" / "failpoint")}
        async with running_site(folder, environment=environment) as site:
            yield site


class Killing:
    """A driver at a station, and a server that dies at a step."""

    def __init__(self, site: Site, station: SimulatedStation, phone: Phone) -> None:
        self.site = site
        self.station = station
        self.phone = phone

    async def kill_at(self, step: Failpoint) -> None:
        """Names the step at which the server dies."""
        set_failpoint(self.site.evpower, step, self.site.evpower.api.pid)

    async def restart(self, step: Failpoint) -> None:
        """Waits until it is dead, and starts it again."""
        process = self.site.evpower.api
        await until(lambda: not process.running, f"nothing was killed at {step}")
        await self.site.evpower.restart("all")

    async def start(self) -> str:
        """Starts, again if the first call got no answer."""
        with contextlib.suppress(httpx.TransportError):
            return (await self.phone.start(self.station.config.id))["session_id"]
        return ""

    async def is_charging(self, session_id: str) -> None:
        await until(lambda: self.station.is_online)
        await self.phone.charges_wh(session_id, LEAST_WH)

    async def is_billed_right(self, session_id: str) -> None:
        """The energy is the station's own count, billed by one newest bill, and by no other."""
        await until(lambda: self.phone.is_billed(session_id), "the session was never billed")
        await self.station.wait_sent()
        [transaction] = self.station.transactions
        assert transaction.delivered_wh is not None
        bill_minor = cost_minor(transaction.delivered_wh)

        async def is_right() -> bool:
            return minor((await self.phone.status(session_id))["cost"]) == bill_minor

        await until(is_right, "the bill never was right")
        balance = await self.phone.balance()
        assert (minor(balance["balance"]), balance["held"]) == (2_000_00 - bill_minor, 0)
        assert (await self.site.command("ledger", "verify"))["discrepancies"] == 0
        assert [session["id"] for session in await self.phone.history()] == [session_id]
        assert self.station.violations == []


@pytest.fixture
async def killing(site: Site, request: pytest.FixtureRequest) -> AsyncIterator[Killing]:
    name = f"KILL-{crc32(request.node.name.encode())}"
    await site.add_station(name, power_kw=POWER_KW)
    station = site.station(name, power_kw=POWER_KW)
    async with station.running():
        await until(lambda: station.is_online)
        station.plug_in()
        yield Killing(site, station, await site.driver(som=2_000))


@pytest.mark.parametrize("step", AT_THE_START)
async def test_killed_while_it_begins(killing: Killing, step: Failpoint) -> None:
    await killing.kill_at(step)
    session_id = await killing.start()
    await killing.restart(step)
    session_id = session_id or await killing.start()
    await killing.is_charging(session_id)
    await killing.phone.stop(session_id)
    await killing.is_billed_right(session_id)


async def test_killed_with_meter_values_written(killing: Killing) -> None:
    session_id = await killing.start()
    await killing.is_charging(session_id)
    await killing.kill_at(Failpoint.PROGRESS_UNCOMMITTED)
    await killing.restart(Failpoint.PROGRESS_UNCOMMITTED)
    await killing.is_charging(session_id)
    await killing.phone.stop(session_id)
    await killing.is_billed_right(session_id)


@pytest.mark.parametrize("step", AT_THE_END)
async def test_killed_while_it_ends(killing: Killing, step: Failpoint) -> None:
    session_id = await killing.start()
    await killing.is_charging(session_id)
    await killing.kill_at(step)
    with contextlib.suppress(httpx.TransportError):
        await killing.phone.stop(session_id)
    await killing.restart(step)
    await killing.is_billed_right(session_id)


async def test_killed_while_the_stations_own_stop_makes_the_next_bill(killing: Killing) -> None:
    await killing.site.evpower.restart("all", {"EVPOWER_CHARGING_CLOSE_AFTER_STOP_S": "2"})
    station, phone = killing.station, killing.phone
    await until(lambda: station.is_online)
    session_id = await killing.start()
    await killing.is_charging(session_id)
    station.lose_network()
    before_wh = station.delivered_wh
    await until(lambda: station.delivered_wh > before_wh + LEAST_WH)
    await phone.stop(session_id)
    await until(lambda: phone.is_billed(session_id), "it was never closed without its station")
    await killing.kill_at(Failpoint.CORRECT_UNCOMMITTED)
    station.unplug()
    station.restore_network()
    await killing.restart(Failpoint.CORRECT_UNCOMMITTED)
    await killing.is_billed_right(session_id)

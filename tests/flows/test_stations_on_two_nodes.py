"""Two nodes with a NATS between them: stations connect to either, drivers call either."""

from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from uuid import UUID

import pytest

from evpower.simulator import SimulatedStation, StationConfig, StationEvent
from tests.faults.tcp_proxy import TcpProxy, host_and_port
from tests.flows.charging_site import POWER_KW, Site, cost_minor, minor, running_site
from tests.folders import server_folder
from tests.waiting import until

pytestmark = [pytest.mark.xdist_group("charging"), pytest.mark.timeout(900)]


@dataclass
class Nodes:
    """The site, whose drivers call the first node, and the address of the second one."""

    site: Site
    second_url: str

    async def node_of(self, station_id: str) -> tuple[str | None, int]:
        """The node that has the station's socket, and the number of its connections so far."""
        [row] = await self.site.rows(
            "select (select node from stations.sockets where station_id = $1) as node,"
            " (select count(*) from stations.connections where station_id = $1) as connections",
            station_id,
        )
        return row["node"], row["connections"]


@pytest.fixture(scope="module")
async def nodes() -> AsyncIterator[Nodes]:
    with server_folder("station-nodes") as folder:
        async with running_site(folder, nats=True) as site:
            _, second = await site.evpower.add_process("stations")
            yield Nodes(site, second)


class CountingStation:
    """A simulated station and the commands that it received."""

    def __init__(self, station_id: str, api_url: str) -> None:
        self.commands: Counter[str] = Counter()
        url = f"{api_url.replace('http', 'ws', 1)}/ocpp"
        self.station = SimulatedStation(
            StationConfig(station_id, url, rated_power_w=POWER_KW * 1000), on_event=self._count
        )
        self.station.configuration.set("MeterValueSampleInterval", "1")

    def _count(self, event: StationEvent) -> None:
        if event.name == "command":
            self.commands[event.text] += 1


async def test_a_command_of_another_node_arrives_once(nodes: Nodes) -> None:
    await nodes.site.add_station("NODE-1")
    phone = await nodes.site.driver()
    counting = CountingStation("NODE-1", nodes.second_url)
    async with counting.station.running():
        await until(lambda: counting.station.is_online)
        counting.station.plug_in()
        session_id = (await phone.start("NODE-1"))["session_id"]
        await phone.charges_wh(session_id)
        await phone.stop(session_id)
        await until(lambda: phone.is_billed(session_id))
    assert counting.commands["RemoteStartTransaction"] == 1
    assert counting.commands["RemoteStopTransaction"] == 1
    commands = await nodes.site.rows(
        "select action, state from stations.commands where station_id = 'NODE-1'"
        " and action like 'remote%' order by id"
    )
    assert [tuple(row) for row in commands] == [
        ("remote_start", "accepted"),
        ("remote_stop", "accepted"),
    ]


async def test_a_session_goes_on_when_its_station_moves_to_another_node(nodes: Nodes) -> None:
    await nodes.site.add_station("NODE-2")
    phone = await nodes.site.driver()
    async with TcpProxy(*host_and_port(nodes.second_url)) as proxy:
        counting = CountingStation("NODE-2", proxy.through(nodes.second_url))
        station = counting.station
        async with station.running():
            await until(lambda: station.is_online)
            station.plug_in()
            session_id = (await phone.start("NODE-2"))["session_id"]
            await phone.charges_wh(session_id)
            first, _ = await nodes.node_of("NODE-2")

            proxy.move(nodes.site.evpower.api_url)

            async def has_moved() -> bool:
                node, connections = await nodes.node_of("NODE-2")
                return connections >= 2 and node not in {None, first}

            await until(has_moved, "the station never came to the other node")
            before = (await phone.status(session_id))["energy_consumed"]
            await phone.charges_wh(session_id, round(before * 1000) + 1)
            await phone.stop(session_id)
            await until(lambda: phone.is_billed(session_id))
            [transaction] = station.transactions
    assert transaction.delivered_wh is not None
    bill_minor = cost_minor(transaction.delivered_wh)
    assert minor((await phone.balance())["balance"]) == 500_00 - bill_minor
    bills = await nodes.site.rows(
        "select count(*) from charging.settlements where session_id = $1", UUID(session_id)
    )
    assert bills[0][0] == 1
    assert counting.commands["RemoteStartTransaction"] == 1

"""A station that sends and answers no command is made to connect anew, once."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from ocpp.v16.enums import Action

from tests.flows.charging_site import Site, running_site
from tests.folders import server_folder
from tests.waiting import until

pytestmark = [pytest.mark.xdist_group("charging"), pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
async def site() -> AsyncIterator[Site]:
    with server_folder("unresponsive") as folder:
        async with running_site(
            folder, environment={"EVPOWER_CHARGING_COMMAND_REPLY_S": "1"}
        ) as site:
            yield site


async def ask(site: Site) -> str:
    """Queues a command and waits for its end; returns its state."""
    ended = await site.command("station", "command", "DEAD-1", "clear_cache")
    return ended["state"]


async def alerts(site: Site) -> list[dict[str, Any]]:
    listed = await site.command("alert", "list")
    return [each for each in listed if each["kind"] == "station_unresponsive"]


async def test_q13_it_hears_again_on_a_new_connection(site: Site) -> None:
    await site.add_station("DEAD-1")
    station = site.station("DEAD-1")
    station.configuration.set("HeartbeatInterval", "1")
    async with station.running():
        await until(lambda: station.is_online)
        first = station.link
        station.configuration.set("HeartbeatInterval", "1")
        station.restart_timers()
        station.faults.ignore_commands = {Action.clear_cache}
        assert await ask(site) == "timed_out"
        assert station.link is first
        assert await ask(site) == "timed_out"
        await until(lambda: station.link is not first and station.is_online)
        [alert] = await alerts(site)
        assert alert["subject"] == "DEAD-1"

        second = station.link
        assert await ask(site) == "timed_out"
        assert await ask(site) == "timed_out"
        assert station.link is second, "it was dropped again"

        station.faults.ignore_commands = set()
        assert await ask(site) == "accepted"
        assert await alerts(site) == []
    reasons = await site.rows(
        "select close_reason from stations.connections where station_id = 'DEAD-1' order by id"
    )
    assert reasons[0]["close_reason"] == "unresponsive"

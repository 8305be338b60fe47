"""A station that sends and answers no command is made to connect anew; a silent one ends."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from ocpp.v16.enums import Action

from tests.flows.charging_site import Site, cost_minor, quick_car, running_site
from tests.folders import server_folder
from tests.waiting import until

pytestmark = [pytest.mark.xdist_group("charging"), pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
async def site() -> AsyncIterator[Site]:
    with server_folder("unresponsive") as folder:
        async with running_site(
            folder,
            environment={
                "EVPOWER_CHARGING_COMMAND_REPLY_S": "1",
                "EVPOWER_CLOCK_FILE": str(_clock_file(folder)),
            },
        ) as site:
            yield site


def _clock_file(folder: Path) -> Path:
    return folder / "data" / "clock"


def move_clock(site: Site, *, hours: float) -> None:
    """Moves the server's clock on; from then on it goes as before."""
    path = _clock_file(site.evpower.stack.data.parent)
    new = path.with_suffix(".new")
    new.write_text(str(hours * 3600))
    new.replace(path)


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


async def test_a_session_without_a_frame_for_half_a_day_is_billed_to_its_last_value(
    site: Site,
) -> None:
    """With the waits of production: the server's clock moves."""
    await site.add_station("GONE-1")
    phone = await site.driver()
    station = site.station("GONE-1")
    async with station.running():
        await until(lambda: station.is_online)
        station.plug_in(car=quick_car())
        session_id = (await phone.start("GONE-1"))["session_id"]
        await phone.charges_wh(session_id, 500)

    async def session() -> Any:
        [row] = await site.rows(
            "select state, end_reason, energy_wh, cost_minor,"
            " station_lost_notified_at is not null as is_lost"
            " from charging.sessions where id = $1",
            UUID(session_id),
        )
        return row

    async def is_lost() -> bool:
        return (await session())["is_lost"]

    async def is_settled() -> bool:
        return (await session())["state"] == "settled"

    move_clock(site, hours=11.9)
    await until(is_lost, "the driver was not notified")
    assert (await session())["state"] == "charging"
    move_clock(site, hours=12.1)
    await until(is_settled, "it never ended")
    ended = await session()
    assert ended["end_reason"] == "no_frames"
    assert 500 <= ended["energy_wh"] <= station.delivered_wh
    assert ended["cost_minor"] == cost_minor(ended["energy_wh"])

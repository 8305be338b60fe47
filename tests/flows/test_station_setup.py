"""A station is set up once for its firmware, on real processes, whatever its reboots."""

import pytest

from tests.flows.charging_site import Site
from tests.waiting import until

pytestmark = [pytest.mark.xdist_group("charging"), pytest.mark.timeout(900)]


async def reads(site: Site) -> int:
    rows = await site.rows(
        "select 1 from ocpp.frames where action = 'GetConfiguration' and direction = 'out'"
        " and station_id = 'ABB-1'"
    )
    return len(rows)


async def test_q62_a_station_that_reboots_at_a_read_is_read_once(site: Site) -> None:
    await site.command(
        "station", "add", "ABB-1", "--location", "Mall", "--power-kw=22", "--no-auth"
    )
    station = site.station("ABB-1", persona="abb-boot-loop", power_kw=22)
    station.configuration.set("TransactionMessageAttempts", "1")

    async def is_set_up() -> bool:
        setups = await site.rows(
            "select ended_at from stations.setups where station_id = 'ABB-1' order by id desc"
        )
        return bool(setups) and setups[0]["ended_at"] is not None

    async with station.running():
        await until(is_set_up, "the station was never set up")
        for _ in range(2):
            await until(lambda: station.is_online)
            station.reboot()
        await until(lambda: station.is_online)
        await until(is_set_up)

        async def are_logged() -> bool:
            return await reads(site) > 0

        await until(are_logged)
    assert await reads(site) == 1
    setup = await site.command("station", "setup", "ABB-1")
    assert setup["keys"] or setup["failure"] == "no_answer"

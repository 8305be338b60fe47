"""Stations with the faults of real ones: each charges by app, and ends with one right bill."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from uuid import UUID

import pytest

from evpower.simulator import PERSONAS
from tests.flows.charging_site import Site, cost_minor, minor, running_site
from tests.folders import server_folder
from tests.waiting import until

pytestmark = [pytest.mark.xdist_group("charging"), pytest.mark.timeout(900)]
POWER_KW = 600
LEAST_WH = 500
# What the station itself says of its charge, where that is not what it delivered.
STOP_OFFSET_WH = {"huawei-minus-1": -1}


@dataclass
class Charged:
    """A charge, as the station knows it and as the driver was billed."""

    delivered_wh: int
    transactions: int
    energy_wh: int
    bills: int
    paid_minor: int
    end_reason: str | None
    quarantine: str | None


async def charge(site: Site, persona: str) -> Charged:
    station_id = f"P-{persona}"
    await site.add_station(station_id, power_kw=POWER_KW)
    station = site.station(station_id, persona=persona, power_kw=POWER_KW)
    phone = await site.driver(som=500)
    async with station.running():
        await until(lambda: station.is_online, f"{persona} was never let in")
        station.plug_in()
        session_id = (await phone.start(station_id))["session_id"]
        await until(lambda: station.delivered_wh >= LEAST_WH, f"{persona} never charged")
        await phone.stop(session_id)
        await until(lambda: phone.is_billed(session_id), f"{persona} was never billed")
        if persona != "sigen-repeat-stop":
            await station.wait_sent()
        station.unplug()
    [row] = await site.rows(
        "select energy_wh, end_reason, quarantine_reason,"
        " (select count(*) from charging.settlements b where b.session_id = s.id) as bills"
        " from charging.sessions s where id = $1",
        UUID(session_id),
    )
    balance = await phone.balance()
    assert balance["held"] == 0
    return Charged(
        delivered_wh=station.transactions[0].delivered_wh or 0,
        transactions=len(station.transactions),
        energy_wh=row["energy_wh"],
        bills=row["bills"],
        paid_minor=500_00 - minor(balance["balance"]),
        end_reason=row["end_reason"],
        quarantine=row["quarantine_reason"],
    )


@pytest.fixture(scope="module")
async def charges() -> AsyncIterator[Mapping[str, Charged | BaseException]]:
    """All of them beside each other, on one stack."""
    with server_folder("personas") as folder:
        async with running_site(folder) as site:
            results = await asyncio.gather(
                *(charge(site, persona) for persona in PERSONAS), return_exceptions=True
            )
            yield dict(zip(PERSONAS, results, strict=True))


@pytest.mark.parametrize("persona", PERSONAS)
async def test_a_persona_ends_with_one_right_bill(
    charges: Mapping[str, Charged | BaseException], persona: str
) -> None:
    charged = charges[persona]
    if isinstance(charged, BaseException):
        raise charged
    energy_wh = charged.delivered_wh + STOP_OFFSET_WH.get(persona, 0)
    assert charged.transactions == 1
    assert charged.bills == 1
    assert charged.energy_wh == energy_wh
    assert charged.paid_minor == cost_minor(energy_wh)
    assert charged.quarantine is None

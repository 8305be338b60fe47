"""A station that ignores one way after the other to end a charge, on real processes."""

from typing import Any
from uuid import UUID

import pytest
from ocpp.v16.enums import Action

from evpower.simulator import SimulatedStation
from tests.flows.charging_site import Phone, Site, cost_minor, minor
from tests.waiting import until

pytestmark = [pytest.mark.xdist_group("charging"), pytest.mark.timeout(900)]
STEPS = [
    ("remote_stop", Action.remote_stop_transaction),
    ("zero_limit", Action.set_charging_profile),
    ("unlock", Action.unlock_connector),
    ("reset", Action.reset),
]


async def steps_of(site: Site, session_id: str) -> list[tuple[str, str | None]]:
    shown = await site.command("session", "show", session_id)
    return [(step["step"], step["outcome"]) for step in shown["stop_steps"]]


async def alerts(site: Site, session_id: str) -> set[str]:
    listed: list[dict[str, Any]] = await site.command("alert", "list", "--subject", session_id)
    return {alert["kind"] for alert in listed}


async def charging_past_its_limit(station: SimulatedStation, phone: Phone, ignored: int) -> str:
    """Starts a charge at a station that accepts so many kinds of command and does nothing."""
    await until(lambda: station.is_online)
    station.faults.without_effect = {action.value for _, action in STEPS[:ignored]}
    station.plug_in()
    started = await phone.start(station.config.id, energy_kwh=1)
    return started["session_id"]


@pytest.mark.parametrize("ignored", range(len(STEPS) + 1))
async def test_the_first_step_that_the_station_obeys_ends_it(site: Site, ignored: int) -> None:
    name = f"STUBBORN-{ignored}"
    await site.add_station(name)
    station, phone = site.station(name), await site.driver(som=5_000)
    async with station.running():
        session_id = await charging_past_its_limit(station, phone, ignored)
        last = STEPS[ignored][0] if ignored < len(STEPS) else "give_up"

        async def is_taken() -> bool:
            rows = await site.rows(
                "select from charging.stop_steps x join charging.transactions t"
                " on t.id = x.transaction_id where t.session_id = $1 and x.step = $2",
                UUID(session_id),
                last,
            )
            return bool(rows)

        await until(is_taken, f"the step {last} was never taken")
        if last == "zero_limit":
            await until(lambda: station.connectors[1].meter.power_w == 0)
        if last in {"zero_limit", "give_up"}:
            assert "stop_not_obeyed" in await alerts(site, session_id)
            assert ("stop_steps_exhausted" in await alerts(site, session_id)) == (last == "give_up")
            station.unplug()
        await until(lambda: phone.is_billed(session_id), "the session was never billed")
        await station.wait_sent()
        await _is_right(site, phone, station, session_id)
    assert station.violations == []


async def _is_right(site: Site, phone: Phone, station: SimulatedStation, session_id: str) -> None:
    [transaction] = station.transactions
    assert transaction.delivered_wh is not None
    status = await phone.status(session_id)
    assert round(status["energy_consumed"] * 1000) == transaction.delivered_wh
    assert minor(status["cost"]) == cost_minor(transaction.delivered_wh)
    outcomes = [outcome for _, outcome in await steps_of(site, session_id)]
    assert outcomes[-1] == "stopped"
    assert None not in outcomes
    assert await alerts(site, session_id) == set()
    assert (await site.command("ledger", "verify"))["discrepancies"] == 0

"""A charge from the station's first connection to the bill, on real processes."""

import re
from uuid import UUID

import pytest

from tests.flows.charging_site import LEAST_WH, Phone, Site, cost_minor, minor
from tests.waiting import until

pytestmark = [pytest.mark.xdist_group("charging"), pytest.mark.timeout(900)]


async def test_a_charge_by_app_is_billed_and_equal_everywhere(site: Site) -> None:
    await site.add_station("EV-1")
    station = site.station("EV-1")
    phone = await site.driver(som=500)
    async with station.running(), phone.listening():
        await until(lambda: station.is_online, "the station was never let in")
        station.plug_in()
        started = await phone.start("EV-1", amount_som=100)
        session_id = started["session_id"]
        assert minor(started["new_balance"]) == 400_00, "100 som are on hold"
        await phone.charges_wh(session_id, LEAST_WH)
        running = await phone.status(session_id)
        assert running["session"]["status"] == "started"
        assert running["station_online"] is True
        await phone.stop(session_id)
        await until(lambda: phone.is_billed(session_id), "the session was never billed")
        await station.wait_sent()

        [transaction] = station.transactions
        assert re.fullmatch("[0-9A-F]{12}", transaction.id_tag)
        assert transaction.delivered_wh is not None
        bill_minor = cost_minor(transaction.delivered_wh)
        await _bill_is_everywhere(site, phone, session_id, transaction.delivered_wh, bill_minor)
        await until(lambda: _is_heard(phone, session_id, 500_00 - bill_minor))
    assert station.violations == []


async def _bill_is_everywhere(
    site: Site, phone: Phone, session_id: str, energy_wh: int, bill_minor: int
) -> None:
    status = await phone.status(session_id)
    assert round(status["energy_consumed"] * 1000) == energy_wh
    assert minor(status["cost"]) == bill_minor
    balance = await phone.balance()
    assert (minor(balance["balance"]), balance["held"]) == (500_00 - bill_minor, 0)

    [session] = await phone.history()
    assert session["id"] == session_id
    assert (session["status"], minor(session["amount"])) == ("stopped", bill_minor)
    assert [minor(entry["amount"]) for entry in await phone.money()] == [-bill_minor, 500_00]

    async def supabase_is_equal() -> bool:
        rows = await site.supabase_rows(
            "select status, (energy * 1000)::int as wh, (amount * 100)::int as minor"
            " from public.charging_sessions where id = $1",
            UUID(session_id),
        )
        there = await phone.there()
        return [tuple(row) for row in rows] == [("stopped", energy_wh, bill_minor)] and (
            there.balance_minor,
            there.transactions,
        ) == (500_00 - bill_minor, 2)

    await until(supabase_is_equal, "Supabase never had the bill")
    assert (await site.command("ledger", "verify"))["discrepancies"] == 0
    assert (await site.command("sync", "check"))["drift"] == 0


def _is_heard(phone: Phone, session_id: str, balance_minor: int) -> bool:
    """Whether the live socket sent the course of the session and the money after it."""
    updates = [
        message["status"]
        for message in phone.of_type("charging_update")
        if message["session_id"] == session_id
    ]
    balances = [minor(message["balance"]) for message in phone.of_type("balance_update")]
    return updates[-1:] == ["stopped"] and "started" in updates and balances[-1] == balance_minor

"""A station is forwarded to a foreign CSMS: the `ocpp` package's own central system."""

from typing import Any

import pytest
from ocpp.v16 import call

from evpower.simulator import ConnectFailed, SimulatedStation
from tests.flows.charging_site import Site, cost_minor
from tests.simulator.csms import Csms, running_csms
from tests.waiting import until

pytestmark = [pytest.mark.xdist_group("charging"), pytest.mark.timeout(900)]
TAG = "F0E1D2C3B4A5"


async def forward(site: Site, station_id: str, target: str) -> dict[str, Any]:
    """Switches a station, as the operator does; returns what the command prints."""
    switched: dict[str, Any] = await site.command("station", "forward", station_id, target)
    return switched


async def doings(site: Site) -> tuple[int, ...]:
    """How much EvPower itself has done, for any station."""
    [counts] = await site.rows(
        "select (select count(*) from charging.sessions) as sessions,"
        " (select count(*) from charging.settlements) as bills,"
        " (select count(*) from wallet.transactions) as transactions,"
        " (select count(*) from ocpp.answers) as answers"
    )
    return tuple(counts)


async def charge(csms: Csms, station: SimulatedStation) -> int:
    """A charge that the foreign CSMS begins and ends; returns its Wh."""
    station.plug_in()
    await csms.station.call(call.RemoteStartTransaction(id_tag=TAG, connector_id=1), suppress=False)
    await until(lambda: csms.count("MeterValues") >= 2, "the station sent no meter values")
    transaction = station.transactions[-1]
    assert transaction.id is not None
    await csms.station.call(
        call.RemoteStopTransaction(transaction_id=transaction.id), suppress=False
    )
    await until(lambda: csms.count("StopTransaction"), "the station never stopped")
    await station.wait_sent()
    station.unplug()
    assert transaction.delivered_wh is not None
    return transaction.delivered_wh


async def test_a_foreign_csms_charges_and_evpower_prices_beside_it(site: Site) -> None:
    await site.add_station("FWD-1")
    before = await doings(site)
    async with running_csms() as csms:
        assert (await forward(site, "FWD-1", csms.url))["forward_url"] == csms.url
        station = site.station("FWD-1")
        async with station.running():
            await until(lambda: station.is_online, "the foreign CSMS was never reached")
            energy_wh = await charge(csms, station)

            async def is_priced() -> bool:
                shown = await site.command("station", "forward", "FWD-1")
                return [each["energy_wh"] for each in shown["charges"]] == [energy_wh]

            await until(is_priced, "the charge was never priced")
        [priced] = (await site.command("station", "forward", "FWD-1"))["charges"]
        assert priced["transaction"] == str(station.transactions[0].id)
        assert (priced["id_tag"], priced["cost_minor"]) == (TAG, cost_minor(energy_wh))
        assert station.violations == []
        assert csms.violations() == []
        assert csms.errors == []
    assert await doings(site) == before, "EvPower itself did something"


async def test_every_frame_is_recorded_as_it_passed(site: Site) -> None:
    await site.add_station("FWD-2")
    async with running_csms() as csms:
        await forward(site, "FWD-2", csms.url)
        station = site.station("FWD-2")
        async with station.running():
            await until(lambda: station.is_online)
            await charge(csms, station)

        async def is_recorded() -> bool:
            frames = await site.command_lines("station", "frames", "FWD-2", "--jsonl")
            calls = [
                (each["message_id"], each["action"])
                for each in frames
                if each["direction"] == "in" and each["message_type"] == 2
            ]
            return calls == [(each.id, each.action) for each in csms.received]

        await until(is_recorded, "the frames of the station were never all recorded")
    frames = await site.command_lines(
        "station", "frames", "FWD-2", "--action", "RemoteStartTransaction", "--jsonl"
    )
    assert [(each["direction"], each["message_type"]) for each in frames] == [("out", 2), ("in", 3)]


async def test_the_other_csms_checks_the_password_which_is_stored_nowhere(site: Site) -> None:
    await site.add_station("FWD-3")
    async with running_csms(password="the other one's") as csms:
        await forward(site, "FWD-3", csms.url)
        wrong = site.station("FWD-3", password="wrong")
        with pytest.raises(ConnectFailed) as refused:
            await wrong.run(retries_first=False)
        assert refused.value.reason == "unauthorized"
        right = site.station("FWD-3", password="the other one's")
        async with right.running():
            await until(lambda: right.is_online)
    rows = await site.rows(
        "select count(*) from ocpp.frames where frame like '%other one%'"
        " union all select count(*) from stations.credentials where station_id = 'FWD-3'"
    )
    assert [row[0] for row in rows] == [0, 0]


async def test_when_the_other_csms_is_gone_the_station_queues_and_comes_back(site: Site) -> None:
    await site.add_station("FWD-4")
    station = site.station("FWD-4")
    station.faults.never_redials = True  # after a close frame
    async with running_csms() as csms:
        await forward(site, "FWD-4", csms.url)
        async with station.running():
            await until(lambda: station.is_online)
            station.plug_in()
            await csms.station.call(
                call.RemoteStartTransaction(id_tag=TAG, connector_id=1), suppress=False
            )
            await until(lambda: csms.count("StartTransaction"))
            assert csms.server is not None
            csms.server.close()
            await until(lambda: not station.is_online, "the station's connection stayed")
            station.stop_by_card()
            await until(lambda: station.queued)
            async with running_csms() as later:
                await forward(site, "FWD-4", later.url)
                await until(lambda: later.count("StopTransaction"), "the stop was lost")


async def test_a_start_by_app_is_refused_until_the_station_is_ours_again(site: Site) -> None:
    await site.add_station("FWD-5")
    phone = await site.driver()
    station = site.station("FWD-5")
    body = {"station_id": "FWD-5", "connector_id": 1}
    async with running_csms() as csms:
        await forward(site, "FWD-5", csms.url)
        async with station.running():
            await until(lambda: station.is_online)
            station.plug_in()
            shown = (await phone.call("GET", "/api/v1/station/status/FWD-5")).json()
            assert (shown["available_for_charging"], shown["available_connectors"]) == (False, 0)
            refused = await phone.call("POST", "/api/v1/charging/start", body)
            assert refused.json()["error_code"] == "station_unavailable", refused.text
            assert (await phone.balance())["held"] == 0

            await forward(site, "FWD-5", "off")
            await until(lambda: not csms.connections, "the station stayed at the other CSMS")
            await until(lambda: station.is_online)
            session_id = (await phone.start("FWD-5"))["session_id"]
            await phone.charges_wh(session_id)
            await phone.stop(session_id)
            await until(lambda: phone.is_billed(session_id))
        assert csms.count("StartTransaction") == 0


async def test_a_station_in_use_is_not_forwarded(site: Site) -> None:
    await site.add_station("FWD-6")
    phone = await site.driver()
    station = site.station("FWD-6")
    async with station.running():
        await until(lambda: station.is_online)
        station.plug_in()
        session_id = (await phone.start("FWD-6"))["session_id"]
        done = await site.run("station", "forward", "FWD-6", "wss://csms.example/ocpp")
        assert done.returncode == 1
        assert "a session is open" in done.stderr
        await phone.stop(session_id)

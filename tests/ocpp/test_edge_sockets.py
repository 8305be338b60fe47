"""What goes wrong with sockets, boots and order and costs money, each on a real socket.

The numbers are those of `tests/snapshots/test_edge_cases.py`, which says what each is.
"""

import asyncio
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest

from evpower.foundation.db import Connection, Database
from evpower.ocpp.module import Times
from evpower.simulator import Faults
from evpower.simulator.faults import ENERGY
from tests.ocpp.edge_rig import STATION, edge_rig, is_billed_right, set_price
from tests.ocpp.scenario import running
from tests.waiting import until


async def test_edge_19_a_lost_socket_ends_no_session(db: Database, owner: Connection) -> None:
    async with edge_rig(db, owner) as rig:
        session = await rig.charge()
        rig.station.lose_network()
        await rig.advance(45 * 60)
        assert await rig.state(session) == "charging"
        rig.station.restore_network()
        await rig.online()
        assert await rig.state(session) == "charging"
        await rig.ask_to_stop(session)
        await is_billed_right(rig)


async def test_edge_20_the_newest_socket_wins_and_the_old_one_cleans_nothing(
    db: Database, owner: Connection
) -> None:
    async with edge_rig(db, owner, no_auth=False) as rig:
        session = await rig.charge()
        before = rig.central.socket(STATION)
        rig.station.open_second_socket()
        await until(lambda: rig.central.socket(STATION) not in (None, before))
        await until(lambda: before.is_over)
        await until(lambda: rig.station.is_online)
        await rig.settled()
        assert rig.central.socket(STATION) is not None
        await rig.ask_to_stop(session)
        assert await rig.commands("remote_stop") == ["accepted"]
        await is_billed_right(rig)


async def test_edge_20_without_a_password_no_stranger_takes_the_socket(
    db: Database, owner: Connection
) -> None:
    async with edge_rig(db, owner) as rig:
        present = rig.central.socket(STATION)
        with pytest.raises(Exception, match="409"):
            async with rig.central.open():
                pass
        assert rig.central.socket(STATION) is present
        assert "second_socket" in await rig.alerts()


async def test_edge_21_a_socket_without_a_sign_of_life_is_dropped(
    db: Database, owner: Connection
) -> None:
    times = Times(silent_s=0.5, ping_s=0.1, tick_s=0.02)
    async with edge_rig(db, owner, times=times) as rig:
        session = await rig.charge()
        dead = rig.central.socket(STATION)
        stop = asyncio.Event()
        pinging = asyncio.create_task(rig.central.parts.sockets.timer_loop().run(stop))
        assert rig.station.link is not None
        transport = rig.station.link._socket.transport
        transport.pause_reading()  # it hears nothing, and its network says nothing
        await until(lambda: dead.is_over)
        stop.set()
        await pinging
        transport.resume_reading()
        await rig.online()
        assert await rig.state(session) == "charging"
        await rig.ask_to_stop(session)
        await is_billed_right(rig)


async def test_edge_22_a_station_that_boots_and_goes_on_charges_one_session(
    db: Database, owner: Connection
) -> None:
    async with edge_rig(db, owner, resumes_after_power_cut=True) as rig:
        session = await rig.charge()
        rig.station.cut_power()
        await rig.advance(180)
        rig.station.restore_power()
        await rig.online()
        await rig.advance(10 * 60)
        assert await rig.state(session) == "charging"
        boot = {"chargePointVendor": "EvPower", "chargePointModel": "Simulator"}
        answers = [await rig.send("BootNotification", boot, f"b{n}") for n in range(2)]
        assert [answer["status"] for answer in answers] == ["Accepted", "Accepted"]
        await rig.advance(120)
        await rig.ask_to_stop(session)
        await is_billed_right(rig)


async def test_edge_22b_a_site_that_boots_at_once_is_answered_right(
    db: Database, owner: Connection
) -> None:
    """Each station boots once; no insert waits for another in a circle."""
    names = [f"SITE-{number:02}" for number in range(20)]
    async with running(db, owner) as central:
        for name in names:
            await central.add(name, no_auth=True)

        async def boot(name: str) -> list[Any]:
            async with central.open(f"/ocpp/{name}") as station:
                answers = [await station.boot(chargePointSerialNumber=name)]
                for connector in (0, 1, 2):
                    payload = {
                        "connectorId": connector, "errorCode": "NoError", "status": "Available",
                    }  # fmt: skip
                    answers.append(await station.call("StatusNotification", payload))
                return answers

        answers = await asyncio.gather(*map(boot, names))
        assert [answer[0]["status"] for answer in answers] == ["Accepted"] * len(names)
        assert [answer[1:] for answer in answers] == [[{}, {}, {}]] * len(names)
        frames = await central.frames()
    counts = Counter((direction, action) for direction, action, _ in frames)
    assert counts["in", "BootNotification"] == len(names)
    deadlocks = "select deadlocks from pg_stat_database where datname = current_database()"
    assert await owner.fetchval(deadlocks) == 0
    booted = "select count(*) from stations.stations where booted_at is not null"
    assert await owner.fetchval(booted) == len(names)
    statuses = "select count(*) from stations.connectors where reported_status = 'available'"
    assert await owner.fetchval(statuses) == await owner.fetchval(
        "select count(*) from stations.connectors"
    )


async def test_edge_23_values_of_a_queue_open_no_session_again(
    db: Database, owner: Connection
) -> None:
    async with edge_rig(db, owner, Faults(skip={"StopTransaction"})) as rig:
        session = await rig.charge()
        rig.station.unplug()
        await rig.advance(120)
        assert await rig.state(session) == "settled"
        bills = await rig.bills()
        boot = {"chargePointVendor": "EvPower", "chargePointModel": "Simulator"}
        await rig.send("BootNotification", boot)
        sample = {"measurand": ENERGY, "value": "900", "unit": "Wh"}
        entry = {"timestamp": rig.stamp(timedelta(minutes=4)), "sampledValue": [sample]}
        payload = {
            "connectorId": 1, "transactionId": rig.station.transactions[0].id,
            "meterValue": [entry],
        }  # fmt: skip
        assert await rig.send("MeterValues", payload) == {}
        await rig.settled()
        assert await rig.state(session) == "settled"
        assert await rig.bills() == bills
        assert (await rig.money())[1] == 0


async def test_edge_25_the_price_of_the_start_counts_and_is_rounded_once(
    db: Database, owner: Connection
) -> None:
    async with edge_rig(db, owner) as rig:
        await set_price(db, "13.333", rig.clock())
        session = await rig.charge()
        await set_price(db, "99", rig.clock())
        await rig.advance(120)
        await rig.ask_to_stop(session)
        wh = rig.delivered_wh
        [total] = await owner.fetch("select total_minor from charging.settlements")
        assert total["total_minor"] == (wh * 13_333 + 5_000) // 10_000

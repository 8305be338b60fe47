"""What goes wrong with clocks, ids and commands and costs money, each on a real socket.

The numbers are those of `tests/snapshots/test_edge_cases.py`, which says what each is.
"""

from typing import Any

import pytest

from evpower.foundation.db import Connection, Database
from evpower.simulator import Faults
from tests.ocpp.edge_rig import BALANCE, NEVER_S, REPLY_S, edge_rig, is_billed_right


@pytest.mark.parametrize(
    "faults",
    [
        pytest.param({"clock_skew_s": 6 * 3600}, id="edge-13-ahead"),
        pytest.param({"clock_skew_s": -6 * 3600}, id="edge-13-behind"),
        pytest.param({"clock_text": "1970-01-01T00:00:00Z"}, id="edge-13-1970"),
        pytest.param({"clock_without_zone": True}, id="edge-13-no-zone"),
    ],
)
async def test_edge_13_a_wrong_clock_bills_the_right_energy_in_our_time(
    db: Database, owner: Connection, faults: dict[str, Any]
) -> None:
    async with edge_rig(db, owner, Faults(**faults)) as rig:
        begun = rig.clock()
        session = await rig.charge()
        await rig.ask_to_stop(session)
        await is_billed_right(rig)
        row = await rig.session(session)
        assert begun <= row["started_at"] <= row["ended_at"] <= rig.clock()


async def test_edge_14_an_id_beyond_32_bits_is_answered_and_bound(
    db: Database, owner: Connection
) -> None:
    async with edge_rig(db, owner, Faults(transaction_id=2**63 - 1)) as rig:
        session = await rig.charge()
        ours = rig.station.transactions[0].id
        assert ours is not None
        assert 0 < ours < 2**31
        await rig.ask_to_stop(session)
        rig.station.unplug()
        await rig.settled()
        await is_billed_right(rig)


async def test_edge_15_connector_0_is_the_whole_station_and_charges_nothing(
    db: Database, owner: Connection
) -> None:
    async with edge_rig(db, owner) as rig:
        payload = {"connectorId": 0, "errorCode": "NoError", "status": "Unavailable"}
        await rig.send("StatusNotification", payload | {"timestamp": rig.stamp()})
        assert await rig.refusal() == "station_unavailable"
        await rig.send("StatusNotification", payload | {"status": "Available"})
        begin = {"connectorId": 0, "idTag": "04A1B2C3", "meterStart": 0, "timestamp": rig.stamp()}
        await rig.send("StartTransaction", begin)
        assert await rig.transactions() == [("unattributed", None)]
        await rig.charge(1)
        connector = await rig.value(
            "select payload ->> 'connector' from stations.commands where action = 'remote_start'"
        )
        assert connector == "1"


async def test_edge_16_a_start_that_never_comes_frees_the_money_once_and_may_come_late(
    db: Database, owner: Connection
) -> None:
    faults = Faults(without_effect={"RemoteStartTransaction"})
    async with edge_rig(db, owner, faults) as rig:
        rig.station.plug_in()
        session = await rig.request()
        await rig.settled()
        assert await rig.state(session) == "starting"
        assert (await rig.money())[1] > 0
        await rig.advance(200)
        assert await rig.state(session) == "expired"
        assert await rig.money() == (BALANCE, 0)
        tag = (await rig.session(session))["id_tag"]
        rig.station.control.start(rig.station.connectors[1], tag)
        await rig.advance(60)
        assert await rig.state(session) == "charging"
        holds = await owner.fetch("select attempt, state from wallet.holds order by attempt")
        assert [tuple(hold) for hold in holds] == [(1, "released"), (2, "open")]
        await rig.ask_to_stop(session)
        await is_billed_right(rig)


async def test_edge_17_a_start_that_is_not_answered_keeps_its_money_and_may_begin(
    db: Database, owner: Connection
) -> None:
    faults = Faults(ignore_commands={"RemoteStartTransaction"})
    async with edge_rig(db, owner, faults, command_reply_s=REPLY_S) as rig:
        rig.station.plug_in()
        session = await rig.request()
        await rig.settled()
        assert await rig.commands("remote_start") == ["timed_out"]
        assert await rig.state(session) == "requested"
        assert (await rig.money())[1] > 0
        tag = (await rig.session(session))["id_tag"]
        assert await rig.station.start_by_card(tag)
        await rig.advance(120)
        assert await rig.state(session) == "charging"
        await rig.ask_to_stop(session)
        await is_billed_right(rig)


async def test_edge_17_on_a_new_socket_it_is_sent_once_more(
    db: Database, owner: Connection
) -> None:
    faults = Faults(ignore_commands={"RemoteStartTransaction"})
    async with edge_rig(db, owner, faults, command_reply_s=REPLY_S) as rig:
        rig.station.plug_in()
        session = await rig.request()
        await rig.settled()
        faults.ignore_commands.clear()
        dispatcher: Any = rig.central.parts.dispatcher
        dispatcher._reply_s = NEVER_S
        rig.station.lose_network()
        rig.station.restore_network()
        await rig.online()
        assert await rig.commands("remote_start") == ["timed_out", "accepted"]
        await rig.advance(60)
        assert await rig.state(session) == "charging"
        assert len(rig.station.transactions) == 1


async def test_edge_18_a_stop_that_is_not_obeyed_is_sent_again(
    db: Database, owner: Connection
) -> None:
    faults = Faults(without_effect={"RemoteStopTransaction"})
    async with edge_rig(db, owner, faults) as rig:
        session = await rig.charge()
        await rig.ask_to_stop(session)
        assert await rig.commands("remote_stop") == ["accepted"]
        faults.without_effect.clear()
        await rig.advance(120)
        assert len(await rig.commands("remote_stop")) == 2
        await is_billed_right(rig)

"""Meter values of several stations in one transaction: none loses, spoils or delays another."""

import asyncio
import signal
import sys
from datetime import timedelta
from pathlib import Path

import asyncpg
import pytest

from evpower import wallet
from evpower.foundation.db import Connection, Database
from evpower.foundation.failpoints import Failpoint
from tests.charging.place import ChargingPlace, read
from tests.ocpp.sharing import Sharing
from tests.waiting import WAIT_LIMIT_S


@pytest.fixture
async def sharing(db: Database, owner: Connection) -> Sharing:
    place = ChargingPlace(db, owner)
    await place.build()
    return Sharing(place)


async def test_frames_that_come_together_share_a_transaction(sharing: Sharing) -> None:
    fleet = await sharing.fleet(6)
    sharing.place.later(1)
    frames = [sharing.frame(name, number, 700) for name, number in fleet.items()]
    outcomes = await sharing.take(*frames)
    assert await sharing.energies() == dict.fromkeys(fleet, 700)
    assert await sharing.transactions_used() == 1
    assert all(len(outcome.changes.sessions) == 1 for outcome in outcomes)
    assert await sharing.place.owner.fetchval("select count(*) from ocpp.frames") == 12
    assert await sharing.place.owner.fetchval("select count(*) from ocpp.answers") == 6


async def test_a_shared_frame_does_what_a_frame_alone_does(sharing: Sharing) -> None:
    """Two equal sessions, one taken alone, one shared: every column of both is equal."""
    place = sharing.place
    _, alone = await sharing.charging("ALONE")
    _, shared = await sharing.charging("SHARED")
    fleet = await sharing.fleet(2)
    for wh in (500, 1_400, 1_400, 1_390, 900, 950, 400_000, 2_300, None):
        place.later(1)
        facts = {"power_w": 50_000, "soc_percent": 40, "current_ma": 70_000}
        await sharing.node.take(sharing.frame("ALONE", alone, wh, **facts))
        others = [sharing.frame(name, number, wh) for name, number in fleet.items()]
        await sharing.take(*others, sharing.frame("SHARED", shared, wh, **facts))
        first, second = await place.progress(alone), await place.progress(shared)
        for row in (first, second):
            del row["transaction_id"], row["session_id"]
        assert first == second
    columns = "at, session_wh, power_w, energy_wh, outcome, is_parked, is_timed, soc_percent"
    rows = [
        await place.owner.fetch(
            f"select {columns} from charging.meter_values where transaction_id = $1"
            " order by received_at",
            number,
        )
        for number in (alone, shared)
    ]
    assert rows[0] == rows[1]


async def test_a_frame_that_stops_its_session_is_done_alone(sharing: Sharing) -> None:
    place = sharing.place
    fleet = await sharing.fleet(3)
    limited, transaction = await sharing.charging("LIMITED", energy_wh=900)
    place.later(1)
    frames = [sharing.frame(name, number, 950) for name, number in fleet.items()]
    outcomes = await sharing.take(*frames, sharing.frame("LIMITED", transaction, 950))
    assert await sharing.energies() == dict.fromkeys([*fleet, "LIMITED"], 950)
    assert await sharing.transactions_used() == 2
    assert outcomes[-1].changes.stations == {"LIMITED"}
    assert await place.value("state", limited) == "stopping"
    assert await place.commands() == ["remote_stop"]


async def test_holds_of_several_sessions_grow_each_in_its_own_transaction(
    sharing: Sharing,
) -> None:
    """Wallets are locked one a transaction: no two transactions can wait for each other."""
    fleet = await sharing.fleet(4)
    sharing.place.later(16)
    await sharing.take(*(sharing.frame(name, number, 15_000) for name, number in fleet.items()))
    held = await sharing.place.owner.fetch("select amount_minor from wallet.holds")
    assert [row["amount_minor"] for row in held] == [30_000] * 4
    assert (await wallet.verify(sharing.place.db)).count == 0


async def test_a_frame_that_fails_fails_alone(sharing: Sharing) -> None:
    fleet = await sharing.fleet(5)
    await sharing.place.owner.execute(
        "alter table charging.meter_values add constraint bad check"
        f" (transaction_id <> {fleet['A2']}) not valid"
    )
    sharing.place.later(1)
    outcomes = await asyncio.gather(
        *(sharing.node.take(sharing.frame(*pair, 700)) for pair in fleet.items()),
        return_exceptions=True,
    )
    failed = [isinstance(outcome, asyncpg.CheckViolationError) for outcome in outcomes]
    assert failed == [False, False, True, False, False]
    assert await sharing.energies() == {**dict.fromkeys(fleet, 700), "A2": 0}
    # Nothing of it is left, so that its repeat counts.
    await sharing.place.owner.execute("alter table charging.meter_values drop constraint bad")
    assert not (await sharing.take(sharing.frame("A2", fleet["A2"], 700)))[0].is_repeated
    assert (await sharing.energies())["A2"] == 700


async def test_a_busy_station_delays_no_other(sharing: Sharing) -> None:
    fleet = await sharing.fleet(4)
    sharing.place.later(1)
    async with sharing.place.db.transaction() as connection:
        await connection.execute("select from stations.stations where id = 'A1' for update")
        taking = {
            name: asyncio.create_task(sharing.node.take(sharing.frame(name, number, 700)))
            for name, number in fleet.items()
        }
        await asyncio.wait_for(
            asyncio.gather(*(task for name, task in taking.items() if name != "A1")), WAIT_LIMIT_S
        )
        assert not taking["A1"].done()
    await taking["A1"]
    assert await sharing.energies() == dict.fromkeys(fleet, 700)


async def test_two_sockets_of_one_station_count_a_frame_once(sharing: Sharing) -> None:
    fleet = await sharing.fleet(3)
    sharing.place.later(1)
    frames = [sharing.frame(name, number, 700) for name, number in fleet.items()]
    repeat = sharing.frame("A1", fleet["A1"], 700)
    outcomes = await sharing.take(*frames, repeat)
    assert [outcome.is_repeated for outcome in outcomes] == [False, False, False, True]
    assert await sharing.place.owner.fetchval("select count(*) from charging.meter_values") == 3


async def test_a_repeat_in_a_shared_transaction_changes_nothing(sharing: Sharing) -> None:
    fleet = await sharing.fleet(3)
    for minutes, wh in ((1, 700), (1, 1_400)):
        sharing.place.later(minutes)
        first = sharing.frame("A0", fleet["A0"], wh)
        others = [sharing.frame(name, number, wh) for name, number in fleet.items() if name != "A0"]
        await sharing.take(first, *others)
    sharing.place.later(1)
    others = [sharing.frame(name, fleet[name], 2_100) for name in ("A1", "A2")]
    outcomes = await sharing.take(*others, first)
    assert [outcome.is_repeated for outcome in outcomes] == [False, False, True]
    assert not outcomes[-1].changes.sessions
    assert await sharing.energies() == {"A0": 1_400, "A1": 2_100, "A2": 2_100}


async def test_two_nodes_add_to_one_progress(sharing: Sharing) -> None:
    """What a node remembers is used only as long as no other has written."""
    fleet = await sharing.fleet(3)
    nodes = [sharing.node, sharing.another_node()]
    for minute in range(1, 7):
        sharing.place.later(1)
        node = nodes[minute % 4 // 2]
        frames = [sharing.frame(name, number, 700 * minute) for name, number in fleet.items()]
        await asyncio.gather(*(node.take(frame) for frame in frames))
        assert await sharing.energies() == dict.fromkeys(fleet, 700 * minute)
        costs = await sharing.place.owner.fetch("select cost_minor from charging.progress")
        assert {row["cost_minor"] for row in costs} == {840 * minute}


async def test_a_limit_that_changed_meanwhile_counts_at_once(sharing: Sharing) -> None:
    """Money that came in, a stop that was asked for: what is remembered hides neither."""
    place = sharing.place
    fleet = await sharing.fleet(2)
    session, transaction = await sharing.charging("ASKED")
    poor, empty = await sharing.charging("POOR", som=20)
    for minute in range(1, 3):
        place.later(1)
        frames = [sharing.frame(name, number, 100 * minute) for name, number in fleet.items()]
        others = [sharing.frame("ASKED", transaction, 100 * minute)]
        await sharing.take(*frames, *others, sharing.frame("POOR", empty, 100 * minute))
    await place.ask_to_stop(session)
    client = await place.value("client_id", poor)
    payment = await place.money.payment(client, 100_000)
    await place.owner.execute("select wallet.credit($1)", payment)
    place.later(2)
    frames = [sharing.frame(name, number, 1_500) for name, number in fleet.items()]
    await sharing.take(
        *frames, sharing.frame("ASKED", transaction, 1_500), sharing.frame("POOR", empty, 1_500)
    )
    # The watch looks at the stop at once, because energy flows; the hold grew instead of a stop.
    assert await place.commands() == ["remote_stop"]
    assert (await place.progress(transaction))["step_due_at"] <= place.now
    assert await place.value("state", poor) == "charging"
    assert await place.held(client) > 20


async def test_a_hold_that_grew_with_the_balance_counts_at_once(sharing: Sharing) -> None:
    """As much came in as was put on hold, so what the wallet has left is as before."""
    place = sharing.place
    fleet = await sharing.fleet(2)
    sessions = [await sharing.charging("ALONE"), await sharing.charging("SHARED")]
    (_, alone), (_, shared) = sessions
    for wh in (1_000, 2_000):
        place.later(1)
        await sharing.node.take(sharing.frame("ALONE", alone, wh))
        others = [sharing.frame(name, number, wh) for name, number in fleet.items()]
        await sharing.take(*others, sharing.frame("SHARED", shared, wh))
        for session, _ in sessions if wh == 1_000 else ():
            payment = await place.money.payment(await place.value("client_id", session), 10_000)
            await place.owner.execute("select wallet.credit($1)", payment)
            async with place.db.transaction() as connection:
                await wallet.extend_hold(connection, session, 30_000, partly=True)
    due_at = [(await place.progress(number))["stop_due_at"] for number in (alone, shared)]
    # 276 som of the 300 are left: 23 kWh at 60 kW.
    assert due_at == [place.now + timedelta(minutes=23)] * 2


async def test_a_station_that_is_back_is_seen_beside_others(sharing: Sharing) -> None:
    """That it was away stands in the session alone."""
    place = sharing.place
    limit = {"energy_wh": 60_000}  # an hour away
    fleet = {name: (await sharing.charging(name, **limit))[1] for name in ("A0", "A1", "A2")}
    lost = "select count(*) from charging.sessions where station_lost_notified_at is not null"
    for minutes, wh in ((1, 100), (31, 200)):
        place.later(minutes)
        if minutes > 1:
            assert await place.watch() == ["lost"] * 3
            assert await place.owner.fetchval(lost) == 3
        await sharing.take(*(sharing.frame(name, number, wh) for name, number in fleet.items()))
    assert await place.owner.fetchval(lost) == 0


async def test_an_id_of_two_transactions_means_the_one_on_the_connector(sharing: Sharing) -> None:
    """Alfen's: both connectors under one id."""
    place = sharing.place
    fleet = await sharing.fleet(2)
    _, first = await sharing.charging("BOTH")
    _, second = await sharing.charge(await place.driver(), "BOTH", connector=2)
    for number in (first, second):
        await place.owner.execute(
            "insert into charging.transaction_aliases values ('BOTH', '777000', $1, $2, $2)",
            number,
            place.now,
        )
    for connector, wh in ((1, 300), (2, 500)):
        place.later(1)
        frames = [sharing.frame(name, number, wh) for name, number in fleet.items()]
        both = sharing.frame("BOTH", 777_000, wh, connector=connector)
        await sharing.take(*frames, both)
    assert (await place.progress(first))["energy_wh"] == 300
    assert (await place.progress(second))["energy_wh"] == 500


async def test_values_of_no_transaction_and_of_one_that_ended_are_stored(
    sharing: Sharing,
) -> None:
    fleet = await sharing.fleet(3)
    await sharing.place.build("IDLE", tariff=None)
    sharing.place.later(1)
    event = sharing.frame("A2", fleet["A2"], 300)
    await sharing.take(event)
    await sharing.place.owner.execute(
        "update charging.progress set close_due_at = $2, close_reason = 'no_frames'"
        " where transaction_id = $1",
        fleet["A2"],
        sharing.place.now,
    )
    await sharing.place.watch()
    sharing.place.later(1)
    frames = [sharing.frame(name, fleet[name], 700) for name in ("A0", "A1")]
    late = sharing.frame("A2", fleet["A2"], 301)
    await sharing.take(*frames, sharing.frame("IDLE", None, 5), late)
    stored = await sharing.place.owner.fetchval("select count(*) from charging.meter_values")
    assert stored == 5


async def test_a_frame_alone_waits_for_nothing(sharing: Sharing) -> None:
    """One station's frames, one after the other, each in a transaction of its own."""
    fleet = await sharing.fleet(1)
    for minute in range(1, 4):
        sharing.place.later(1)
        await sharing.take(sharing.frame("A0", fleet["A0"], 700 * minute))
    assert await sharing.transactions_used() == 3
    assert await sharing.energies() == {"A0": 2_100}


async def test_a_signed_value_beside_others_is_stored(sharing: Sharing) -> None:
    fleet = await sharing.fleet(3)
    sharing.place.later(1)
    frames = [sharing.frame(name, number, 700) for name, number in fleet.items()]
    frames[1] = sharing.frame_of("A1", fleet["A1"], (read(700, sharing.place.now),))
    object.__setattr__(frames[1], "event", frames[1].event.replace(signed=("OCMF|{}",)))
    await sharing.take(*frames)
    signed = await sharing.place.owner.fetchval("select value from charging.signed_values")
    assert signed == "OCMF|{}"
    assert await sharing.energies() == dict.fromkeys(fleet, 700)


async def test_a_station_with_a_wrong_clock_teaches_it_beside_others(sharing: Sharing) -> None:
    fleet = await sharing.fleet(2)
    for minute in range(1, 4):
        sharing.place.later(1)
        wrong = read(700 * minute, sharing.place.now - timedelta(hours=3))
        frames = [
            sharing.frame("A0", fleet["A0"], 700 * minute),
            sharing.frame_of("A1", fleet["A1"], (wrong,)),
        ]
        await sharing.take(*frames)
    skew_s = await sharing.place.owner.fetchval("select skew_s from charging.clocks")
    assert skew_s == 3 * 3_600
    assert await sharing.energies() == dict.fromkeys(fleet, 2_100)


async def test_a_wrong_clock_that_is_known_shares_as_a_right_one(sharing: Sharing) -> None:
    """From then on there is nothing to learn, unless it is set or drifts."""
    off = timedelta(hours=-3)
    fleet = await sharing.fleet(3)

    async def minute(wh: int) -> int:
        """How many database transactions wrote the values of a further minute."""
        sharing.place.later(1)
        readings = read(wh, sharing.place.now + off)
        frames = [sharing.frame_of(name, number, (readings,)) for name, number in fleet.items()]
        await sharing.take(*frames)
        return await sharing.place.owner.fetchval(
            "select count(distinct xmin::text) from charging.meter_values where received_at = $1",
            sharing.place.now,
        )

    assert [await minute(wh) for wh in (700, 1_400, 2_100, 2_800)] == [3, 3, 1, 1]
    off += timedelta(seconds=30)
    assert [await minute(wh) for wh in (3_500, 4_200, 4_900)] == [3, 3, 1]
    skews = await sharing.place.owner.fetch("select skew_s from charging.clocks")
    assert [row["skew_s"] for row in skews] == [3 * 3_600 - 30] * 3
    assert await sharing.energies() == dict.fromkeys(fleet, 4_900)


async def _killed(
    sharing: Sharing, dsn: str, folder: Path, failpoint: Failpoint, fleet: dict[str, int]
) -> None:
    """Take a frame of each station at once in a process that dies at the failpoint."""
    words = [f"{name}={number}" for name, number in fleet.items()]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.ocpp.crashing_frames", str(folder), failpoint.value, dsn,
        sharing.place.now.isoformat(), "700", *words,
    )  # fmt: skip
    assert await asyncio.wait_for(process.wait(), WAIT_LIMIT_S) == -signal.SIGKILL


@pytest.mark.parametrize(
    ("failpoint", "wh"), [(Failpoint.PROGRESS_UNCOMMITTED, 0), (Failpoint.CHANGES_COMMITTED, 700)]
)
async def test_a_crash_of_a_shared_transaction_is_repeated_once(
    sharing: Sharing, dsn: str, tmp_path: Path, failpoint: Failpoint, wh: int
) -> None:
    """Before its commit nothing of any frame is left, after it all of each; repeats add nothing."""
    fleet = await sharing.fleet(4)
    sharing.place.later(1)
    await _killed(sharing, dsn, tmp_path, failpoint, fleet)
    assert await sharing.energies() == dict.fromkeys(fleet, wh)
    answers = await sharing.place.owner.fetchval("select count(*) from ocpp.answers")
    assert answers == (4 if wh else 0)
    for is_second in (False, True):
        frames = [sharing.frame(name, number, 700) for name, number in fleet.items()]
        outcomes = await sharing.take(*frames)
        assert {outcome.is_repeated for outcome in outcomes} == {is_second or bool(wh)}
    assert await sharing.energies() == dict.fromkeys(fleet, 700)
    assert await sharing.transactions_used() == 1
    assert (await wallet.verify(sharing.place.db)).count == 0

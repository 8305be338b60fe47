"""A limit's stop that is drafted before its moment: written whole, or not at all."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from evpower import stations
from evpower.charging import watch
from evpower.charging.due import find_due
from evpower.charging.limit_stop import (
    OutdatedDraft,
    StopDraft,
    draft_stop,
    rehearse,
    write_draft,
)
from evpower.charging.store_ends import Due
from evpower.charging.watch import Watch, watch_loop
from evpower.foundation.bus import LocalBus
from evpower.foundation.clock import utc_now
from evpower.foundation.db import Connection, Database
from evpower.foundation.loops import Round
from tests.charging.money import top_up
from tests.charging.place import ChargingPlace
from tests.conftest import patient_database
from tests.waiting import until

ENERGY_WH = 10_000
# What differs from one session to the next.
OTHER = {
    "id", "session_id", "transaction_id", "command_id", "client_id", "id_tag", "start_command_id",
    "payload", "register", "tally",
}  # fmt: skip


async def charges(place: ChargingPlace, **limits: int) -> tuple[UUID, int]:
    """Let a session charge at 60 kW until shortly before its limit."""
    session, transaction = await place.charging(await place.driver(), **limits)
    await place.answer()
    for minutes, wh in ((4, 4_000), (1, 5_000)):
        place.later(minutes)
        await place.values(transaction, wh, power_w=60_000)
    return session, transaction


async def at_its_limit(place: ChargingPlace, **limits: int) -> tuple[UUID, int, Due]:
    """Let its predicted moment come; returns session, transaction and what is due."""
    session, transaction = await charges(place, **limits or {"energy_wh": ENERGY_WH})
    place.now = (await place.progress(transaction))["stop_due_at"]
    await place.frame()
    async with place.db.connection() as connection:
        [due] = await find_due(connection, place.now, place.rules)
    assert due.kind == "stop"
    return session, transaction, due


async def drafted(place: ChargingPlace, due: Due) -> StopDraft | None:
    async with place.db.connection() as connection:
        return await draft_stop(connection, due, place.rules)


async def written(place: ChargingPlace, draft: StopDraft) -> None:
    async with place.db.transaction() as connection:
        await write_draft(connection, draft, now=place.now, rules=place.rules)


async def rows(owner: Connection, session: UUID, transaction: int) -> list[dict[str, Any]]:
    """Return all that a stop writes, as it would be of any session at any time."""
    stored = [
        await owner.fetchrow("select * from charging.sessions where id = $1", session),
        await owner.fetchrow(
            "select * from charging.progress where transaction_id = $1", transaction
        ),
        *await owner.fetch(
            "select * from charging.stop_steps where transaction_id = $1", transaction
        ),
        await owner.fetchrow(
            "select c.*, (c.payload ->> 'transaction_id')::int = $1 as is_its"
            "  from stations.commands c join charging.stop_steps x on x.command_id = c.id"
            " where x.transaction_id = $1",
            transaction,
        ),
    ]
    return [
        {
            name: value
            for name, value in dict(row).items()
            if name not in OTHER and not name.endswith("_at")
        }
        for row in stored
        if row is not None
    ]


async def test_a_draft_writes_what_the_watch_would(place: ChargingPlace) -> None:
    session, transaction, due = await at_its_limit(place)
    await place.watch()
    stopped = await rows(place.owner, session, transaction)
    await place.answer()
    await place.stop(transaction, ENERGY_WH)
    session, transaction, due = await at_its_limit(place)
    draft = await drafted(place, due)
    assert draft is not None
    await written(place, draft)
    assert await rows(place.owner, session, transaction) == stopped
    assert await place.value("stop_requested_at", session) == place.now
    progress = await place.progress(transaction)
    assert progress["step_due_at"] == place.now + timedelta(seconds=30)
    assert await place.answer() == ["remote_stop"]
    assert await place.watch() == []


async def test_at_the_moment_two_statements_are_left(place: ChargingPlace) -> None:
    _, _, due = await at_its_limit(place)
    draft = await drafted(place, due)
    assert draft is not None
    sent: list[str] = []
    async with place.db.transaction() as connection:
        with connection.query_logger(lambda query: sent.append(query.query)):
            await write_draft(connection, draft, now=place.now, rules=place.rules)
    assert len(sent) == 2, sent


async def grow(place: ChargingPlace, transaction: int, _: UUID) -> None:
    await place.values(transaction, 5_100, power_w=60_000)


async def ask_to_stop(place: ChargingPlace, _: int, session: UUID) -> None:
    await place.ask_to_stop(session)


async def be_called_otherwise(place: ChargingPlace, transaction: int, _: UUID) -> None:
    await place.owner.execute(
        "insert into charging.transaction_aliases"
        " (station_id, alias, transaction_id, first_seen_at, last_seen_at)"
        " values ('S1', '77', $1, now(), now())",
        transaction,
    )


async def fall_silent(place: ChargingPlace, _: int, __: UUID) -> None:
    await place.owner.execute(
        "update stations.sockets set last_frame_at = $1", place.now - timedelta(seconds=90)
    )


async def end(place: ChargingPlace, transaction: int, _: UUID) -> None:
    await place.stop(transaction, 5_500)


async def retire(place: ChargingPlace, _: int, __: UUID) -> None:
    await place.owner.execute(
        "update stations.connections set closed_at = opened_at, close_reason = 'operator'"
    )
    await place.owner.execute("update stations.stations set retired_at = now()")


@pytest.mark.parametrize(
    "change", [grow, ask_to_stop, be_called_otherwise, fall_silent, end, retire]
)
async def test_a_draft_of_what_has_changed_writes_nothing(
    place: ChargingPlace, change: Callable[[ChargingPlace, int, UUID], Awaitable[None]]
) -> None:
    session, transaction, due = await at_its_limit(place)
    draft = await drafted(place, due)
    assert draft is not None
    await change(place, transaction, session)
    before = await place.session(session), await place.steps(transaction), await place.commands()
    with pytest.raises(OutdatedDraft):
        await written(place, draft)
    assert before == (
        await place.session(session), await place.steps(transaction), await place.commands(),
    )  # fmt: skip


@pytest.mark.parametrize("table", ["transactions", "progress", "sessions"])
async def test_a_draft_is_outdated_by_any_one_row_that_was_written_since(
    place: ChargingPlace, table: str
) -> None:
    """Whatever was written there, also what a stop is not computed from by now."""
    session, transaction, due = await at_its_limit(place)
    draft = await drafted(place, due)
    assert draft is not None
    column = "session_id" if table != "sessions" else "client_id"
    await place.owner.execute(f"update charging.{table} set {column} = {column}")
    with pytest.raises(OutdatedDraft):
        await written(place, draft)
    assert await place.value("state", session) == "charging"
    assert await place.steps(transaction) == []


async def called(place: ChargingPlace, transaction: int, alias: str, minutes: float) -> None:
    await place.owner.execute(
        "insert into charging.transaction_aliases values ('S1', $1, $2, $3, $3)",
        alias,
        transaction,
        place.now + timedelta(minutes=minutes),
    )


async def test_a_draft_is_outdated_where_the_station_uses_another_of_its_ids_again(
    place: ChargingPlace,
) -> None:
    """The one seen last is the one that the stop is sent by."""
    session, transaction, due = await at_its_limit(place)
    await called(place, transaction, "77", -2)
    await called(place, transaction, "88", -1)
    draft = await drafted(place, due)
    assert draft is not None
    assert draft.versions.aliases == ("88", "77")
    await place.owner.execute(
        "update charging.transaction_aliases set last_seen_at = $1 where alias = '77'", place.now
    )
    with pytest.raises(OutdatedDraft):
        await written(place, draft)
    assert await place.value("state", session) == "charging"


async def test_a_draft_is_outdated_where_another_charge_has_its_id_too(
    place: ChargingPlace,
) -> None:
    """A stop by it could end the other one."""
    session, transaction, due = await at_its_limit(place)
    await called(place, transaction, "77", -1)
    draft = await drafted(place, due)
    assert draft is not None
    assert draft.versions.aliases == ("77",)
    other = await place.start(await place.driver(), 2)
    await called(place, await place.begin(other, connector=2), "77", 0)
    with pytest.raises(OutdatedDraft):
        await written(place, draft)
    assert await place.value("state", session) == "charging"


async def test_a_draft_waits_for_what_a_frame_writes_and_is_outdated(place: ChargingPlace) -> None:
    """The frame has the station's lock; what is read before it is released is old."""
    session, _, due = await at_its_limit(place)
    draft = await drafted(place, due)
    assert draft is not None
    async with place.db.transaction() as frame:
        await stations.lock_station(frame, "S1")
        writing = asyncio.create_task(written(place, draft))

        async def waits() -> bool:
            return writing.done() or await place.money.is_lock_awaited()

        await until(waits)
        assert not writing.done(), "it waited for no frame"
        await frame.execute("update charging.progress set energy_wh = energy_wh + 1")
    with pytest.raises(OutdatedDraft):
        await writing
    assert await place.value("state", session) == "charging"


async def test_money_that_comes_before_the_moment_outdates_a_draft(place: ChargingPlace) -> None:
    client = await place.driver(som=60)
    session, transaction = await place.charging(client)
    for wh in (1_000, 2_000):
        place.later(1)
        await place.values(transaction, wh, power_w=60_000)
    place.now = (await place.progress(transaction))["stop_due_at"]
    await place.frame()
    async with place.db.connection() as connection:
        [due] = await find_due(connection, place.now, place.rules)
    draft = await drafted(place, due)
    assert draft is not None
    assert draft.reason == "balance_limit"
    await top_up(place.owner, client, 10_000)
    with pytest.raises(OutdatedDraft):
        await written(place, draft)
    assert await drafted(place, due) is None
    assert await place.watch() == ["stop"]
    assert await place.value("state", session) == "charging"


@pytest.mark.parametrize(
    "change",
    [
        "update charging.sessions set station_lost_notified_at = created_at",
        """
        update charging.progress
           set close_due_at = stop_due_at + interval '1 minute', close_reason = 'became_available'
        """,
    ],
    ids=["lost", "close"],
)
async def test_where_more_is_to_be_done_there_is_no_draft(
    place: ChargingPlace, change: str
) -> None:
    session, _, due = await at_its_limit(place)
    await place.owner.execute(change)
    assert await drafted(place, due) is None
    assert await place.watch() == ["stop"]
    assert await place.value("stop_reason", session) == "energy_limit"
    assert await place.value("station_lost_notified_at", session) is None


async def test_a_moment_that_came_too_early_is_no_draft(place: ChargingPlace) -> None:
    session, transaction = await charges(place, energy_wh=ENERGY_WH)
    due_at = (await place.progress(transaction))["stop_due_at"]
    early = due_at - timedelta(minutes=1)
    await place.owner.execute("update charging.progress set stop_due_at = $1", early)
    place.now = early
    await place.frame()
    async with place.db.connection() as connection:
        [due] = await find_due(connection, place.now, place.rules)
    assert await drafted(place, due) is None
    assert await place.watch() == ["stop"]
    assert await place.value("state", session) == "charging"
    assert (await place.progress(transaction))["stop_due_at"] == due_at


async def test_a_station_that_is_away_is_sent_no_draft(place: ChargingPlace) -> None:
    session, transaction, _ = await at_its_limit(place)
    place.later(2)
    await Watch(place.db, LocalBus(), lambda: place.now, place.rules).run_once(Round())
    assert await place.value("state", session) == "charging"
    assert await place.commands() == []
    due_at = (await place.progress(transaction))["stop_due_at"]
    assert due_at == place.now + timedelta(minutes=2)


@pytest.mark.parametrize("part", ["draft_stop", "rehearse", "write_draft"])
async def test_a_draft_that_fails_leaves_the_stop_to_the_watch(
    place: ChargingPlace, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    async def fail(connection: Connection, *_: object, **__: object) -> None:
        await connection.execute("select 1 / 0")

    monkeypatch.setattr(watch, part, fail)
    session, transaction, due = await at_its_limit(place)
    place.now -= timedelta(milliseconds=20)
    current = Round()
    await Watch(place.db, LocalBus(), lambda: place.now, place.rules).run_once(current)
    assert await place.value("stop_requested_at", session) == due.at
    assert await place.steps(transaction) == [("remote_stop", None)]
    assert current.error == ""


class TestRehearsal:
    """A draft is written and taken back once on each connection, so that it has its plans."""

    async def test_it_writes_nothing_and_checks_all_that_the_commit_would(
        self, place: ChargingPlace
    ) -> None:
        session, transaction, due = await at_its_limit(place)
        draft = await drafted(place, due)
        assert draft is not None
        before = await rows(place.owner, session, transaction)
        sent: list[str] = []
        async with place.db.connection() as connection:
            with connection.query_logger(lambda query: sent.append(query.query)):
                await rehearse(connection, draft, now=due.at, rules=place.rules)
            assert not connection.is_in_transaction()
        assert "set constraints all immediate" in sent
        assert await rows(place.owner, session, transaction) == before
        assert (await place.steps(transaction), await place.commands()) == ([], [])
        await written(place, draft)
        assert await place.value("state", session) == "stopping"

    async def test_it_is_once_on_each_connection_and_before_the_moment(
        self, place: ChargingPlace, dsn: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        rehearsed: list[datetime] = []

        async def count(*draft: Any, now: datetime, **how: Any) -> None:
            rehearsed.append(now)
            await rehearse(*draft, now=now, **how)

        monkeypatch.setattr(watch, "rehearse", count)
        db = patient_database(dsn, size=1)
        await db.start()
        watched = Watch(db, LocalBus(), lambda: place.now, place.rules)
        late = Watch(db, LocalBus(), lambda: place.now, place.rules)
        first_at: datetime | None = None
        for watching, ahead_ms in ((watched, 20), (watched, 20), (late, 0)):
            session, transaction, due = await at_its_limit(place)
            first_at = first_at or due.at
            place.now -= timedelta(milliseconds=ahead_ms)
            await watching.run_once(Round())
            assert await place.value("stop_requested_at", session) == due.at
            assert await place.steps(transaction) == [("remote_stop", None)]
            assert rehearsed == [first_at]
            place.now = due.at
            await place.answer()
            await place.stop(transaction, ENERGY_WH)
        await db.close()

    async def test_an_outdated_draft_is_no_failure_and_few_connections_are_remembered(
        self, place: ChargingPlace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        rehearsed: list[int] = []

        async def outdated(connection: Any, *_: object, **__: object) -> None:
            rehearsed.append(connection.get_server_pid())
            raise OutdatedDraft

        monkeypatch.setattr(watch, "rehearse", outdated)
        monkeypatch.setattr(watch, "_MOST_REHEARSED", 2)
        watched: Any = Watch(place.db, LocalBus(), lambda: place.now, place.rules)
        due = Due(1, "S1", "stop", place.now)
        for pid in (1, 2, 1, 2, 3, 1, 3):
            connection = SimpleNamespace(get_server_pid=lambda pid=pid: pid)
            await watched._rehearse(connection, None, due)
        assert rehearsed == [1, 2, 3, 1]


async def _due_in(place: ChargingPlace, transaction: int, ms: int) -> None:
    """Let its limit be reached so soon, by the real clock."""
    await place.owner.execute(
        "update charging.progress set stop_due_at = now() + $2, last_value_at = now() + $2"
        " - interval '300 s', flowed_at = now() where transaction_id = $1",
        transaction,
        timedelta(milliseconds=ms),
    )
    await place.owner.execute(
        "update stations.sockets set last_frame_at = now() + interval '1 hour'"
    )


async def test_a_stop_is_rehearsed_and_sent_once(place: ChargingPlace) -> None:
    session, transaction = await charges(place, energy_wh=ENERGY_WH)
    await _due_in(place, transaction, 400)
    await _until_stopped(place.db, place, session)
    assert await place.steps(transaction) == [("remote_stop", None)]
    assert await place.commands() == ["remote_stop"]
    progress = await place.progress(transaction)
    asked_at = await place.value("stop_requested_at", session)
    assert asked_at >= progress["stop_due_at"]


async def test_a_look_that_takes_long_holds_no_stop_up(
    place: ChargingPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, transaction = await charges(place, energy_wh=ENERGY_WH)
    await _due_in(place, transaction, 1_200)
    looks, held = 0, asyncio.Event()
    look = watch.find_due

    async def find_late(*arguments: Any, **options: Any) -> list[Due]:
        nonlocal looks
        looks += "ahead" in options
        if looks > 1 and "ahead" in options:
            await held.wait()
        return await look(*arguments, **options)

    monkeypatch.setattr(watch, "find_due", find_late)
    await _until_stopped(place.db, place, session, held)
    assert looks > 1


async def _until_stopped(
    db: Database, place: ChargingPlace, session: UUID, held: asyncio.Event | None = None
) -> None:
    stop = asyncio.Event()
    loop = watch_loop(db, LocalBus(), utc_now, place.rules)
    task = asyncio.create_task(loop.run(stop))

    async def is_stopping() -> bool:
        return await place.value("state", session) == "stopping"

    try:
        await until(is_stopping)
    finally:
        stop.set()
        if held is not None:
            held.set()
        await task

"""The watch's rounds: when it looks, waits and tries again, whatever is due."""

import asyncio
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest

from evpower.charging import watch
from evpower.charging.events import Changes
from evpower.charging.rules import DEFAULT_RULES
from evpower.charging.store_ends import Due, DueKind
from evpower.charging.watch import Watch
from evpower.foundation.bus import LocalBus
from evpower.foundation.db import Database
from evpower.foundation.errors import Unavailable
from evpower.foundation.loops import Pause, Record, Round
from tests.charging.place import NOON
from tests.waiting import WAIT_LIMIT_S

FEW = 30  # readings of the clock, where a watch that does not wait makes hundreds


@dataclass
class Script:
    """What a watch finds and does, by the minutes of a clock that stands still by itself."""

    db: Database
    now: datetime = NOON
    readings: int = 0
    looks: int = 0
    due: list[Due] = field(default_factory=list)
    done: list[tuple[int, float]] = field(default_factory=list)  # with the seconds since NOON
    errors: dict[int, Exception] = field(default_factory=dict)  # by transaction
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    def clock(self) -> datetime:
        self.readings += 1
        return self.now

    def later(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def add(self, number: int, seconds: float = 0, kind: DueKind = "close") -> None:
        self.due.append(Due(number, "S1", kind, NOON + timedelta(seconds=seconds)))

    async def find(self, _: object, now: datetime, *__: object, **options: Any) -> list[Due]:
        self.looks += 1
        await self.look()
        listed = [due for due in self.due if due.at <= now + options["ahead"]]
        return listed[: options.get("limit", watch.BATCH)]

    async def look(self) -> None: ...

    async def act(self, _: object, due: Due, **__: Any) -> Changes:
        self.done.append((due.id, (self.now - NOON).total_seconds()))
        await self.work(due)
        if (error := self.errors.get(due.id)) is not None:
            raise error
        self.due = [other for other in self.due if other.key != due.key]
        return Changes()

    async def work(self, _: Due, /) -> None: ...

    def watch(self) -> Watch:
        return Watch(self.db, LocalBus(), self.clock, DEFAULT_RULES)


@pytest.fixture
def script(db: Database, monkeypatch: pytest.MonkeyPatch) -> Script:
    script = Script(db)
    monkeypatch.setattr(watch, "find_due", script.find)
    monkeypatch.setattr(watch, "watch_transaction", script.act)
    return script


async def long_work(*__: object) -> None:
    """Let everything else of the process have many turns."""
    for _ in range(500):
        await asyncio.sleep(0)


async def test_it_waits_while_it_looks(script: Script) -> None:
    script.look = long_work
    watched = script.watch()
    await watched.run_once(Round())
    script.later(5)
    await watched.run_once(Round())
    assert script.looks == 2
    assert script.readings < FEW


async def test_it_waits_for_what_is_under_way_before_it_looks_for_more(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "BATCH", 2)
    for number in range(3):
        script.add(number)

    async def take_long(_: Due) -> None:
        script.later(2)
        await long_work()

    script.work = take_long
    await script.watch().run_once(Round())
    assert [number for number, _ in script.done] == [0, 1, 2]
    assert script.readings < FEW


async def test_it_waits_for_what_is_under_way_at_a_stop(script: Script) -> None:
    script.add(1)
    script.add(2, seconds=1)

    async def stop_meanwhile(_: Due) -> None:
        script.stop.set()
        script.later(2)
        await long_work()

    script.work = stop_meanwhile
    await script.watch().run_once(Round(script.stop))
    assert script.done == [(1, 0)]
    assert script.readings < FEW


async def test_it_waits_for_what_is_under_way_after_a_look_that_failed(script: Script) -> None:
    script.add(1)
    script.add(2)
    script.add(3, seconds=1.4)
    looked = asyncio.Event()

    async def fail_later() -> None:
        if script.looks > 1:
            looked.set()
            raise LookupError

    async def take_long(due: Due) -> None:
        if due.id == 1:
            await looked.wait()
        script.later(1.2)
        if due.id == 1:
            await long_work()

    script.look, script.work = fail_later, take_long
    with pytest.raises(LookupError):
        await script.watch().run_once(Round())
    assert [number for number, _ in script.done] == [1, 2]
    assert script.readings < FEW


async def test_looks_that_take_longer_than_their_period_are_progress(script: Script) -> None:
    record = Record("watch", 1, lambda: 0.0, script.clock)
    record.begin()

    async def take_long() -> None:
        script.later(2)
        if script.looks == 2:
            assert record.finished_at == script.now - timedelta(seconds=2)
            script.stop.set()

    script.look = take_long
    script.add(1, seconds=3)
    await script.watch().run_once(Round(script.stop, record))
    assert script.looks == 2


async def test_a_clock_that_is_set_back_holds_no_stop_up(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    script.add(1, seconds=0.01, kind="stop")

    async def set_back(*_: object) -> None:
        script.later(-600)

    monkeypatch.setattr(watch, "draft_stop", set_back)
    asked_at: list[datetime] = []

    async def act(_: object, due: Due, *, now: datetime, **__: object) -> Changes:
        script.due.remove(due)
        asked_at.append(now)
        return Changes()

    monkeypatch.setattr(watch, "watch_transaction", act)
    async with asyncio.timeout(WAIT_LIMIT_S):
        await script.watch().run_once(Round())
    assert asked_at == [NOON + timedelta(seconds=0.01)]


async def test_one_that_fails_holds_no_other_up(script: Script) -> None:
    script.add(1)
    script.add(2, seconds=0.5)
    script.errors[1] = AssertionError()

    async def until_the_next(_: Due) -> None:
        script.later(0.5)

    script.work = until_the_next
    current = Round()
    await script.watch().run_once(current)
    assert script.done == [(1, 0), (2, 0.5)]
    assert current.error == "AssertionError"


async def test_one_that_fails_is_tried_again_after_a_back_off_of_its_own(script: Script) -> None:
    script.add(1)
    script.errors[1] = AssertionError()
    watched = script.watch()
    for _ in range(100):
        await watched.run_once(Round())
        script.later(1)
    assert script.done == [(1, at) for at in (0, 1, 3, 7, 15, 31, 61, 91)]
    del script.errors[1]
    script.later(30)
    await watched.run_once(Round())
    script.add(1)
    script.errors[1] = AssertionError()
    script.done.clear()
    for _ in range(3):
        script.later(1)
        await watched.run_once(Round())
    assert [at - script.done[0][1] for _, at in script.done] == [0, 1]


async def test_a_database_that_is_busy_is_asked_again_each_second(script: Script) -> None:
    script.add(1)
    script.errors[1] = Unavailable("database_busy", "the database is busy", retry_after_s=1)
    watched = script.watch()
    for _ in range(5):
        await watched.run_once(current := Round())
        assert current.error == "database_busy"
        script.later(1)
    assert [at for _, at in script.done] == [0, 1, 2, 3, 4]


async def test_a_clock_that_is_set_back_makes_no_back_off_longer(script: Script) -> None:
    script.add(1, seconds=-3_600)
    script.errors[1] = AssertionError()
    watched = script.watch()
    await watched.run_once(Round())
    script.later(-600)
    await watched.run_once(Round())
    assert len(script.done) == 2


async def test_as_many_that_fail_as_a_look_lists_leave_room_for_others(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "BATCH", 2)
    for number in (1, 2, 3):
        script.add(number)
        script.errors[number] = AssertionError()
    script.add(4)
    watched = script.watch()
    pause = await watched.run_once(Round())
    assert sorted(number for number, _ in script.done) == [1, 2, 3, 4]
    assert pause == Pause(1)


async def test_each_thing_of_a_transaction_has_a_back_off_of_its_own(script: Script) -> None:
    """The most final thing is tried first; one that fails hides nothing that is due beside it."""
    kinds: tuple[DueKind, ...] = ("lost", "stop", "close")
    for kind in kinds:
        script.add(1, kind=kind)
    begun: dict[DueKind, list[float]] = {kind: [] for kind in kinds}

    async def fail(due: Due) -> None:
        begun[due.kind].append((script.now - NOON).total_seconds())
        if due.kind != "lost":
            raise AssertionError

    script.work = fail
    watched = script.watch()
    for _ in range(9):
        await watched.run_once(Round())
        script.later(1)
    assert begun == {"close": [0, 1, 3, 7], "stop": [1, 2, 4, 8], "lost": [2]}


async def test_what_is_due_beside_a_more_final_thing_waits_for_it(script: Script) -> None:
    script.add(1, kind="stop")
    script.add(1, kind="close")
    begun: list[DueKind] = []

    async def take_long(due: Due) -> None:
        begun.append(due.kind)
        while script.looks < 3:
            script.later(1)
            await long_work()
        script.due.clear()

    script.work = take_long
    async with asyncio.timeout(WAIT_LIMIT_S):
        await script.watch().run_once(Round())
    assert begun == ["close"]


async def test_one_under_way_is_not_begun_again(script: Script) -> None:
    script.add(1)
    script.add(2)
    looked = asyncio.Event()

    async def look() -> None:
        if script.looks == 3:
            looked.set()

    async def take_long(due: Due) -> None:
        if due.id == 1:
            await looked.wait()
        else:
            script.later(2)
            if script.looks < 3:
                script.add(script.looks + 2)

    script.look, script.work = look, take_long
    async with asyncio.timeout(WAIT_LIMIT_S):
        await script.watch().run_once(Round())
    assert [number for number, _ in script.done] == [1, 2, 3, 4]

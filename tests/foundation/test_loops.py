"""Background loops: their pauses, what wakes them, what they survive and what they record."""

import ast
import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from evpower.foundation.errors import Unavailable
from evpower.foundation.loops import AT_ONCE, Loop, Loops, Pause, Round, Wakeup, every
from tests.waiting import PATIENCE_S, until

SOURCE = Path(__file__).parents[2] / "src" / "evpower"
NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
NEVER_S = 3600.0


class Scripted:
    """A work that does at each round what its script says, and then nothing."""

    def __init__(self, *script: Pause | Exception | str | None) -> None:
        self.script = list(script)
        self.rounds = 0

    async def __call__(self, current: Round) -> Pause | None:
        self.rounds += 1
        step = self.script.pop(0) if self.script else None
        if isinstance(step, Exception):
            raise step
        if isinstance(step, str):
            current.failed(step)
            return AT_ONCE
        return step


@asynccontextmanager
async def running(loop: Loop) -> AsyncIterator[None]:
    stop = asyncio.Event()
    task = asyncio.create_task(loop.run(stop))
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait_for(task, PATIENCE_S)


async def test_the_first_round_comes_at_once_and_the_next_after_the_period() -> None:
    work = Scripted()
    async with running(Loop("x", work, period_s=0.01)):
        await until(lambda: work.rounds >= 3)
    slow = Scripted()
    async with running(Loop("x", slow, period_s=NEVER_S)):
        await until(lambda: slow.rounds == 1)
    assert slow.rounds == 1


async def test_work_that_has_more_to_do_runs_again_at_once() -> None:
    work = Scripted(AT_ONCE, AT_ONCE, AT_ONCE)
    async with running(Loop("x", work, period_s=NEVER_S)):
        await until(lambda: work.rounds == 4)


async def test_a_notification_ends_a_pause_and_one_during_work_is_not_lost() -> None:
    wakeup, rounds, inside, go_on = Wakeup(), list[int](), asyncio.Event(), asyncio.Event()

    async def work(_: Round) -> None:
        rounds.append(1)
        inside.set()
        await go_on.wait()

    async with running(Loop("x", work, period_s=NEVER_S, wakeup=wakeup)):
        await inside.wait()
        wakeup.notify()
        wakeup.notify()
        go_on.set()
        await until(lambda: len(rounds) == 2)
        await until(lambda: not wakeup.is_set)
        assert len(rounds) == 2, "two notifications are one"
        wakeup.notify()
        await until(lambda: len(rounds) == 3)


async def test_a_pause_that_is_not_wakeable_is_waited_for() -> None:
    wakeup, work = Wakeup(), Scripted(Pause(NEVER_S, wakeable=False))
    async with running(Loop("x", work, period_s=0, wakeup=wakeup)):
        await until(lambda: work.rounds == 1)
        wakeup.notify()
        for _ in range(5):
            await asyncio.sleep(0)
        assert work.rounds == 1


async def test_a_crash_is_logged_and_the_loop_goes_on() -> None:
    work = Scripted(RuntimeError("first"), ValueError("second"))
    loop = Loop("x", work, period_s=NEVER_S, longest_retry_s=0.01)
    with capture_logs() as logs:
        async with running(loop):
            await until(lambda: work.rounds == 3)
    failures = [(one["job"], one["log_level"]) for one in logs if one["event"] == "job_failed"]
    assert failures == [("x", "error")] * 2
    assert loop.record.error == "", "the round after them was good"


async def test_crashes_in_a_row_are_farther_and_farther_apart() -> None:
    pauses = list[float]()

    class Noted(Loop):
        async def _wait(self, pause: Pause, stopping: "asyncio.Task[object]") -> None:
            pauses.append(pause.seconds)
            assert not pause.wakeable or pause.seconds == 5
            await super()._wait(AT_ONCE, stopping)

    crash = [RuntimeError("x")] * 7
    work = Scripted(*crash, None, RuntimeError("x"))
    async with running(Noted("x", work, period_s=5)):
        await until(lambda: len(pauses) >= 9)
    assert pauses[:9] == [1, 2, 4, 8, 16, 30, 30, 5, 1]


async def test_what_is_away_for_a_while_is_tried_again_at_a_steady_pace() -> None:
    work = Scripted(*[Unavailable("database_unavailable", "refused")] * 3)
    loop = Loop("x", work, period_s=NEVER_S, retry_s=0.01)
    with capture_logs() as logs:
        async with running(loop):
            await until(lambda: work.rounds >= 4)
    waits = [one for one in logs if one["event"] == "job_waits"]
    assert [(one["job"], one["code"]) for one in waits] == [("x", "database_unavailable")] * 3


async def test_rounds_are_recorded() -> None:
    monotonic_s = 100.0
    work = Scripted("supabase_down", Unavailable("database_unavailable", "refused"), None)
    loop = Loop(
        "x", work, period_s=NEVER_S, retry_s=0.0, now_s=lambda: monotonic_s, clock=lambda: NOON
    )
    record = loop.record
    assert (record.finished_at, record.running_since, record.error) == (None, None, "")
    stop = asyncio.Event()
    await loop._run_once(stop)
    assert (record.finished_at, record.error) == (NOON, "supabase_down")
    monotonic_s = 130.0
    await loop._run_once(stop)
    assert record.error == "database_unavailable"
    assert record.idle_s == 30, "a round that was cut short is not a finished one"
    await loop._run_once(stop)
    assert (record.idle_s, record.error, record.running_since) == (0, "", None)


async def test_a_long_round_records_its_parts() -> None:
    monotonic_s = 100.0
    inside, go_on = asyncio.Event(), asyncio.Event()

    async def work(current: Round) -> None:
        inside.set()
        await go_on.wait()
        current.failed("slow")
        current.progress()
        inside.set()
        await asyncio.Event().wait()

    loop = Loop("x", work, period_s=1, now_s=lambda: monotonic_s, clock=lambda: NOON)
    task = asyncio.create_task(loop.run(asyncio.Event()))
    await inside.wait()
    inside.clear()
    assert loop.record.running_since == NOON
    monotonic_s = 170.0
    assert loop.record.idle_s == 70
    go_on.set()
    await inside.wait()
    assert (loop.record.idle_s, loop.record.error) == (0, "slow")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_stop_ends_every_pause_and_what_is_held_around_a_loop() -> None:
    held = list[str]()

    @asynccontextmanager
    async def around() -> AsyncIterator[None]:
        held.append("begun")
        yield
        held.append("ended")

    async def nothing(_: Round) -> None: ...

    steady = Scripted(Pause(NEVER_S, wakeable=False))
    loops = Loops(
        [
            Loop("held", Scripted(), period_s=NEVER_S, around=around),
            Loop("steady", steady, period_s=NEVER_S),
            every(NEVER_S, "plain", nothing),
        ]
    )
    loops.start()
    await until(lambda: steady.rounds == 1 and held == ["begun"])
    with capture_logs() as logs:
        await loops.stop(PATIENCE_S)
    assert held == ["begun", "ended"]
    assert logs == []


async def test_a_round_that_does_not_end_is_cancelled_at_the_stop() -> None:
    inside = asyncio.Event()

    async def hangs(_: Round) -> None:
        inside.set()
        await asyncio.Event().wait()

    loops = Loops([Loop("hangs", hangs, period_s=1)])
    loops.start()
    await inside.wait()
    with capture_logs() as logs:
        await loops.stop(0.01)
    assert [one["job"] for one in logs] == ["loop-hangs"]


# What waits by itself, and why it is no background loop. Nothing is added here without a reason.
EXCEPTIONS = {
    "foundation/loops.py:run": "the loop of all loops",
    "foundation/nats_bus.py:_serve": "the inside of one round of the bus: one connection",
    "foundation/grouping.py:close": "ends with the batches under way",
    "sync/outgoing/relay.py:drain": "a command's: ends when nothing is due",
    "sync/incoming/pull.py:_work": "the inside of one round: ends when nothing more is there",
    "sync/compare/reconcile.py:_work": "the inside of one round: ends with the comparison",
    "identity/migrate/execute.py:_worker": "a command's: ends with its queue",
    "api/replay.py:_claim": "one request's, at most ten seconds",
    "api/heads.py:_wait": "one timer of one connection: hangs up on a late head",
    "realtime/hub.py:send_away": "one goodbye to one socket",
}
_WAITS = {"sleep", "_sleep", "wait", "wait_for", "pause", "_pause", "_rest", "wait_connected"}
_TIMERS = {"call_later", "call_at"}


def _names(node: ast.AST) -> Iterator[str]:
    for inner in ast.walk(node):
        if isinstance(inner, ast.Call):
            called = inner.func
            if isinstance(called, ast.Attribute):
                yield called.attr
            elif isinstance(called, ast.Name):
                yield called.id


def waiting_loops(source: str) -> Iterator[tuple[str, int]]:
    """Functions with a `while`, or an endless `for`, that waits by time; and timers of asyncio."""
    for function in ast.walk(ast.parse(source)):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for node in ast.walk(function):
            endless = isinstance(node, ast.While) or (
                isinstance(node, ast.For | ast.AsyncFor)
                and {"count", "cycle", "repeat"} & set(_names(node.iter))
            )
            suspicious = _WAITS | {"is_set"} if endless else _TIMERS
            if (endless or isinstance(node, ast.Call)) and suspicious & set(_names(node)):
                yield function.name, node.lineno


def test_no_loop_waits_by_itself() -> None:
    found = set[str]()
    for path in SOURCE.rglob("*.py"):
        where = path.relative_to(SOURCE).as_posix()
        if where.startswith("devstack/"):
            continue  # waits for child processes on one machine, and is in no installation
        for name, line in waiting_loops(path.read_text()):
            found.add(f"{where}:{name}")
            assert f"{where}:{name}" in EXCEPTIONS, f"{where}:{line} waits: make it a Loop"
    assert found == EXCEPTIONS.keys(), "an exception that is none"


@pytest.mark.parametrize(
    "source",
    [
        "async def f(stop):\n while not stop.is_set():\n  await work()",
        "async def f():\n while True:\n  await work()\n  await asyncio.sleep(1)",
        "async def f(stop):\n while on:\n  with suppress(E):\n   await wait_for(stop.wait(), 1)",
        "async def f():\n for n in count():\n  await asyncio.sleep(n)",
        "def f(loop):\n loop.call_later(1, f, loop)",
    ],
)
def test_a_hidden_loop_is_found(source: str) -> None:
    assert [name for name, _ in waiting_loops(source)] == ["f"]

"""Concurrent calls become one batch; no call waits for another or fails because of it."""

import asyncio
from collections.abc import Callable

import pytest

from evpower.foundation.batching import Batcher
from evpower.foundation.errors import Unavailable
from tests.waiting import WAIT_LIMIT_S


class Recorder:
    """A batch function that notes its batches, waits for the gate and fails where the test says."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.fails: Callable[[list[int]], Exception | None] = lambda _: None

    async def __call__(self, keys: list[int]) -> dict[int, str | Exception]:
        self.batches.append(keys)
        await self.gate.wait()
        if (error := self.fails(keys)) is not None:
            raise error
        return {key: LookupError("odd") if key == 13 else f"r{key}" for key in keys if key != 404}


async def settle() -> None:
    """Let everything that can run, run."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_while_a_batch_runs_the_next_one_gathers() -> None:
    run = Recorder()
    group = Batcher(run, in_flight=1, max_size=4)
    run.gate.clear()
    first = asyncio.create_task(group(0))
    await settle()
    rest = [asyncio.create_task(group(key)) for key in range(1, 8)]
    await settle()
    run.gate.set()
    assert await first == "r0"
    assert await asyncio.gather(*rest) == [f"r{key}" for key in range(1, 8)]
    assert run.batches == [[0], [1, 2, 3, 4], [5, 6, 7]]


async def test_a_lone_call_starts_at_once() -> None:
    run = Recorder()
    assert await Batcher(run)(5) == "r5"
    assert run.batches == [[5]]


async def test_at_most_so_many_batches_run_at_once() -> None:
    run = Recorder()
    group = Batcher(run, in_flight=2, max_size=1)
    run.gate.clear()
    calls = [asyncio.create_task(group(key)) for key in range(5)]
    await settle()
    assert len(run.batches) == 2
    run.gate.set()
    await asyncio.gather(*calls)
    assert len(run.batches) == 5


async def test_one_call_after_another_never_stalls() -> None:
    group = Batcher(Recorder(), in_flight=1)
    for key in range(20, 220):
        assert await asyncio.wait_for(group(key), WAIT_LIMIT_S) == f"r{key}"


async def test_an_error_of_one_item_fails_that_item() -> None:
    group = Batcher(Recorder())
    results = await asyncio.gather(*(group(key) for key in (1, 13, 404, 2)), return_exceptions=True)
    assert results[0] == "r1"
    assert results[3] == "r2"
    assert isinstance(results[1], LookupError)
    assert isinstance(results[2], LookupError)


async def test_a_poisoned_item_fails_alone() -> None:
    run = Recorder()
    run.fails = lambda keys: ValueError("poison") if 7 in keys else None
    seen: list[tuple[int, bool]] = []
    group = Batcher(
        run, retry_budget_s=WAIT_LIMIT_S, on_batch=lambda size, failed: seen.append((size, failed))
    )
    results = await asyncio.gather(*(group(key) for key in (5, 7, 8)), return_exceptions=True)
    assert results[0] == "r5"
    assert isinstance(results[1], ValueError)
    assert results[2] == "r8"
    assert run.batches == [[5, 7, 8], [5], [7], [8]]
    assert seen == [(3, True)]


async def test_a_passing_failure_is_not_seen() -> None:
    run = Recorder()
    run.fails = lambda _: ValueError("deadlock") if len(run.batches) == 1 else None
    assert await Batcher(run, retry_budget_s=WAIT_LIMIT_S)(5) == "r5"


async def test_a_fatal_failure_fails_all_at_once() -> None:
    run = Recorder()
    run.fails = lambda _: ConnectionError("down")
    group = Batcher(run, is_fatal=lambda error: isinstance(error, ConnectionError))
    results = await asyncio.gather(*(group(key) for key in range(5)), return_exceptions=True)
    assert all(isinstance(result, ConnectionError) for result in results)
    assert len(run.batches) == 1


async def test_retries_end_with_their_budget() -> None:
    run = Recorder()
    run.fails = lambda _: ValueError("always")
    group = Batcher(run, retry_budget_s=0)
    results = await asyncio.gather(*(group(key) for key in range(5)), return_exceptions=True)
    assert [getattr(result, "code", None) for result in results] == ["overloaded"] * 5
    assert len(run.batches) == 1


async def test_who_was_not_tried_alone_does_not_get_the_error_of_another() -> None:
    """It would say that his own call makes no sense, and a bank would not repeat it."""
    run = Recorder()
    run.fails = lambda keys: ValueError("poison") if 7 in keys else None
    group = Batcher(run, retry_budget_s=0)
    results = await asyncio.gather(*(group(key) for key in (7, 8)), return_exceptions=True)
    assert [type(result) for result in results] == [Unavailable, Unavailable]


async def test_what_one_alone_failed_by_is_its_own() -> None:
    run = Recorder()
    run.fails = lambda _: ValueError("poison")
    with pytest.raises(ValueError, match="poison"):
        await Batcher(run, retry_budget_s=0)(7)


async def test_a_cancelled_caller_leaves_alone() -> None:
    run = Recorder()
    group = Batcher(run, in_flight=1)
    run.gate.clear()
    calls = [asyncio.create_task(group(key)) for key in (1, 2)]
    await settle()
    late = [asyncio.create_task(group(key)) for key in (3, 4)]
    await settle()
    calls[0].cancel()
    late[0].cancel()
    await settle()
    run.gate.set()
    assert await calls[1] == "r2"
    assert await late[1] == "r4"
    assert run.batches == [[1, 2], [4]], "a call without a waiting caller is not begun"


async def test_one_key_asked_for_twice_runs_once_and_is_new_once() -> None:
    run = Recorder()
    group = Batcher(run, repeat=lambda result: f"{result} again")
    results = await asyncio.gather(group(1), group(1), group(2), group(1))
    assert results == ["r1", "r1 again", "r2", "r1 again again"]
    assert run.batches == [[1, 2]]


async def test_a_key_whose_batch_runs_is_asked_for_again() -> None:
    run = Recorder()
    group = Batcher(run, in_flight=1)
    run.gate.clear()
    first = asyncio.create_task(group(1))
    await settle()
    second = asyncio.create_task(group(1))
    await settle()
    run.gate.set()
    await asyncio.gather(first, second)
    assert run.batches == [[1], [1]]


async def test_close_answers_what_was_taken_and_takes_no_more() -> None:
    run = Recorder()
    group = Batcher(run, in_flight=1, max_size=2)
    run.gate.clear()
    calls = [asyncio.create_task(group(key)) for key in range(5)]
    await settle()
    closing = asyncio.create_task(group.close())
    await settle()
    with pytest.raises(Unavailable):
        await group(9)
    run.gate.set()
    await asyncio.wait_for(closing, WAIT_LIMIT_S)
    assert [call.result() for call in calls] == [f"r{key}" for key in range(5)]


async def test_a_full_queue_refuses() -> None:
    run = Recorder()
    group = Batcher(run, in_flight=1, max_waiting=2, max_size=1)
    run.gate.clear()
    first = asyncio.create_task(group(0))
    await settle()
    waiting = [asyncio.create_task(group(key)) for key in (1, 2)]
    await settle()
    with pytest.raises(Unavailable):
        await group(3)
    run.gate.set()
    assert await asyncio.gather(first, *waiting) == ["r0", "r1", "r2"]


async def served_alone(group: Batcher[int, str]) -> None:
    """Bring a group to where calls come one at a time."""
    assert await group(0) == "r0"


async def test_calls_one_at_a_time_run_in_their_callers_task() -> None:
    tasks: list[asyncio.Task[None] | None] = []

    async def run(keys: list[int]) -> dict[int, str | Exception]:
        tasks.append(asyncio.current_task())
        return {key: f"r{key}" for key in keys}

    group = Batcher(run)
    await served_alone(group)
    assert [await group(1), await group(2)] == ["r1", "r2"]
    assert tasks[0] is not asyncio.current_task()
    assert tasks[1:] == [asyncio.current_task()] * 2


async def test_what_comes_while_a_lone_call_runs_is_one_batch_after_it() -> None:
    run = Recorder()
    group = Batcher(run, in_flight=1)
    await served_alone(group)
    run.gate.clear()
    calls = [asyncio.create_task(group(key)) for key in (1, 2, 3)]
    await settle()
    assert run.batches == [[0], [1]]
    run.gate.set()
    assert await asyncio.gather(*calls) == ["r1", "r2", "r3"]
    assert await asyncio.gather(group(4), group(5)) == ["r4", "r5"]
    assert run.batches == [[0], [1], [2, 3], [4, 5]], "callers that came together gather again"


async def test_a_cancelled_lone_caller_takes_no_one_along() -> None:
    run = Recorder()
    group = Batcher(run, in_flight=1)
    await served_alone(group)
    run.gate.clear()
    lone = asyncio.create_task(group(1))
    await settle()
    others = [asyncio.create_task(group(key)) for key in (1, 2)]
    await settle()
    lone.cancel()
    await settle()
    assert lone.cancelled()
    run.gate.set()
    assert await asyncio.gather(*others) == ["r1", "r2"]
    assert run.batches == [[0], [1], [1, 2]]
    assert await asyncio.wait_for(group(3), WAIT_LIMIT_S) == "r3"


async def test_a_lone_call_is_tried_again_and_fails_by_itself() -> None:
    run = Recorder()
    group = Batcher(run, retry_budget_s=WAIT_LIMIT_S)
    await served_alone(group)
    run.fails = lambda _: ValueError("deadlock") if len(run.batches) == 2 else None
    assert await group(1) == "r1"
    run.fails = lambda _: ValueError("always")
    with pytest.raises(ValueError, match="always"):
        await group(2)
    assert run.batches == [[0], [1], [1], [2], [2]]


async def test_close_waits_for_a_lone_call() -> None:
    run = Recorder()
    group = Batcher(run)
    await served_alone(group)
    run.gate.clear()
    lone = asyncio.create_task(group(1))
    await settle()
    closing = asyncio.create_task(group.close())
    await settle()
    assert not closing.done()
    run.gate.set()
    await asyncio.wait_for(closing, WAIT_LIMIT_S)
    assert await lone == "r1"

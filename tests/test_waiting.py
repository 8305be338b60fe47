"""The one way to wait gives up, says what for, and is not fooled by a slow look."""

import asyncio
import mmap
import re
import signal
import sys
from pathlib import Path

import httpx
import pytest

from tests.waiting import WAIT_LIMIT_S, freeze, patient_http, until


async def test_it_gives_up_and_says_what_never_came() -> None:
    with pytest.raises(AssertionError, match="the cows came home"):
        await until(lambda: False, "the cows came home", within_s=0.01)


async def test_without_words_it_quotes_the_test() -> None:
    cows = 0
    with pytest.raises(AssertionError, match=re.escape("cows == 3")):
        await until(lambda: cows == 3, within_s=0.01)


async def test_a_fact_may_have_to_be_waited_for_itself() -> None:
    looks: list[int] = []

    async def is_third_look() -> bool:
        looks.append(len(looks))
        await asyncio.sleep(0)
        return len(looks) == 3

    await until(is_third_look)
    assert looks == [0, 1, 2]


async def test_what_came_while_the_time_ran_out_is_seen() -> None:
    looks: list[int] = []
    clock = [0.0]

    def comes_late() -> bool:
        looks.append(len(looks))
        clock[0] += 61  # one look takes longer than all the time there is
        return len(looks) == 2

    await until(comes_late, within_s=60, now=lambda: clock[0])
    assert looks == [0, 1]


async def test_after_that_it_is_not_looked_at_again() -> None:
    looks: list[int] = []
    clock = [0.0]

    def never_comes() -> bool:
        looks.append(len(looks))
        clock[0] += 61
        return False

    with pytest.raises(AssertionError, match="the cows"):
        await until(never_comes, "the cows", within_s=60, now=lambda: clock[0])
    assert looks == [0, 1]


_COUNTING = """
import mmap, os, sys, threading

def count(seen):
    for n in range(1, 1 << 60):
        seen[:] = n.to_bytes(8, "big")

with open(sys.argv[1], "r+b") as file:
    threading.Thread(target=count, args=(mmap.mmap(file.fileno(), 8),)).start()
sys.stdin.read()
os._exit(0)
"""


async def test_what_is_frozen_does_nothing_any_more(tmp_path: Path) -> None:
    """Its main thread waits; that one gets the signal, and wakes for it, before the busy one."""
    (path := tmp_path / "count").write_bytes(bytes(8))
    busy = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _COUNTING, path, stdin=asyncio.subprocess.PIPE
    )
    try:
        with path.open("r+b") as file, mmap.mmap(file.fileno(), 8) as counted:
            seen = bytes(8)
            for _ in range(100):
                await until(lambda known=seen: counted[:] != known, "it does not go on")
                await freeze(busy.pid)
                seen = counted[:]
                assert all(counted[:] == seen for _ in range(1000))
                busy.send_signal(signal.SIGCONT)
    finally:
        busy.kill()
        await busy.wait()


class TestPatientHttp:
    """A pause of the machine in the middle of a call is no answer."""

    @pytest.mark.parametrize(
        ("always", "unchanged"), [(False, {"read", "write"}), (True, set[str]())]
    )
    async def test_a_call_may_not_give_up_at_once(
        self, *, always: bool, unchanged: set[str]
    ) -> None:
        seen: list[dict[str, float]] = []

        def answer(request: httpx.Request) -> httpx.Response:
            seen.append(request.extensions["timeout"])
            return httpx.Response(200)

        async with patient_http(always=always) as http:
            http._transport = httpx.MockTransport(answer)
            await http.get("http://unknown.test/")
            await http.get("http://unknown.test/", timeout=httpx.Timeout(0.1))
        names = {"connect", "pool", "read", "write"}
        assert seen[0] == dict.fromkeys(names, WAIT_LIMIT_S)
        assert {name for name, seconds in seen[1].items() if seconds == 0.1} == unchanged
        assert {
            name for name, seconds in seen[1].items() if seconds == WAIT_LIMIT_S
        } == names - unchanged

"""The one way to wait gives up, says what for, and is not fooled by a slow look."""

import asyncio
import re

import pytest

from tests.waiting import until


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

    async def comes_late() -> bool:
        looks.append(len(looks))
        if looks == [0]:
            await asyncio.sleep(0.02)  # one look takes longer than all the time there is
            return False
        return True

    await until(comes_late, within_s=0.01)
    assert looks == [0, 1]

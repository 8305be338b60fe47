"""The stack starts as one, keeps its data, and deletes only what is its own."""

from pathlib import Path

import asyncpg
import pytest

from evpower.devstack.errors import DevstackError
from evpower.devstack.stack import Stack
from tests.conftest import as_owner


class Recorder:
    """An extra child that records its calls."""

    name = "EvPower"

    def __init__(self, stack: Stack, *, fail: bool = False) -> None:
        self.stack = stack
        self.fail = fail
        self.running = False
        self.calls: list[str] = []

    async def start(self) -> None:
        self.calls.append("start")
        if self.fail:
            raise DevstackError("EvPower can't start", "")
        assert self.stack.supabase.running
        self.running = True

    async def stop(self) -> None:
        self.calls.append("stop")
        assert self.stack.postgres.running
        self.running = False


async def _tables(stack: Stack) -> int:
    connection = await asyncpg.connect(as_owner(stack.evpower_dsn))
    try:
        return await connection.fetchval("select count(*) from pg_tables where tablename = 'data'")
    finally:
        await connection.close()


async def test_stack_keeps_its_data_until_fresh(folder: Path) -> None:
    async with Stack(folder / "data") as stack:
        connection = await asyncpg.connect(as_owner(stack.evpower_dsn))
        await connection.execute("create table data ()")
        await connection.close()
        keys = stack.supabase.secret_key
        assert [service.name for service in stack.services] == ["PostgreSQL", "The local Supabase"]
    async with Stack(folder / "data") as stack:
        assert await _tables(stack) == 1
        assert stack.supabase.secret_key == keys
        with pytest.raises(DevstackError, match="Another EvPower process"):
            await Stack.start(folder / "data", fresh=True)
        assert await _tables(stack) == 1
    async with Stack(folder / "data", fresh=True) as stack:
        assert await _tables(stack) == 0
        assert stack.supabase.secret_key != keys


async def test_fresh_never_deletes_a_folder_that_is_not_ours(folder: Path) -> None:
    (folder / "thesis.txt").write_text("mine")
    with pytest.raises(DevstackError, match="not a data folder of EvPower"):
        await Stack.start(folder, fresh=True)
    assert (folder / "thesis.txt").read_text() == "mine"


async def test_extra_child_starts_last_and_stops_first(folder: Path) -> None:
    made: list[Recorder] = []

    def extra(stack: Stack) -> list[Recorder]:
        made.append(Recorder(stack))
        return made

    stack = await Stack.start(folder / "data", extra_children=extra)
    try:
        assert made[0].running
        made[0].running = False
        assert await stack.watch() == "EvPower"
    finally:
        await stack.stop()
    assert made[0].calls == ["start", "stop"]


async def test_failing_child_takes_the_stack_down(folder: Path) -> None:
    made: list[Recorder] = []

    def extra(stack: Stack) -> list[Recorder]:
        made.append(Recorder(stack, fail=True))
        return made

    with pytest.raises(DevstackError, match="EvPower can't start"):
        await Stack.start(folder / "data", extra_children=extra)
    assert not made[0].stack.services
    assert not made[0].stack.postgres.running

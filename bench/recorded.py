"""Records the statements that a database is sent, and lets pgbench send them on a copy.

The text of a statement is the same each time; its values become variables of pgbench, read from a
table by the number of the time.
"""

import asyncio
import json
import re
from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from types import TracebackType
from typing import Any, Final, cast
from uuid import UUID

from asyncpg.connection import LoggedQuery

from evpower.foundation.db import Borrowed, Connection, Database

Statement = tuple[str, tuple[object, ...]]
# What asyncpg asks once of a connection, about types.
_OF_THE_DRIVER: Final = ("typeinfo_tree", "current_setting('jit')")
_WAIT_LIMIT_S: Final = 5.0
_PARAMETER: Final = re.compile(r"\$(\d+)")


class RecordingDatabase(Database):
    """A database with one connection that leaves its statements in `statements`."""

    def __init__(self, dsn: str) -> None:
        super().__init__(dsn, size=1)
        self.statements: list[Statement] = []

    def connection(self) -> Borrowed:
        """Returns the connection, and records what it sends."""
        return _Recorded(self, self.pool, self._turns)

    def record(self, query: LoggedQuery) -> None:
        """Records a statement."""
        if not any(text in query.query for text in _OF_THE_DRIVER):
            self.statements.append((query.query, tuple(query.args)))


class _Recorded(Borrowed):
    __slots__ = ("_recording",)

    def __init__(
        self,
        database: RecordingDatabase,
        pool: Any,  # noqa: ANN401 - asyncpg's
        turns: asyncio.Semaphore,
    ) -> None:
        super().__init__(database, pool, turns, _WAIT_LIMIT_S)
        self._recording = database

    async def __aenter__(self) -> Connection:
        connection = await super().__aenter__()
        connection.add_query_logger(self._recording.record)
        return connection

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._connection is not None:
            self._connection.remove_query_logger(self._recording.record)
        await super().__aexit__(kind, error, trace)


async def prepare(owner: Connection, times: Sequence[Sequence[Statement]]) -> str:
    """Stores the values of each time; returns pgbench's script, which reads `:n` from 1 on.

    Raises RuntimeError when the times differ in more than values.
    """
    texts = [statement for statement, _ in times[0]]
    for statements in times:
        if [statement for statement, _ in statements] != texts:
            raise RuntimeError("the statements differ from one time to the next")
    rows = [[_text(value) for _, values in statements for value in values] for statements in times]
    is_null = [all(value is None for value in column) for column in zip(*rows, strict=True)]
    if any(
        value is None and not null for row in rows for value, null in zip(row, is_null, strict=True)
    ):
        raise RuntimeError("a value is null only sometimes")
    names = [f"v{number}" for number in range(len(is_null))]
    columns = ", ".join(f"{name} text" for name in names)
    await owner.execute("create schema if not exists bench")
    await owner.execute(f"create table bench.recorded (n int primary key, {columns})")
    await owner.copy_records_to_table(
        "recorded", schema_name="bench", records=[(n, *row) for n, row in enumerate(rows, 1)]
    )
    await owner.execute("grant usage on schema bench to evpower_app")
    await owner.execute("grant select on bench.recorded to evpower_app")
    used = [name for name, null in zip(names, is_null, strict=True) if not null]
    lines = ["\\set n :n + 1", f"select {', '.join(used)} from bench.recorded where n = :n \\gset"]
    place = 0
    for statement, values in times[0]:
        own = names[place : place + len(values)]
        nulls = is_null[place : place + len(values)]
        place += len(values)
        lines.append(_with_variables(statement, own, nulls) + ";")
    return "\n".join(lines) + "\n"


def _with_variables(statement: str, names: Sequence[str], nulls: Sequence[bool]) -> str:
    def variable(match: re.Match[str]) -> str:
        number = int(match[1]) - 1
        return "null" if nulls[number] else f":{names[number]}"

    without_comments = re.sub(r"--[^\n]*", "", statement)
    return _PARAMETER.sub(variable, without_comments.strip().rstrip(";"))


def _text(value: object) -> str | None:
    """Returns a value as PostgreSQL reads it."""
    if value is None:
        return None
    if isinstance(value, bytes):
        return "\\x" + value.hex()
    if isinstance(value, datetime | date | timedelta):
        return f"{value.total_seconds()} s" if isinstance(value, timedelta) else value.isoformat()
    if isinstance(value, list | tuple):
        values = list(cast("Iterable[object]", value))
        is_json = any(isinstance(item, dict) for item in values)
        return json.dumps(values) if is_json else _array(values)
    if isinstance(value, dict):
        return json.dumps(value)
    if isinstance(value, bool | int | str | float | Decimal | UUID):
        return str(value)  # PostgreSQL reads True, too
    raise RuntimeError(f"a value of {type(value)} can't be replayed")


def _array(values: Iterable[object]) -> str:
    texts = [_text(value) for value in values]
    quoted = [
        "NULL" if text is None else '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
        for text in texts
    ]
    return "{" + ",".join(quoted) + "}"

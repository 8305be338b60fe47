"""Old clients in another PostgreSQL, read by a cursor in one read-only transaction."""

import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Final, cast

import asyncpg
from asyncpg import Attribute

from evpower.client_migration.model import SourceError, SourceRow
from evpower.client_migration.source import Reader, match_fields
from evpower.foundation.db import Connection, connect

_AHEAD: Final = 1000
_CONNECT_S: Final = 15.0
_READ_S: Final = 600.0  # of one statement or page: a query may sort everything before its first row
# Sets one text form for each type, whatever the settings of the database are.
_AS_TEXT: Final = """
set local datestyle = 'ISO, YMD'; set local timezone = 'UTC'; set local extra_float_digits = 1;
set local idle_in_transaction_session_timeout = 0
"""
# Only an address of this exact form is shown: in any other the password may stand anywhere.
_ADDRESS: Final = re.compile(
    r"postgres(?:ql)?://(?:[^@/?#]*@)?(\[[0-9A-Fa-f:]+\]|[A-Za-z0-9.,_-]*)(?::[0-9]+)?(/[A-Za-z0-9_.-]*)?(?:\?[^@]*)?"
)
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_$]{0,62}")


class PostgresSource:
    """A table or a query of a database whose rows are clients."""

    def __init__(
        self,
        dsn: str,
        *,
        table: str = "clients",
        query: str = "",
        mapped: Mapping[str, str] | None = None,
        unconfirmed: frozenset[str] = frozenset(),
    ) -> None:
        """`query` goes before `table`, which may be `schema.table`."""
        self._dsn = dsn
        self._query = query.strip().rstrip(";") or f"select * from {_quoted(table)}"
        self._mapped = mapped or {}
        self._unconfirmed = unconfirmed
        where = _ADDRESS.fullmatch(dsn)
        address = f"{where[1]}{where[2] or ''}" if where else ""
        self.name = f"postgres://{address} {query.strip() or table}"[:300]
        self.fields: Mapping[str, str] = {}

    async def rows(self) -> AsyncGenerator[SourceRow]:
        """Yields every row, numbered in the order of the query."""
        async with AsyncExitStack() as stack:
            connection = await self._connect(stack)
            try:
                async with connection.transaction(isolation="repeatable_read", readonly=True):
                    await connection.execute(_AS_TEXT)
                    async for row in self._read(connection):
                        yield row
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                raise SourceError(f"the source: {error or type(error).__name__}") from error

    async def _connect(self, stack: AsyncExitStack) -> Connection:
        connecting = connect(self._dsn, timeout_s=_CONNECT_S, command_timeout_s=_READ_S)
        try:
            return await stack.enter_async_context(connecting)
        except ValueError:  # its text quotes the address, and may have the password
            raise SourceError(
                "the source's address is invalid: postgres://user@host:5432/db"
            ) from None
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise SourceError(f"the source does not respond: {error}") from error

    async def _read(self, connection: Connection) -> AsyncGenerator[SourceRow]:
        # Only the needed columns are read.
        described = await connection.prepare(f"select * from ({self._query}) as source limit 0")
        columns = described.get_attributes()
        self.fields = match_fields([column.name for column in columns], self._mapped)
        reader = Reader(self.fields, unconfirmed=self._unconfirmed)
        exact = {column.name.strip().lower(): column for column in columns}
        wanted = ", ".join(_as_text(exact[name]) for name in self.fields.values())
        statement = f"select {wanted} from ({self._query}) as source"
        line = 0
        async for record in connection.cursor(statement, prefetch=_AHEAD):
            line += 1
            values = cast("Sequence[bytes | None]", tuple(record))
            # A database without an encoding may have any bytes: they make only their own row
            # invalid.
            texts = ((value or b"").decode(errors="surrogateescape") for value in values)
            yield reader.row(line, dict(zip(self.fields, texts, strict=True)))


def _as_text(column: Attribute) -> str:
    """Returns the column as text: no Python type holds some times and numbers of PostgreSQL."""
    name = f'source."{column.name.replace(chr(34), chr(34) * 2)}"'
    text = f"array_to_string({name}, ';')" if column.type.kind == "array" else f"{name}::text"
    return f"textsend({text})"


def _quoted(table: str) -> str:
    parts = table.split(".")
    if not 0 < len(parts) <= 2 or not all(_NAME.fullmatch(part) for part in parts):  # noqa: PLR2004
        raise SourceError(f"{table!r} is no table: say schema.table, or give a --query")
    return ".".join(f'"{part}"' for part in parts)

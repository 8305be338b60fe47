"""Old clients in another PostgreSQL, read by a cursor in one read-only transaction."""

import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from datetime import date
from typing import Final, cast

import asyncpg

from evpower.foundation.db import Connection
from evpower.identity.migrate.model import SourceError, SourceRow
from evpower.identity.migrate.source import Reader, match_fields

_AHEAD: Final = 1000
# Only a source that is plainly so far is named: a slip in an address puts its password anywhere.
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
        unproven: frozenset[str] = frozenset(),
    ) -> None:
        """`query` goes before `table`, which may be `schema.table`."""
        self._dsn = dsn
        self._query = query.strip().rstrip(";") or f"select * from {_quoted(table)}"
        self._mapped = mapped or {}
        self._unproven = unproven
        where = _ADDRESS.fullmatch(dsn)
        address = f"{where[1]}{where[2] or ''}" if where else ""
        self.name = f"postgres://{address} {query.strip() or table}"[:300]
        self.fields: Mapping[str, str] = {}

    async def rows(self) -> AsyncGenerator[SourceRow]:
        """Every row, numbered as it comes."""
        try:
            connection: Connection = await asyncpg.connect(
                self._dsn,
                timeout=15,
                server_settings={
                    "application_name": "evpower-migrate",
                    "default_transaction_read_only": "on",
                    "idle_in_transaction_session_timeout": "0",
                },
            )
        except ValueError:  # its text quotes the address, and so, perhaps, the password
            raise SourceError(
                "the source's address is none: postgres://user@host:5432/db"
            ) from None
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise SourceError(f"the source does not answer: {error}") from error
        try:
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                async for row in self._read(connection):
                    yield row
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise SourceError(f"the source: {error}") from error
        finally:
            await connection.close()

    async def _read(self, connection: Connection) -> AsyncGenerator[SourceRow]:
        # Columns we have no use for are not even asked for.
        described = await connection.prepare(f"select * from ({self._query}) as source limit 0")
        columns = [attribute.name for attribute in described.get_attributes()]
        self.fields = match_fields(columns, self._mapped)
        reader = Reader(self.fields, unproven=self._unproven)
        exact = {name.strip().lower(): name for name in columns}
        wanted = ", ".join(
            f'source."{exact[name].replace(chr(34), chr(34) * 2)}"' for name in self.fields.values()
        )
        statement = f"select {wanted} from ({self._query}) as source"
        line = 0
        async for record in connection.cursor(statement, prefetch=_AHEAD):
            line += 1
            values = cast("Sequence[object]", tuple(record))
            yield reader.row(line, dict(zip(self.fields, map(_text, values), strict=True)))


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, list):
        return ";".join(_text(one) for one in cast("list[object]", value))
    return str(value)


def _quoted(table: str) -> str:
    parts = table.split(".")
    if not 0 < len(parts) <= 2 or not all(_NAME.fullmatch(part) for part in parts):  # noqa: PLR2004
        raise SourceError(f"{table!r} is no table: say schema.table, or give a --query")
    return ".".join(f'"{part}"' for part in parts)

"""The SQL of the old health calls."""

from evpower.foundation.db import Connection


async def is_read_only(connection: Connection) -> bool:
    """Returns whether the database takes no writes, as a standby."""
    return await connection.fetchval("select pg_is_in_recovery()")

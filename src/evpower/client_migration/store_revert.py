"""SQL of reverting and confirming runs, and of decisions."""

from dataclasses import dataclass
from uuid import UUID

from evpower.client_migration.store_plan import HOUR_S
from evpower.foundation.db import Connection, Record
from evpower.identity import confirm_aliases, remove_aliases, remove_client_aliases


@dataclass(frozen=True, slots=True)
class Created:
    """A row for which a user was, or may have been, created."""

    run: int
    line: int
    client_id: UUID
    old_id: str
    state: str
    client_before: bool


async def revert_linked(connection: Connection, run: int) -> int:
    """Reverts rows of clients that existed before: removes their aliases. Returns how many."""
    rows: list[Record] = await connection.fetch(
        """
        update client_migration.run_rows set state = 'reverted', updated_at = now()
        where run = $1 and plan in ('link', 'add') and state in ('planned', 'failed', 'done')
        returning client_id
        """,
        run,
        timeout=HOUR_S,
    )
    return await remove_aliases(
        connection, run, [row["client_id"] for row in rows], timeout_s=HOUR_S
    )


async def count_created(connection: Connection, run: int) -> int:
    """Returns how many rows `created` returns in all."""
    count: int = await connection.fetchval(
        """
        select count(*) from client_migration.run_rows where run = $1 and plan = 'create'
          and state in ('planned', 'failed', 'done', 'reverting')
        """,
        run,
    )
    return count


async def created(connection: Connection, run: int, after: int, limit: int) -> list[Created]:
    """Returns the next rows to revert; the user of a planned one may exist, after a crash."""
    rows: list[Record] = await connection.fetch(
        """
        select run, line, client_id, old_id, state, client_before from client_migration.run_rows
        where run = $1 and plan = 'create' and line > $2
          and state in ('planned', 'failed', 'done', 'reverting') order by line limit $3
        """,
        run,
        after,
        limit,
    )
    return [Created(**dict(row)) for row in rows]


async def is_untouched(connection: Connection, client_id: UUID) -> bool:
    """Returns whether the client's wallet was never used."""
    untouched: bool = await connection.fetchval(
        "select client_migration.is_untouched($1)", client_id
    )
    return untouched


async def has_other_old_id(connection: Connection, created_row: Created) -> bool:
    """Returns whether the client has another old id, from another run or added by hand."""
    row = await connection.fetchval(
        """
        select 1 from identity.aliases where client_id = $1 and kind = 'client_id'
          and alias <> $2 and run is distinct from $3 limit 1
        """,
        created_row.client_id,
        created_row.old_id,
        created_row.run,
    )
    return row is not None


async def retain(connection: Connection, created_row: Created, reason: str) -> None:
    """Stores that the user is in use: the row is not reverted, and `note` says why."""
    await connection.execute(
        """
        update client_migration.run_rows set state = 'retained', note = $3, updated_at = now()
        where run = $1 and line = $2
        """,
        created_row.run,
        created_row.line,
        reason,
    )


async def begin_revert(connection: Connection, created_row: Created) -> None:
    """Removes the row's aliases; its user is deleted next."""
    await connection.execute(
        """
        update client_migration.run_rows set state = 'reverting', updated_at = now()
        where run = $1 and line = $2
        """,
        created_row.run,
        created_row.line,
    )
    await remove_client_aliases(connection, created_row.run, created_row.client_id)


async def finish_revert(connection: Connection, created_row: Created) -> None:
    """Stores that the user was deleted."""
    await connection.execute(
        """
        update client_migration.run_rows set state = 'reverted', updated_at = now()
        where run = $1 and line = $2
        """,
        created_row.run,
        created_row.line,
    )


async def confirm(connection: Connection, run: int) -> None:
    """Makes the run's aliases final, and erases the contacts stored with its plan."""
    await confirm_aliases(connection, run, timeout_s=HOUR_S)
    await erase_contacts(connection, run)


async def erase_contacts(connection: Connection, run: int) -> None:
    """Erases the contacts and names of a plan, and details that quote them."""
    await connection.execute(
        """
        update client_migration.run_rows set email = null, phone = null, name = null,
          detail = case when plan = 'invalid' or reason = 'contact_taken' then null else detail end
        where run = $1
        """,
        run,
        timeout=HOUR_S,
    )


async def insert_decision(
    connection: Connection, old_id: str, client_id: UUID, actor: str, reason: str
) -> bool:
    """Stores a decision about an old id; the newest counts. False: no run had it in conflict."""
    stored = await connection.fetchval(
        """
        insert into client_migration.decisions (old_id, client_id, actor, reason)
        select $1, $2, $3, $4 where exists (select from client_migration.run_rows
          where old_id = $1 and plan = 'conflict')
        on conflict (old_id) do update set client_id = excluded.client_id,
          actor = excluded.actor, reason = excluded.reason, at = now() returning true
        """,
        old_id,
        client_id,
        actor,
        reason,
    )
    return stored is not None

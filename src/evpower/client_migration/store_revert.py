"""SQL of taking a run back, of making it final, and of decisions."""

from dataclasses import dataclass
from uuid import UUID

from evpower.client_migration.store_plan import HOUR_S
from evpower.foundation.db import Connection, Record


@dataclass(frozen=True, slots=True)
class Created:
    """A row for which a user was, or may have been, created."""

    run: int
    line: int
    client_id: UUID
    old_id: str
    state: str
    client_before: bool


async def unname_adopted(connection: Connection, run: int) -> int:
    """Take the aliases from clients who were there before; answers how many aliases."""
    rows: list[Record] = await connection.fetch(
        """
        with back as (update identity.migration_rows set state = 'reverted', updated_at = now()
        where run = $1 and plan in ('adopt', 'add') and state in ('planned', 'failed', 'done')
        returning run, client_id)
        delete from identity.aliases a using back b where a.run = b.run
          and a.client_id = b.client_id returning a.alias
        """,
        run,
        timeout=HOUR_S,
    )
    return len(rows)


async def count_created(connection: Connection, run: int) -> int:
    """How many rows `created` has."""
    count: int = await connection.fetchval(
        """
        select count(*) from identity.migration_rows where run = $1 and plan = 'create'
          and state in ('planned', 'failed', 'done', 'reverting')
        """,
        run,
    )
    return count


async def created(connection: Connection, run: int, after: int, limit: int) -> list[Created]:
    """Rows to take back, in order; a planned one may have got its user before a crash."""
    rows: list[Record] = await connection.fetch(
        """
        select run, line, client_id, old_id, state, client_before from identity.migration_rows
        where run = $1 and plan = 'create' and line > $2
          and state in ('planned', 'failed', 'done', 'reverting') order by line limit $3
        """,
        run,
        after,
        limit,
    )
    return [Created(**dict(row)) for row in rows]


async def is_untouched(connection: Connection, client_id: UUID) -> bool:
    """Whether nothing ever happened with this client's money."""
    untouched: bool = await connection.fetchval("select identity.is_untouched($1)", client_id)
    return untouched


async def has_other_old_id(connection: Connection, one: Created) -> bool:
    """Whether this client is another old client, too, by another run or by hand."""
    found = await connection.fetchval(
        """
        select 1 from identity.aliases where client_id = $1 and kind = 'client_id'
          and alias <> $2 and run is distinct from $3 limit 1
        """,
        one.client_id,
        one.old_id,
        one.run,
    )
    return found is not None


async def keep(connection: Connection, one: Created, why: str) -> None:
    """Somebody uses it: the row stays done, and says why."""
    await connection.execute(
        """
        update identity.migration_rows set state = 'kept', note = $3, updated_at = now()
        where run = $1 and line = $2
        """,
        one.run,
        one.line,
        why,
    )


async def unname(connection: Connection, one: Created) -> None:
    """Take the row's aliases; from now on the user is on the way out."""
    await connection.execute(
        """
        with back as (update identity.migration_rows set state = 'reverting', updated_at = now()
        where run = $1 and line = $2 returning run, client_id)
        delete from identity.aliases a using back b
        where a.client_id = b.client_id and (a.run = b.run or a.kind = 'id_tag')
        """,
        one.run,
        one.line,
    )


async def reverted(connection: Connection, one: Created) -> None:
    """The user is gone."""
    await connection.execute(
        """
        update identity.migration_rows set state = 'reverted', updated_at = now()
        where run = $1 and line = $2
        """,
        one.run,
        one.line,
    )


async def confirm(connection: Connection, run: int) -> None:
    """Aliases stay from now on; contacts kept for the plan go."""
    await connection.execute(
        "update identity.aliases set confirmed_at = now() where run = $1 and confirmed_at is null",
        run,
        timeout=HOUR_S,
    )
    await forget_contacts(connection, run)


async def forget_contacts(connection: Connection, run: int) -> None:
    """Erase what the plan kept of people, and what a reason quotes of it."""
    await connection.execute(
        """
        update identity.migration_rows set email = null, phone = null, name = null,
          detail = case when plan = 'invalid' or reason = 'contact_taken' then null else detail end
        where run = $1
        """,
        run,
        timeout=HOUR_S,
    )


async def insert_decision(
    connection: Connection, old_id: str, client_id: UUID, actor: str, reason: str
) -> bool:
    """Keep a decision about an old id that a run met and did not move; the newest stands."""
    found = await connection.fetchval(
        """
        insert into identity.migration_decisions (old_id, client_id, actor, reason)
        select $1, $2, $3, $4 where exists (select from identity.migration_rows
          where old_id = $1 and plan = 'conflict')
        on conflict (old_id) do update set client_id = excluded.client_id,
          actor = excluded.actor, reason = excluded.reason, at = now() returning true
        """,
        old_id,
        client_id,
        actor,
        reason,
    )
    return found is not None

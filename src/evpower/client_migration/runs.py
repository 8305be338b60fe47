"""After a run: confirm it, take it back, decide what it left to a person."""

from typing import Final
from uuid import UUID

import asyncpg

from evpower.client_migration import store, store_revert
from evpower.client_migration.model import (
    MigrationProgress,
    Reverted,
    RowRefused,
    Run,
    RunState,
    no_progress,
)
from evpower.client_migration.rate_limiter import RateLimiter
from evpower.client_migration.retry_policy import RetryPolicy
from evpower.client_migration.store_revert import Created
from evpower.client_migration.users import MARK
from evpower.foundation.db import Connection, Database
from evpower.identity import store as client_store
from evpower.identity.aliases import as_uuid
from evpower.identity.audit import record_act
from evpower.identity.supabase_admin import SupabaseAdmin

_BATCH: Final = 500
_MAX_WORDS: Final = 200


async def find_run(connection: Connection, run: int | None, states: list[RunState]) -> Run:
    """The run asked for, or the newest one in one of these states.

    Raises Refused("migration_not_found" | "migration_state").
    """
    found = await (
        store.latest_run(connection, states) if run is None else store.get_run(connection, run)
    )
    if found is None:
        what = (
            "there is no such run" if run is not None else "no run waits for it: none moved anybody"
        )
        raise RowRefused("migration_not_found", what)
    if found.state not in states:
        raise RowRefused("migration_state", f"run {found.id} is {found.state}")
    return found


async def confirm(connection: Connection, run: int | None, *, actor: str) -> Run:
    """Make a finished run final: it can't be taken back, and its copies of contacts are erased.

    Raises Refused.
    """
    found = await find_run(connection, run, ["done"])
    await store.be_patient(connection)
    if not await store.try_lock_here(connection):
        raise RowRefused("migration_busy", "another process is at a run")
    await store_revert.confirm(connection, found.id)
    await store.set_state(connection, found.id, "confirmed", ["done"])
    await record_act(
        connection, actor=actor, action="identity.confirm", subject=f"migration:{found.id}"
    )
    return found


async def decide(
    connection: Connection, old_id: str, client_id: UUID, *, actor: str, reason: str
) -> None:
    """Say whom an old client is; the next run does it. Raises Refused."""
    if not 0 < len(reason.strip()) <= _MAX_WORDS:
        raise RowRefused("reason_missing", f"reason must be 1 to {_MAX_WORDS} characters")
    own_id = as_uuid(old_id.strip())  # as a run reads it
    old_id = str(own_id) if own_id is not None else old_id.strip()
    if not await store_revert.insert_decision(connection, old_id, client_id, actor, reason):
        raise RowRefused("old_id_unknown", "no run has met this old id as a conflict")
    await record_act(
        connection,
        actor=actor,
        action="identity.decide",
        subject=f"client:{client_id}",
        reason=reason,
        details={"old_id": old_id},
    )


async def revert(
    db: Database,
    admin: SupabaseAdmin,
    run: int | None,
    *,
    actor: str,
    pace: RateLimiter,
    on_progress: MigrationProgress = no_progress,
) -> Reverted:
    """Take a run back: its aliases go, and the users it created, except those in use by now.

    A user who has signed in, or whose wallet ever moved, stays with its aliases. Users who were
    there before only lose the alias. May be stopped and run again. Raises Refused, Stopped,
    Unavailable.
    """
    async with store.alone(db):
        return await _revert(db, admin, run, actor, RetryPolicy(pace), on_progress)


async def _revert(
    db: Database,
    admin: SupabaseAdmin,
    run: int | None,
    actor: str,
    retries: RetryPolicy,
    on_progress: MigrationProgress,
) -> Reverted:
    async with db.transaction() as connection:
        found = await find_run(connection, run, ["running", "done", "reverting"])
        await store.be_patient(connection)
        await _set_reverting(connection, found)
        aliases = await store_revert.unname_adopted(connection, found.id)
        total = await store_revert.count_created(connection, found.id)
        marks = await store.marks(connection)
    after, done, users, kept = 0, 0, 0, 0
    while True:
        async with db.transaction() as connection:
            batch = await store_revert.created(connection, found.id, after, _BATCH)
        for one in batch:
            if await _take_back(db, admin, one, marks, retries):
                users += 1
            else:
                kept += 1
            done += 1
            on_progress(done, total)
        if not batch:
            break
        after = batch[-1].line
    async with db.transaction() as connection:
        await store.be_patient(connection)
        await store_revert.forget_contacts(connection, found.id)
        await store.set_state(connection, found.id, "reverted", ["reverting"])
        await record_act(
            connection,
            actor=actor,
            action="identity.revert",
            subject=f"migration:{found.id}",
            details={"aliases": aliases, "users": users, "kept": kept},
        )
    return Reverted(found.id, aliases, users, kept)


async def _set_reverting(connection: Connection, run: Run) -> None:
    try:
        async with connection.transaction():
            await store.set_state(connection, run.id, "reverting", ["running", "done", "reverting"])
    except asyncpg.UniqueViolationError as error:
        raise RowRefused(
            "migration_open",
            "another run was not finished: carry on with it, or take it back first",
        ) from error


async def _take_back(
    db: Database, admin: SupabaseAdmin, one: Created, marks: set[str], retries: RetryPolicy
) -> bool:
    """Delete a user we created if nobody used it; false: it stays, and the row says why."""
    user = await retries.call(lambda: admin.get_user(one.client_id))
    why = None
    if user is not None and str(user.app_metadata.get(MARK)) not in marks:
        why = "not_ours"
    elif user is not None and user.signed_in:
        why = "signed_in"
    async with db.transaction() as connection:
        client = await client_store.lock_client(connection, one.client_id)
        if why is None and one.state != "reverting":
            why = await _in_use(
                connection, one, is_blocked=bool(client and client.status == "blocked")
            )
        if why is not None:
            await store_revert.keep(connection, one, why)
            return False
        await client_store.set_status(connection, one.client_id, "closed", ["active"])
        await store_revert.unname(connection, one)
    if user is not None:
        await retries.call(lambda: admin.delete_user(one.client_id))
    async with db.transaction() as connection:
        await store_revert.reverted(connection, one)
    return True


async def _in_use(connection: Connection, one: Created, *, is_blocked: bool) -> str | None:
    why: str | None = None
    if is_blocked:  # closed and opened again, it would be free
        why = "client_blocked"
    elif one.client_before:  # to delete its user would close it
        why = "client_before"
    elif await store_revert.has_other_old_id(connection, one):
        why = "has_another_old_id"
    elif not await store_revert.is_untouched(connection, one.client_id):
        why = "wallet_used"
    return why

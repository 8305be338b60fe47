"""After a run: confirm it, revert it, or decide a conflict it left."""

from typing import Final
from uuid import UUID

import asyncpg

from evpower.client_migration import store, store_revert
from evpower.client_migration.model import (
    MigrationProgress,
    RevertResult,
    RowRefused,
    Run,
    RunState,
    no_progress,
)
from evpower.client_migration.rate_limiter import RateLimiter
from evpower.client_migration.retry_policy import RetryPolicy
from evpower.client_migration.store_revert import Created
from evpower.client_migration.users import RUN_KEY
from evpower.foundation.db import Connection, Database
from evpower.identity import SupabaseAdmin, as_uuid, lock_client, record_act, set_client_status

_BATCH: Final = 500
_MAX_REASON: Final = 200


async def find_run(connection: Connection, run: int | None, states: list[RunState]) -> Run:
    """Returns the run with this number, or the newest one in one of these states.

    Raises RowRefused("migration_not_found" | "migration_state").
    """
    target = await (
        store.latest_run(connection, states) if run is None else store.get_run(connection, run)
    )
    if target is None:
        reason = (
            "there is no such run"
            if run is not None
            else "no run waits for it: none moved a client"
        )
        raise RowRefused("migration_not_found", reason)
    if target.state not in states:
        raise RowRefused("migration_state", f"run {target.id} is {target.state}")
    return target


async def confirm(connection: Connection, run: int | None, *, actor: str) -> Run:
    """Makes a finished run final: it can't be reverted, and its copies of contacts are erased.

    Raises RowRefused.
    """
    target = await find_run(connection, run, ["done"])
    await store.disable_statement_timeout(connection)
    if not await store.try_lock_here(connection):
        raise RowRefused("migration_busy", "another process is at a run")
    await store_revert.confirm(connection, target.id)
    await store.set_state(connection, target.id, "confirmed", ["done"])
    await record_act(
        connection, actor=actor, action="identity.confirm", subject=f"migration:{target.id}"
    )
    return target


async def decide(
    connection: Connection, old_id: str, client_id: UUID, *, actor: str, reason: str
) -> None:
    """Stores which user an old client is; the next run applies it. Raises RowRefused."""
    if not 0 < len(reason.strip()) <= _MAX_REASON:
        raise RowRefused("reason_missing", f"reason must be 1 to {_MAX_REASON} characters")
    own_id = as_uuid(old_id.strip())  # normalised as a run does it
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
    rate_limiter: RateLimiter,
    on_progress: MigrationProgress = no_progress,
) -> RevertResult:
    """Reverts a run: removes its aliases and deletes the users it created, unless they are in use.

    A user that has signed in, or whose wallet was used, stays with its aliases. Users that existed
    before only lose their alias. May be stopped and called again. Raises RowRefused, RunStopped,
    Unavailable.
    """
    async with store.migration_lock(db):
        return await _revert(db, admin, run, actor, RetryPolicy(rate_limiter), on_progress)


async def _revert(
    db: Database,
    admin: SupabaseAdmin,
    run: int | None,
    actor: str,
    retries: RetryPolicy,
    on_progress: MigrationProgress,
) -> RevertResult:
    async with db.transaction() as connection:
        target = await find_run(connection, run, ["running", "done", "reverting"])
        await store.disable_statement_timeout(connection)
        await _set_reverting(connection, target)
        aliases = await store_revert.revert_linked(connection, target.id)
        total = await store_revert.count_created(connection, target.id)
        run_keys = await store.run_keys(connection)
    after, done, users, retained = 0, 0, 0, 0
    while True:
        async with db.transaction() as connection:
            batch = await store_revert.created(connection, target.id, after, _BATCH)
        for created in batch:
            if await _delete_user(db, admin, created, run_keys, retries):
                users += 1
            else:
                retained += 1
            done += 1
            on_progress(done, total)
        if not batch:
            break
        after = batch[-1].line
    async with db.transaction() as connection:
        await store.disable_statement_timeout(connection)
        await store_revert.erase_contacts(connection, target.id)
        await store.set_state(connection, target.id, "reverted", ["reverting"])
        await record_act(
            connection,
            actor=actor,
            action="identity.revert",
            subject=f"migration:{target.id}",
            details={"aliases": aliases, "users": users, "kept": retained},
        )
    return RevertResult(target.id, aliases, users, retained)


async def _set_reverting(connection: Connection, run: Run) -> None:
    try:
        async with connection.transaction():
            await store.set_state(connection, run.id, "reverting", ["running", "done", "reverting"])
    except asyncpg.UniqueViolationError as error:
        raise RowRefused(
            "migration_open",
            "another run was not finished: continue it, or revert it first",
        ) from error


async def _delete_user(
    db: Database, admin: SupabaseAdmin, created: Created, run_keys: set[str], retries: RetryPolicy
) -> bool:
    """Deletes a user that the run created; returns false when it is retained, being in use."""
    user = await retries.call(lambda: admin.get_user(created.client_id))
    reason = None
    if user is not None and str(user.app_metadata.get(RUN_KEY)) not in run_keys:
        reason = "not_ours"
    elif user is not None and user.signed_in:
        reason = "signed_in"
    async with db.transaction() as connection:
        client = await lock_client(connection, created.client_id)
        if reason is None and created.state != "reverting":
            reason = await _in_use(
                connection, created, is_blocked=bool(client and client.status == "blocked")
            )
        if reason is not None:
            await store_revert.retain(connection, created, reason)
            return False
        await set_client_status(connection, created.client_id, "closed", ["active"])
        await store_revert.begin_revert(connection, created)
    if user is not None:
        await retries.call(lambda: admin.delete_user(created.client_id))
    async with db.transaction() as connection:
        await store_revert.finish_revert(connection, created)
    return True


async def _in_use(connection: Connection, created: Created, *, is_blocked: bool) -> str | None:
    reason: str | None = None
    if is_blocked:  # a revert closes it, and opening it again would lift the block
        reason = "client_blocked"
    elif created.client_before:  # deleting its user would close it
        reason = "client_before"
    elif await store_revert.has_other_old_id(connection, created):
        reason = "has_another_old_id"
    elif not await store_revert.is_untouched(connection, created.client_id):
        reason = "wallet_used"
    return reason

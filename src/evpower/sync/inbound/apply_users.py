"""Applies the users of one transaction, each in a savepoint; one that fails is retried later."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final
from uuid import UUID

import asyncpg
import structlog

from evpower.foundation.backoff import Backoff
from evpower.foundation.clock import Clock
from evpower.foundation.db import LOST, Connection
from evpower.identity import Profile, ensure_new_clients
from evpower.sync import metrics
from evpower.sync.inbound import store_changes
from evpower.sync.inbound.apply_user import (
    UserResult,
    apply_user,
    is_new_user,
    is_same,
    profile_from,
)
from evpower.sync.inbound.model_changes import PullResult
from evpower.sync.inbound.remote_users import RemoteUser
from evpower.sync.inbound.store_changes import FailedUser

_RETRY: Final = Backoff(1.0, 300.0)
_log = structlog.get_logger()


@dataclass(slots=True)
class BatchResult:
    """The results for the users of one transaction; unchanged users are left out."""

    results: list[UserResult] = field(default_factory=list[UserResult])
    failed: dict[FailedUser, str] = field(default_factory=dict[FailedUser, str])

    def pull_result(
        self, *, changes: int = 0, scanned: int = 0, more: bool = False, is_blocked: bool = False
    ) -> PullResult:
        """Returns the counts."""
        return PullResult(
            changes=changes,
            scanned=scanned,
            applied=sum(result.outcome != "same" for result in self.results),
            created=sum(result.created for result in self.results),
            closed=sum(result.closed for result in self.results),
            failed=len(self.failed),
            contact_released=any(result.contact_released for result in self.results),
            more=more,
            is_blocked=is_blocked,
        )


async def apply_users(
    connection: Connection,
    users: Sequence[RemoteUser],
    *,
    deleted_users: Collection[UUID],
    blocked_before: Collection[UUID],
    clock: Clock,
    jitter: Callable[[], float],
    anonymous_clients: bool = False,
) -> BatchResult:
    """Applies the users in the order of their ids, so that all transactions lock in one order.

    Anonymous users without a client are left out unless `anonymous_clients`.
    """
    batch = BatchResult()
    ids = [user.id for user in users]
    known = await store_changes.known(connection, ids)
    if not anonymous_clients:
        users = [user for user in users if user.id in known or not user.anonymous]
    before = await store_changes.failed_among(connection, ids)
    special = {*deleted_users, *blocked_before, *before, *known}
    created = await _create(connection, [user for user in users if user.id not in special])
    batch.results += created.values()
    for user in sorted(users, key=lambda user: user.id):
        if user.id in created:
            continue
        failure = before.get(user.id)
        is_deleted = user.id in deleted_users or (failure is not None and failure.user_deleted)
        is_blocked_before = user.id in blocked_before or (
            failure is not None and failure.blocked_before
        )
        unchanged = is_same(
            user, known.get(user.id), user_deleted=is_deleted, blocked_before=is_blocked_before
        )
        if failure is None and unchanged:
            continue
        try:
            async with connection.transaction():
                batch.results.append(
                    await apply_user(
                        connection,
                        user,
                        user_deleted=is_deleted,
                        blocked_before=is_blocked_before,
                        clock=clock,
                    )
                )
        except LOST:
            raise
        except Exception as error:  # noqa: BLE001 - one user must not block the others
            attempts = failure.attempts + 1 if failure is not None else 1
            reason = _error_text(error)
            _log.error(
                "user_apply_failed", client_id=str(user.id), reason=reason, attempts=attempts
            )
            batch.failed[FailedUser(user.id, is_deleted, is_blocked_before, attempts)] = reason
    still_failed = {failed.id for failed in batch.failed}
    if done := [user_id for user_id in before if user_id not in still_failed]:
        await store_changes.delete_failed(connection, done)
    if batch.failed:
        now = clock()
        at = [
            now + timedelta(seconds=_RETRY.pause_s(user.attempts, jitter)) for user in batch.failed
        ]
        await store_changes.store_failed(connection, list(batch.failed.items()), at)
    _count(batch, len(users))
    return batch


async def _create(connection: Connection, users: Sequence[RemoteUser]) -> dict[UUID, UserResult]:
    """Creates the clients of new users in one statement; the rest is applied one by one."""
    new = {user.id: user for user in users if is_new_user(user)}
    if not new:
        return {}
    profiles = {user_id: profile_from(user, Profile()) for user_id, user in new.items()}
    try:
        async with connection.transaction():
            created = await ensure_new_clients(connection, profiles, "supabase")
    except LOST:
        raise
    except asyncpg.PostgresError as error:
        _log.warning("batch_insert_fell_back", reason=_error_text(error), users=len(new))
        return {}
    return {
        user_id: UserResult(
            user_id, created=True, conflicts=() if new[user_id].user else ("row_alone",)
        )
        for user_id in created
    }


def _count(batch: BatchResult, total: int) -> None:
    metrics.USERS.labels("same").inc(total - len(batch.results) - len(batch.failed))
    metrics.USERS.labels("failed").inc(len(batch.failed))
    for result in batch.results:
        metrics.USERS.labels(result.outcome).inc()


def _error_text(error: Exception) -> str:
    """Returns the first line of an error: the other lines quote what users typed."""
    return f"{type(error).__name__}: {error}".partition("\n")[0][:300]

"""The puller applies changes from Supabase: the log names users, which are read as they are now.

An older read never overwrites a newer one, whatever number of pullers run. Every transaction that
applies users first raises the cursor's revision, and only from the value read before the request to
Supabase. So no other transaction applied users between the read of the cursor and the commit; a
puller that loses discards its page. A user applied with revision r was therefore read after
everything applied before r was committed, and so after the changes those pages named. A change
after the read gets a row in the log behind the cursor, and the user is read again.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, cast
from uuid import UUID

import orjson
import structlog

from evpower.foundation import failpoints
from evpower.foundation.db import Connection
from evpower.foundation.failpoints import Failpoint
from evpower.foundation.loops import Loop, Pause, Round
from evpower.identity import CLIENT_CHANGED
from evpower.sync import metrics
from evpower.sync.errors import SyncError, TargetBusy, TargetRefuses, is_too_much
from evpower.sync.inbound import conflicts, store_changes
from evpower.sync.inbound.apply_users import BatchResult, apply_users
from evpower.sync.inbound.assign_contacts import assign_free_contacts
from evpower.sync.inbound.model_changes import ChangePage, PullResult, read_changes, read_users
from evpower.sync.inbound.pull_limiter import PullLimiter
from evpower.sync.inbound.remote_users import RemoteUser
from evpower.sync.inbound.store_changes import Cursor
from evpower.sync.model import SUPABASE_CHANGED
from evpower.sync.supabase_job import SupabaseJob

_PAGE: Final = 200  # changes applied in one transaction
_SCAN_PAGE: Final = 500  # users; most of a full scan are unchanged
_RETRIED: Final = 100
# Pauses before reading again: Supabase returns a change only when every older transaction has
# ended.
_BLOCKED_RETRIES_S: Final = (0.015, 0.03, 0.05, 0.08, 0.12, 0.2)
_CONTACTS_EVERY_S: Final = 15.0
_NOTIFIED_ONLY_S: Final = 3600.0  # period of processes that pull only when notified
# Of one process: a change is pulled at once, and many a second together, 50 ms later at most.
_PULLS_AT_ONCE: Final = 20
_PULLS_PER_S: Final = 20.0
KEEP_DAYS: Final = 7
_PRUNE_CALLS: Final = 100  # of 20,000 changes each: more than Supabase may get in an hour
_log = structlog.get_logger()


class Puller(SupabaseJob):
    """Any number of pullers may run in any number of processes."""

    _target = "changes"
    _last_error = ""
    _contacts_at: datetime | None = None
    _share = 1.0  # of a page: smaller while Supabase can't return a whole one

    def loop(self, *, periodic: bool = True, limiter: PullLimiter | None = None) -> Loop:
        """Returns the loop that pulls when notified and, if `periodic`, every few seconds.

        Without `periodic` it pulls only changes; full scans and retries are left to other
        processes. Notifications that come faster than `limiter` allows are pulled together.
        """
        pull_limiter = limiter or PullLimiter(_PULLS_AT_ONCE, _PULLS_PER_S)

        async def pull(current: Round) -> Pause:
            pulled = await self._work(current, full=periodic)
            if pulled.is_blocked:
                await self._pull_while_blocked(current)
            if (wait_s := pull_limiter.count()) > 0:  # notifications meanwhile: the next round
                await current.pause(wait_s)
            return self._pause(periodic=periodic)

        poll_s = self._settings.pull_poll_s
        return Loop(
            "puller",
            pull,
            period_s=poll_s if periodic else _NOTIFIED_ONLY_S,
            retry_s=poll_s,
            wakeup=self._wakeup,
            around=lambda: self._woken_by(lambda topic: topic == SUPABASE_CHANGED),
        )

    async def run(self, stop: asyncio.Event, *, periodic: bool = True) -> None:
        """Pulls until `stop` is set."""
        await self.loop(periodic=periodic).run(stop)

    async def pull_once(self) -> PullResult:
        """Pulls one page of changes. A failure of Supabase is returned as `error`, not raised.

        Raises Unavailable when EvPower's own database does not respond.
        """
        return await self._guarded(self._pull_page)

    async def drain(self) -> PullResult:
        """Pulls until nothing is left or Supabase fails: changes, a full scan, retries."""
        return await self._work(Round(), full=True)

    async def scan_all(self, on_progress: Callable[[int], None] = lambda _: None) -> PullResult:
        """Scans all users of Supabase; returns at the end, or when Supabase fails."""
        async with self._db.transaction() as connection:
            await store_changes.start_scan(connection)
        return await self._work(Round(), full=True, on_progress=on_progress)

    async def prune(self, current: Round | None = None) -> int:
        """Makes Supabase delete changes applied a week ago. Returns how many."""
        async with self._db.connection() as connection:
            cursor = await store_changes.cursor(connection)
        if cursor.xid is None:
            return 0
        request = {"before": {"xid": cursor.xid, "seq": cursor.seq}, "keep_days": KEEP_DAYS}
        total = 0
        for _ in range(_PRUNE_CALLS):
            if current is not None:
                current.progress()
            try:
                response = await self._ask("evpower_changes_prune", request)
            except SyncError as error:
                _log.info("change_log_prune_failed", error=str(error)[:300])
                break
            pruned = (
                cast("Mapping[str, object]", response).get("pruned")
                if isinstance(response, dict)
                else 0
            )
            total += pruned if isinstance(pruned, int) else 0
            if not pruned:
                break
        return total

    async def _work(
        self,
        current: Round,
        *,
        full: bool,
        on_progress: Callable[[int], None] = lambda _: None,
    ) -> PullResult:
        total = PullResult()
        while not current.stopping:
            page = await self._guarded(self._pull_page)
            total += page
            current.progress()
            if page.error is None and not page.more and full:
                page = await self._guarded(self._scan_page)
                total += page
                if page.scanned:
                    on_progress(total.scanned)
            if page.discarded:  # another puller applied users
                await current.pause(0.02 + 0.08 * self._jitter())
            if page.error is not None or not page.more:
                break
        if full and total.error is None and not current.stopping:
            total += await self._guarded(self._retry_failed)
        if total.error is not None:
            current.failed(f"supabase_{'busy' if self._state == 'up' else self._state or 'down'}")
        await self._assign_free_contacts(total, full=full)
        return total

    async def _pull_while_blocked(self, current: Round) -> None:
        """Pulls again soon: the transaction that blocks a change ends without a notification."""
        for pause_s in _BLOCKED_RETRIES_S:
            await current.pause(pause_s)
            if current.stopping:
                return
            pulled = await self._work(current, full=False)
            if not pulled.is_blocked or pulled.error is not None:
                return

    def _pause(self, *, periodic: bool) -> Pause:
        """Returns the pause until the next poll; a notification ends it unless Supabase is down."""
        wait_s = self._breaker.wait_s()
        if wait_s > 0:
            return Pause(wait_s, wakeable=False)
        if not periodic:
            return Pause(_NOTIFIED_ONLY_S)
        return Pause(self._settings.pull_poll_s * (0.9 + 0.2 * self._jitter()))

    async def _guarded(self, work: Callable[[], Awaitable[PullResult]]) -> PullResult:
        """Runs `work` unless the breaker is open; stores and returns what failed."""
        if not self._breaker.allows():
            return PullResult(error=self._last_error or "Supabase does not respond")
        try:
            pulled = await work()
        except SyncError as error:
            busy = isinstance(error, TargetBusy)  # concerns this call alone: Supabase is up
            if not busy:
                self._breaker.failed()
            if is_too_much(error):  # at least one row, so that the next ones are read too
                self._share = max(1 / _SCAN_PAGE, self._share / 4)
            refuses = isinstance(error, TargetRefuses)
            state = "busy" if busy else "misconfigured" if refuses else "down"
            self._last_error = str(error)
            metrics.PULLS.labels(state).inc()
            if not busy:
                await self._set_state(state, self._last_error[:300])
            return PullResult(error=self._last_error)
        finally:
            self._breaker.unused()
        return pulled

    async def _ask(self, function: str, payload: Mapping[str, object]) -> object:
        return await self._rpc.call(function, orjson.dumps({"payload": payload}))

    def _sized(self, page: int) -> int:
        return max(1, int(page * self._share))

    async def _record_success(self) -> None:
        self._breaker.succeeded()
        self._share = min(1.0, self._share * 2)
        await self._set_state("up", None)

    # -- changes -------------------------------------------------------------------------------

    async def _pull_page(self) -> PullResult:
        async with self._db.connection() as connection:
            cursor = await store_changes.cursor(connection)
        after = {"xid": cursor.xid, "seq": cursor.seq} if cursor.xid is not None else None
        raw = await self._ask("evpower_changes", {"after": after, "limit": self._sized(_PAGE)})
        page = read_changes(raw)
        await self._record_success()
        if page.reset:
            return await self._restart(cursor)
        if not page.changes:
            if page.is_end:
                await self._record_log_end()
            return PullResult(is_blocked=page.is_blocked)
        failpoints.hit(Failpoint.PULL_READ)
        last = page.changes[-1]
        async with self._db.transaction() as connection:
            if not await store_changes.advance(connection, cursor.revision, last.xid, last.seq):
                metrics.PULLS.labels("discarded").inc()
                return PullResult(discarded=1, more=True)
            batch = await self._apply_users(
                connection, page.all_users, page.deleted_users, page.blocked_before
            )
            failpoints.hit(Failpoint.PULL_UNCOMMITTED)
        failpoints.hit(Failpoint.PULL_COMMITTED)
        self._count_changes(page)
        self._publish_results(batch)
        if page.is_end:
            await self._record_log_end()
        return batch.pull_result(
            changes=len(page.changes), more=page.more, is_blocked=page.is_blocked
        )

    async def _restart(self, cursor: Cursor) -> PullResult:
        async with self._db.transaction() as connection:
            done = await store_changes.restart(connection, cursor.revision)
        if done:
            _log.warning("supabase_restore_detected", cursor=f"{cursor.xid}:{cursor.seq}")
            metrics.PULLS.labels("reset").inc()
        return PullResult(reset=done, discarded=0 if done else 1, more=True)

    async def _record_log_end(self) -> None:
        metrics.CURSOR_AGE_SECONDS.set(0)
        async with self._db.connection() as connection:
            await store_changes.record_log_end(connection)

    def _count_changes(self, page: ChangePage) -> None:
        metrics.PULLS.labels("ok").inc()
        now = self._clock()
        for change in page.changes:
            metrics.PULLED.labels(change.label).inc()
            if change.at is not None:
                metrics.PULL_LAG_SECONDS.observe(max(0.0, (now - change.at).total_seconds()))
        if page.foreign:
            metrics.CONFLICTS.labels("foreign_id").inc(page.foreign)

    # -- full scan -----------------------------------------------------------------------------

    async def _scan_page(self) -> PullResult:
        """Applies the next page of users, if a full scan runs."""
        async with self._db.connection() as connection:
            cursor = await store_changes.cursor(connection)
        if not cursor.scanning:
            return PullResult()
        payload = {"after": cursor.scan_after, "limit": self._sized(_SCAN_PAGE)}
        page = read_users(await self._ask("evpower_people", payload))
        await self._record_success()
        async with self._db.transaction() as connection:
            if not await store_changes.advance_scan(
                connection, cursor.revision, page.next, page.size
            ):
                return PullResult(discarded=1, more=True)
            batch = await self._apply_users(connection, page.users)
        if page.next is None:
            _log.info("full_scan_finished", users=cursor.scanned + page.size)
        conflicts.count(kind for result in batch.results for kind in result.conflicts)
        return batch.pull_result(scanned=page.size, more=page.next is not None)

    # -- retries -------------------------------------------------------------------------------

    async def _retry_failed(self) -> PullResult:
        async with self._db.connection() as connection:
            cursor = await store_changes.cursor(connection)
            due = await store_changes.due_failed(connection, self._clock(), self._sized(_RETRIED))
        if not due:
            return PullResult()
        ids = [failed.id for failed in due]
        page = read_users(
            await self._ask("evpower_people", {"ids": [str(user_id) for user_id in ids]})
        )
        await self._record_success()
        records = {user.id: user for user in page.users}
        all_users = [records.get(user_id, RemoteUser(user_id)) for user_id in ids]
        async with self._db.transaction() as connection:
            if not await store_changes.raise_revision(connection, cursor.revision):
                return PullResult(discarded=1)
            batch = await self._apply_users(connection, all_users)
        self._publish_results(batch)
        return batch.pull_result()

    async def _assign_free_contacts(self, pulled: PullResult, *, full: bool) -> None:
        """Gives free contacts to clients that wait; also regularly, as operators close clients."""
        now = self._clock()
        due = self._contacts_at is None or now >= self._contacts_at
        if not pulled.contact_released and not (full and due):
            return
        self._contacts_at = now + timedelta(seconds=_CONTACTS_EVERY_S)
        for client in await assign_free_contacts(self._db):
            _log.info("contact_assigned", client_id=str(client))
            self._publish(client)

    async def _apply_users(
        self,
        connection: Connection,
        users: Sequence[RemoteUser],
        deleted_users: Collection[UUID] = (),
        blocked_before: Collection[UUID] = (),
    ) -> BatchResult:
        return await apply_users(
            connection,
            users,
            deleted_users=deleted_users,
            blocked_before=blocked_before,
            clock=self._clock,
            jitter=self._jitter,
            anonymous_clients=self._settings.anonymous_clients,
        )

    def _publish_results(self, batch: BatchResult) -> None:
        """After the commit: counts conflicts, and publishes the changed clients."""
        conflicts.count(kind for result in batch.results for kind in result.conflicts)
        for result in batch.results:
            if result.created or result.changed or result.sent_again:
                self._publish(result.client_id)

    def _publish(self, client_id: UUID) -> None:
        if self._bus is not None:
            self._bus.publish(CLIENT_CHANGED, client_id)

    async def _set_state(self, state: str, error: str | None) -> None:
        metrics.PULLER_UP.set(state == "up")
        if self._saw(state, error):
            if state == "misconfigured":
                _log.error("pull_request_refused", error=error)
            else:
                _log.info("pull_state_changed", state=state, error=error)
        await self._store_state()

"""The puller brings changes from Supabase: who changed is read there, as they are now.

Why an old reading never overwrites a newer one, whatever number of pullers run: every transaction
that takes people first raises the cursor's revision, and only from the value seen before it asked
Supabase. So between the look at the cursor and the commit nobody else took anybody; whoever lost
throws away what was read. A person taken with revision r was therefore read after everything taken
before r was committed, and so after the changes those pages named. What changes after the reading
gets a row in the log behind the cursor, and the person is read again.
"""

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Final, cast
from uuid import UUID

import orjson
import structlog

from evpower.config import Settings
from evpower.foundation import failpoints
from evpower.foundation.bus import Bus, Topic
from evpower.foundation.clock import Clock
from evpower.foundation.db import Connection, Database
from evpower.foundation.failpoints import Failpoint
from evpower.foundation.loops import Loop, Pause, Round, Wakeup
from evpower.identity import CLIENT_CHANGED
from evpower.sync import metrics
from evpower.sync.breaker import Breaker
from evpower.sync.errors import SyncError, TargetBusy, TargetRefuses, is_too_much
from evpower.sync.inbound import conflicts, store_changes
from evpower.sync.inbound.apply_user import give_free_contacts
from evpower.sync.inbound.apply_users import UserResult, take_people
from evpower.sync.inbound.model_changes import Changes, Pulled, read_changes, read_people
from evpower.sync.inbound.remote_users import RemoteUser
from evpower.sync.inbound.store_changes import Cursor
from evpower.sync.model import SUPABASE_CHANGED
from evpower.sync.supabase_rpc import Rpc

_PAGE: Final = 200  # changes taken in one transaction
_WALK_PAGE: Final = 500  # most people of a walk are as they were
_RETRIED: Final = 100
# A change is told only when every older transaction has ended.
_ECHOES_S: Final = (0.015, 0.03, 0.05, 0.08, 0.12, 0.2)
_CONTACTS_EVERY_S: Final = 15.0
_UNASKED_S: Final = 3600.0  # where nothing is pulled but by notifications
_KEEP_DAYS: Final = 7
_PRUNE_CALLS: Final = 100  # of 20,000 changes at most: as many as Supabase may get in an hour
_log = structlog.get_logger()


class Puller:
    """Any number may run, in any number of processes."""

    def __init__(
        self,
        db: Database,
        rpc: Rpc,
        settings: Settings,
        clock: Clock,
        bus: Bus | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._db = db
        self._rpc = rpc
        self._settings = settings
        self._clock = clock
        self._bus = bus
        self._jitter = jitter
        self._breaker = Breaker(clock, jitter)
        self._wakeup = Wakeup()
        self._state = ""
        self._said = ""
        self._contacts_at: datetime | None = None
        self._share = 1.0  # of a page: a smaller one where Supabase can't give all of it

    def loop(self, *, periodic: bool = True) -> Loop:
        """Return the loop that pulls when notified, and when `periodic` every few seconds too.

        Without `periodic` only changes are pulled; walks and second tries are left to others.
        """

        async def pull(current: Round) -> Pause:
            pulled = await self._work(current, thorough=periodic)
            if pulled.held:
                await self._listen_on(current)
            return self._pause(periodic=periodic)

        poll_s = self._settings.pull_poll_s
        return Loop(
            "puller",
            pull,
            period_s=poll_s if periodic else _UNASKED_S,
            retry_s=poll_s,
            wakeup=self._wakeup,
            around=self._listening,
        )

    async def run(self, stop: asyncio.Event, *, periodic: bool = True) -> None:
        """Pull until `stop` is set."""
        await self.loop(periodic=periodic).run(stop)

    @asynccontextmanager
    async def _listening(self) -> AsyncGenerator[None]:
        def heard(topic: Topic, _key: UUID) -> None:
            if topic == SUPABASE_CHANGED:
                self._wakeup.notify()

        end = self._bus.subscribe(heard) if self._bus else None
        try:
            yield
        finally:
            if end is not None:
                end()

    async def pull_once(self) -> Pulled:
        """One page of changes. A Supabase that fails is told in the answer, never raised.

        Raises Unavailable when EvPower's own database does not answer.
        """
        return await self._guarded(self._pull_page)

    async def drain(self) -> Pulled:
        """Pull until nothing more is there or Supabase fails: changes, a walk, second tries."""
        return await self._work(Round(), thorough=True)

    async def walk_all(self, on_progress: Callable[[int], None] = lambda _: None) -> Pulled:
        """Look at everybody Supabase has; answers when all were seen, or Supabase fails."""
        async with self._db.transaction() as connection:
            await store_changes.start_walk(connection)
        return await self._work(Round(), thorough=True, on_progress=on_progress)

    async def prune(self, current: Round | None = None) -> int:
        """Have Supabase forget changes that were taken a week ago; answers how many."""
        async with self._db.connection() as connection:
            at = await store_changes.cursor(connection)
        if at.xid is None:
            return 0
        asked = {"before": {"xid": at.xid, "seq": at.seq}, "keep_days": _KEEP_DAYS}
        total = 0
        for _ in range(_PRUNE_CALLS):
            if current is not None:
                current.progress()
            try:
                raw = await self._ask("evpower_changes_prune", asked)
            except SyncError as error:
                _log.info("changes_not_pruned", error=str(error)[:300])
                break
            pruned = cast("Mapping[str, object]", raw).get("pruned") if isinstance(raw, dict) else 0
            total += pruned if isinstance(pruned, int) else 0
            if not pruned:
                break
        return total

    async def _work(
        self,
        current: Round,
        *,
        thorough: bool,
        on_progress: Callable[[int], None] = lambda _: None,
    ) -> Pulled:
        total = Pulled()
        while not current.stopping:
            one = await self._guarded(self._pull_page)
            total += one
            current.progress()
            if one.error is None and not one.more and thorough:
                one = await self._guarded(self._walk_page)
                total += one
                if one.walked:
                    on_progress(total.walked)
            if one.discarded:  # somebody else is at it
                await current.pause(0.02 + 0.08 * self._jitter())
            if one.error is not None or not one.more:
                break
        if thorough and total.error is None and not current.stopping:
            total += await self._guarded(self._retry_failed)
        if total.error is not None:
            current.failed(f"supabase_{'busy' if self._state == 'up' else self._state or 'down'}")
        await self._give_contacts(total, thorough=thorough)
        return total

    async def _listen_on(self, current: Round) -> None:
        """Look again soon: an older transaction in Supabase blocks a change, its end is silent."""
        for pause_s in _ECHOES_S:
            await current.pause(pause_s)
            if current.stopping:
                return
            pulled = await self._work(current, thorough=False)
            if not pulled.held or pulled.error is not None:
                return

    def _pause(self, *, periodic: bool) -> Pause:
        """Until a notification or the next time; while Supabase is down only time counts."""
        wait_s = self._breaker.wait_s()
        if wait_s > 0:
            return Pause(wait_s, wakeable=False)
        if not periodic:
            return Pause(_UNASKED_S)
        return Pause(self._settings.pull_poll_s * (0.9 + 0.2 * self._jitter()))

    async def _guarded(self, work: Callable[[], Awaitable[Pulled]]) -> Pulled:
        """Ask nothing while the breaker is open, and keep what went wrong."""
        if not self._breaker.allows():
            return Pulled(error=self._said or "Supabase does not answer")
        try:
            pulled = await work()
        except SyncError as error:
            busy = isinstance(error, TargetBusy)  # this call alone: Supabase is up
            if not busy:
                self._breaker.failed()
            if is_too_much(error):  # one row at least: the others behind it must come through
                self._share = max(1 / _WALK_PAGE, self._share / 4)
            refuses = isinstance(error, TargetRefuses)
            state = "busy" if busy else "misconfigured" if refuses else "down"
            self._said = str(error)
            metrics.PULLS.labels(state).inc()
            if not busy:
                await self._set_state(state, self._said[:300])
            return Pulled(error=self._said)
        finally:
            self._breaker.unused()
        return pulled

    async def _ask(self, function: str, payload: Mapping[str, object]) -> object:
        return await self._rpc.call(function, orjson.dumps({"payload": payload}))

    def _sized(self, page: int) -> int:
        return max(1, int(page * self._share))

    async def _answered(self) -> None:
        self._breaker.succeeded()
        self._share = min(1.0, self._share * 2)
        await self._set_state("up", None)

    # -- changes -------------------------------------------------------------------------------

    async def _pull_page(self) -> Pulled:
        async with self._db.connection() as connection:
            at = await store_changes.cursor(connection)
        after = {"xid": at.xid, "seq": at.seq} if at.xid is not None else None
        raw = await self._ask("evpower_changes", {"after": after, "limit": self._sized(_PAGE)})
        page = read_changes(raw)
        await self._answered()
        if page.reset:
            return await self._begin_again(at)
        if not page.changes:
            if not page.more:
                await self._note_end()
            return Pulled(held=page.held)
        failpoints.hit(Failpoint.PULL_READ)
        last = page.changes[-1]
        async with self._db.transaction() as connection:
            if not await store_changes.advance(connection, at.revision, last.xid, last.seq):
                metrics.PULLS.labels("discarded").inc()
                return Pulled(discarded=1, more=True)
            taken = await self._take(connection, page.everyone, page.gone, page.blocked_before)
            failpoints.hit(Failpoint.PULL_UNCOMMITTED)
        failpoints.hit(Failpoint.PULL_COMMITTED)
        self._count_changes(page)
        self._tell(taken)
        if not page.more:
            await self._note_end()
        return taken.told(changes=len(page.changes), more=page.more, held=page.held)

    async def _begin_again(self, at: Cursor) -> Pulled:
        async with self._db.transaction() as connection:
            done = await store_changes.begin_again(connection, at.revision)
        if done:
            _log.warning("supabase_was_restored", cursor=f"{at.xid}:{at.seq}")
            metrics.PULLS.labels("reset").inc()
        return Pulled(reset=done, discarded=0 if done else 1, more=True)

    async def _note_end(self) -> None:
        metrics.CURSOR_AGE_SECONDS.set(0)
        async with self._db.connection() as connection:
            await store_changes.note_end(connection)

    def _count_changes(self, page: Changes) -> None:
        metrics.PULLS.labels("ok").inc()
        now = self._clock()
        for change in page.changes:
            metrics.PULLED.labels(change.word).inc()
            if change.at is not None:
                metrics.PULL_LAG_SECONDS.observe(max(0.0, (now - change.at).total_seconds()))
        if page.foreign:
            metrics.CONFLICTS.labels("foreign_id").inc(page.foreign)

    # -- everybody -----------------------------------------------------------------------------

    async def _walk_page(self) -> Pulled:
        """The next people of a walk that was begun, if one was."""
        async with self._db.connection() as connection:
            at = await store_changes.cursor(connection)
        if not at.walking:
            return Pulled()
        payload = {"after": at.walk_after, "limit": self._sized(_WALK_PAGE)}
        page = read_people(await self._ask("evpower_people", payload))
        await self._answered()
        async with self._db.transaction() as connection:
            if not await store_changes.walk_on(connection, at.revision, page.next, page.size):
                return Pulled(discarded=1, more=True)
            taken = await self._take(connection, page.people)
        if page.next is None:
            _log.info("everybody_was_seen", people=at.walked + page.size)
        conflicts.count(kind for one in taken.accepted for kind in one.conflicts)
        return taken.told(walked=page.size, more=page.next is not None)

    # -- second tries --------------------------------------------------------------------------

    async def _retry_failed(self) -> Pulled:
        async with self._db.connection() as connection:
            at = await store_changes.cursor(connection)
            due = await store_changes.due_failed(connection, self._clock(), self._sized(_RETRIED))
        if not due:
            return Pulled()
        ids = [one.id for one in due]
        page = read_people(await self._ask("evpower_people", {"ids": [str(one) for one in ids]}))
        await self._answered()
        found = {person.id: person for person in page.people}
        everyone = [found.get(one, RemoteUser(one)) for one in ids]
        async with self._db.transaction() as connection:
            if not await store_changes.take(connection, at.revision):
                return Pulled(discarded=1)
            taken = await self._take(connection, everyone)
        self._tell(taken)
        return taken.told()

    async def _give_contacts(self, pulled: Pulled, *, thorough: bool) -> None:
        """Who waits for a contact gets it when it is free; an operator may have closed a client."""
        now = self._clock()
        due = self._contacts_at is None or now >= self._contacts_at
        if not pulled.contact_released and not (thorough and due):
            return
        self._contacts_at = now + timedelta(seconds=_CONTACTS_EVERY_S)
        for client in await give_free_contacts(self._db):
            _log.info("contact_given_over", client_id=str(client))
            self._publish(client)

    async def _take(
        self,
        connection: Connection,
        people: Sequence[RemoteUser],
        gone: Collection[UUID] = (),
        blocked_before: Collection[UUID] = (),
    ) -> UserResult:
        return await take_people(
            connection,
            people,
            gone=gone,
            blocked_before=blocked_before,
            clock=self._clock,
            jitter=self._jitter,
            anonymous_clients=self._settings.anonymous_clients,
        )

    def _tell(self, taken: UserResult) -> None:
        """After the commit: count what was met, and wake the relay and those who watch."""
        conflicts.count(kind for one in taken.accepted for kind in one.conflicts)
        for one in taken.accepted:
            if one.created or one.changed or one.sent_again:
                self._publish(one.client_id)

    def _publish(self, client_id: UUID) -> None:
        if self._bus is not None:
            self._bus.publish(CLIENT_CHANGED, client_id)

    async def _set_state(self, state: str, error: str | None) -> None:
        metrics.PULLER_UP.set(state == "up")
        if state == self._state:
            return
        self._state = state
        if state == "misconfigured":
            _log.error("supabase_refuses_to_tell_changes", error=error)
        else:
            _log.info("supabase_changes_state", state=state, error=error)
        async with self._db.connection() as connection:
            await store_changes.set_source(connection, state, error)

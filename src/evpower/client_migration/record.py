"""Writes down what was done for rows: client, aliases and balance of a row in one transaction.

Many rows share one transaction and its statements: those that came while the last one was written.
A row that is not like the others, or a batch the database refuses, is written by itself.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import asyncpg
import structlog

from evpower.client_migration import store, store_record
from evpower.client_migration.model import Carry, NotMoved, RowWork, Stopped
from evpower.foundation.db import Connection, Database
from evpower.foundation.errors import Conflict, Invalid, Unavailable
from evpower.identity import clients
from evpower.identity import store as client_store
from evpower.identity.aliases import as_uuid
from evpower.identity.model import Profile

_TRIES: Final = 6
_BATCH: Final = 100

_log: Final = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Made:
    """A row whose user is there. `profile` is the client's, if the client is not there yet."""

    work: RowWork
    profile: Profile
    note: str | None


@dataclass(slots=True)
class Recorder:
    """Takes rows from `made` until it gets None; `moved` counts those it wrote down."""

    db: Database
    carry: Carry
    made: asyncio.Queue[Made | None]
    moved: int = 0
    ended: bool = field(default=False, init=False)

    async def run(self, on_written: Callable[[int], None]) -> None:
        """Write down what comes, telling how many rows now. Raises Stopped."""
        while not self.ended:
            batch = await self._next()
            for one in await self._write_together(batch):
                await self._write_alone(one)
            if batch:
                on_written(len(batch))

    async def _next(self) -> list[Made]:
        one = await self.made.get()
        batch: list[Made] = []
        while one is not None and len(batch) < _BATCH - 1 and not self.made.empty():
            batch.append(one)
            one = self.made.get_nowait()
        if one is None:
            self.ended = True
        else:
            batch.append(one)
        return batch

    async def _write_together(self, batch: Sequence[Made]) -> list[Made]:
        """Answer those that must be looked at one by one."""
        together = [one for one in batch if one.work.plan != "add"]
        if len(together) < 2:  # noqa: PLR2004 - a batch is more than one
            return list(batch)
        try:
            async with self.db.transaction() as connection:
                alone = await self._write_batch(connection, together)
        except Unavailable as error:
            if error.code != "database_busy":
                raise Stopped(f"EvPower's database: {error.for_operators}") from error
            return list(batch)
        except (asyncpg.PostgresError, Conflict, Invalid, NotMoved):
            return list(batch)
        self.moved += len(together) - len(alone)
        return [one for one in batch if one.work.plan == "add" or one in alone]

    async def _write_batch(self, connection: Connection, batch: Sequence[Made]) -> list[Made]:
        if not any(one.work.balance_minor for one in batch):
            await store.lose_in_a_crash(connection)
        people = {one.work.client_id: one.profile for one in batch}
        created = await clients.ensure_new_clients(connection, people, "import")
        works = [one.work for one in batch]
        odd = await store_record.odd(connection, works)
        alone: list[Made] = []
        plain: list[Made] = []
        for one in batch:
            client_id = one.work.client_id
            fits = client_id in created or one.work.plan == "adopt"
            (plain if fits and client_id not in odd else alone).append(one)
        await store_record.done(
            connection, [one.work for one in plain], [one.note for one in plain]
        )
        # Wallets are locked in the order of their ids.
        for one in sorted(plain, key=lambda made: made.work.client_id):
            if one.work.balance_minor:
                await self._carry(connection, one.work)
        return alone

    async def _write_alone(self, one: Made) -> None:
        try:
            if await self._try_alone(one):
                self.moved += 1
        except NotMoved as trouble:
            await note_trouble(self.db, one.work, trouble)

    async def _try_alone(self, one: Made) -> bool:
        conflict = one.work.plan != "create"
        for left in reversed(range(_TRIES)):
            try:
                async with self.db.transaction() as connection:
                    return await self._write(connection, one)
            except Unavailable as error:  # a deadlock with whoever makes the same clients, say
                if error.code != "database_busy" or not left:
                    raise Stopped(f"EvPower's database: {error.for_operators}") from error
            except asyncpg.UniqueViolationError as error:
                taken = "alias_taken" if error.table_name == "aliases" else "contact_taken"
                raise NotMoved(taken, error.detail or "", conflict=conflict) from error
            except (asyncpg.IntegrityConstraintViolationError, asyncpg.DataError) as error:
                # One row the database has a rule against: never the end of the others.
                why = str(error).partition("\n")[0]  # its other lines quote the row
                raise NotMoved("not_storable", why, conflict=conflict) from error
            except (Conflict, Invalid) as error:
                raise NotMoved(error.code, error.detail, conflict=conflict) from error
        raise AssertionError

    async def _write(self, connection: Connection, one: Made) -> bool:
        """One row; false when it was written before."""
        work = one.work
        if not work.balance_minor:
            await store.lose_in_a_crash(connection)
        if work.plan == "add":
            if not await store_record.added(connection, work):
                return False
        else:
            await self._ensure(connection, one)
            if not await store_record.done(connection, [work], [one.note]):
                return False
        if work.balance_minor:
            await self._carry(connection, work)
        return True

    @staticmethod
    async def _ensure(connection: Connection, one: Made) -> None:
        work, adopt = one.work, one.work.plan == "adopt"
        client = await clients.ensure(connection, work.client_id, one.profile, "import")
        await clients.lock_client(connection, client.id)
        if client.status == "closed":
            if not await store.was_reverted(connection, client.id):
                raise NotMoved("client_closed", str(client.id), conflict=adopt)
            await client_store.set_status(connection, client.id, "active", ["closed"])
        if not adopt:
            return
        own = as_uuid(work.old_id)
        if own not in {None, client.id} and await store.is_open_client(connection, str(own)):
            raise NotMoved("client_of_its_own", str(client.id), conflict=True)
        if work.matched_by != "decision":
            other = await store.other_old_id(connection, client.id, work.old_id)
            if other is not None:
                detail = f"{client.id} was {other}"
                raise NotMoved("user_has_another_old_id", detail, conflict=True)

    async def _carry(self, connection: Connection, work: RowWork) -> None:
        conflict = work.plan != "create"
        elsewhere = await store.carried_elsewhere(connection, work.client_id, work.old_id)
        if elsewhere is not None:
            raise NotMoved("balance_carried_elsewhere", str(elsewhere), conflict=conflict)
        if await self.carry(connection, work.client_id, work.old_id, work.balance_minor):
            await store.record_carried(connection, work)
        # The wallet had an opening balance of that amount. It is this one if the client is the same
        # record in both, or if a run that was taken back had carried it.
        elif as_uuid(work.old_id) != work.client_id and not await store.carried_before(
            connection, work.client_id, work.old_id
        ):
            raise NotMoved("opening_balance_exists", str(work.client_id), conflict=conflict)


async def note_trouble(db: Database, work: RowWork, trouble: NotMoved) -> None:
    """Keep why a row stays."""
    _log.warning("client_not_moved", line=work.line, reason=trouble.reason)
    async with db.transaction() as connection:
        await store.record_trouble(
            connection,
            work.run,
            work.line,
            trouble.reason,
            trouble.detail,
            conflict=trouble.conflict,
        )

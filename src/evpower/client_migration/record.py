"""Records moved rows: the client, aliases and balance of a row in one transaction.

Rows that arrive while the last transaction runs share the next one and its statements. A row that
needs more checks, or each row of a batch the database refuses, is recorded in its own transaction.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import asyncpg
import structlog

from evpower.client_migration import store, store_record
from evpower.client_migration.model import CreditBalance, NotMoved, RowWork, RunStopped
from evpower.foundation.db import Connection, Database
from evpower.foundation.errors import Conflict, Invalid, Unavailable
from evpower.identity import (
    Profile,
    as_uuid,
    ensure,
    ensure_new_clients,
    lock_client,
    set_client_status,
)

_TRIES: Final = 6
_BATCH: Final = 100

_log: Final = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class PreparedRow:
    """A row whose user exists; `profile` is the client's if it must be created."""

    work: RowWork
    profile: Profile
    note: str | None


@dataclass(slots=True)
class Recorder:
    """Records rows from `prepared` until it gets None; `moved` counts them."""

    db: Database
    credit_balance: CreditBalance
    prepared: asyncio.Queue[PreparedRow | None]
    moved: int = 0
    ended: bool = field(default=False, init=False)

    async def run(self, on_written: Callable[[int], None]) -> None:
        """Records rows and reports the size of each batch. Raises RunStopped."""
        while not self.ended:
            batch = await self._next()
            for row in await self._record_batch(batch):
                await self._record_alone(row)
            if batch:
                on_written(len(batch))

    async def _next(self) -> list[PreparedRow]:
        row = await self.prepared.get()
        batch: list[PreparedRow] = []
        while row is not None and len(batch) < _BATCH - 1 and not self.prepared.empty():
            batch.append(row)
            row = self.prepared.get_nowait()
        if row is None:
            self.ended = True
        else:
            batch.append(row)
        return batch

    async def _record_batch(self, batch: Sequence[PreparedRow]) -> list[PreparedRow]:
        """Records a batch. Returns the rows that must be recorded one by one."""
        batched = [row for row in batch if row.work.plan != "add"]
        if len(batched) < 2:  # noqa: PLR2004 - a batch is more than one
            return list(batch)
        try:
            async with self.db.transaction() as connection:
                separately = await self._write_batch(connection, batched)
        except Unavailable as error:
            if error.code != "database_busy":
                raise RunStopped(f"EvPower's database: {error.for_operators}") from error
            return list(batch)
        except (asyncpg.PostgresError, Conflict, Invalid, NotMoved):
            return list(batch)
        self.moved += len(batched) - len(separately)
        return [row for row in batch if row.work.plan == "add" or row in separately]

    async def _write_batch(
        self, connection: Connection, batch: Sequence[PreparedRow]
    ) -> list[PreparedRow]:
        if not any(row.work.balance_minor for row in batch):
            await store.use_async_commit(connection)
        users = {row.work.client_id: row.profile for row in batch}
        created = await ensure_new_clients(connection, users, "import")
        works = [row.work for row in batch]
        special = await store_record.special_clients(connection, works)
        separately: list[PreparedRow] = []
        plain: list[PreparedRow] = []
        for row in batch:
            client_id = row.work.client_id
            fits = client_id in created or row.work.plan == "link"
            (plain if fits and client_id not in special else separately).append(row)
        await store_record.done(
            connection, [row.work for row in plain], [row.note for row in plain]
        )
        # In the order of the ids, in which all transactions lock wallets.
        for row in sorted(plain, key=lambda row: row.work.client_id):
            if row.work.balance_minor:
                await self._credit(connection, row.work)
        return separately

    async def _record_alone(self, row: PreparedRow) -> None:
        try:
            if await self._try_record(row):
                self.moved += 1
        except NotMoved as trouble:
            await record_trouble(self.db, row.work, trouble)

    async def _try_record(self, row: PreparedRow) -> bool:
        conflict = row.work.plan != "create"
        for attempts_left in reversed(range(_TRIES)):
            try:
                async with self.db.transaction() as connection:
                    return await self._record(connection, row)
            except Unavailable as error:  # such as a deadlock with the puller
                if error.code != "database_busy" or not attempts_left:
                    raise RunStopped(f"EvPower's database: {error.for_operators}") from error
            except asyncpg.UniqueViolationError as error:
                reason = "alias_taken" if error.table_name == "aliases" else "contact_taken"
                raise NotMoved(reason, error.detail or "", conflict=conflict) from error
            except (asyncpg.IntegrityConstraintViolationError, asyncpg.DataError) as error:
                # A constraint refuses this row; the other rows go on.
                description = str(error).partition("\n")[0]  # its other lines quote the row
                raise NotMoved("not_storable", description, conflict=conflict) from error
            except (Conflict, Invalid) as error:
                raise NotMoved(error.code, error.detail, conflict=conflict) from error
        raise AssertionError

    async def _record(self, connection: Connection, row: PreparedRow) -> bool:
        """Records one row. Returns false when it was recorded before."""
        work = row.work
        if not work.balance_minor:
            await store.use_async_commit(connection)
        if work.plan == "add":
            if not await store_record.added(connection, work):
                return False
        else:
            await self._ensure(connection, row)
            if not await store_record.done(connection, [work], [row.note]):
                return False
        if work.balance_minor:
            await self._credit(connection, work)
        return True

    @staticmethod
    async def _ensure(connection: Connection, row: PreparedRow) -> None:
        work, is_linked = row.work, row.work.plan == "link"
        client = await ensure(connection, work.client_id, row.profile, "import")
        await lock_client(connection, client.id)
        if client.status == "closed":
            if not await store.was_reverted(connection, client.id):
                raise NotMoved("client_closed", str(client.id), conflict=is_linked)
            await set_client_status(connection, client.id, "active", ["closed"])
        if not is_linked:
            return
        old_id_as_uuid = as_uuid(work.old_id)
        if old_id_as_uuid not in {None, client.id} and await store.is_open_client(
            connection, str(old_id_as_uuid)
        ):
            raise NotMoved("client_of_its_own", str(client.id), conflict=True)
        if work.matched_by != "decision":
            other = await store.other_old_id(connection, client.id, work.old_id)
            if other is not None:
                detail = f"{client.id} was {other}"
                raise NotMoved("user_has_another_old_id", detail, conflict=True)

    async def _credit(self, connection: Connection, work: RowWork) -> None:
        conflict = work.plan != "create"
        elsewhere = await store.credited_elsewhere(connection, work.client_id, work.old_id)
        if elsewhere is not None:
            raise NotMoved("balance_carried_elsewhere", str(elsewhere), conflict=conflict)
        if await self.credit_balance(connection, work.client_id, work.old_id, work.balance_minor):
            await store.record_credited(connection, work)
        # The wallet has an opening balance of that amount already. It is this one if the old id is
        # the client's id, or if a reverted run had credited it.
        elif as_uuid(work.old_id) != work.client_id and not await store.credited_before(
            connection, work.client_id, work.old_id
        ):
            raise NotMoved("opening_balance_exists", str(work.client_id), conflict=conflict)


async def record_trouble(db: Database, work: RowWork, trouble: NotMoved) -> None:
    """Stores why a row was not moved."""
    _log.warning("client_move_failed", line=work.line, reason=trouble.reason)
    async with db.transaction() as connection:
        await store.record_trouble(
            connection,
            work.run,
            work.line,
            trouble.reason,
            trouble.detail,
            conflict=trouble.conflict,
        )

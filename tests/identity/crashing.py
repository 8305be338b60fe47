"""Where a process may crash while it makes a user: around Auth's call, around each commit."""

from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from evpower.foundation.db import Connection, Database
from evpower.identity.model import AuthUser, ImportedUser, NewUser
from evpower.identity.supabase_admin import SupabaseAdmin


class Crash(Exception):
    """The process crashed."""


class CrashingAdmin(SupabaseAdmin):
    """Crashes right before or right after the user is created."""

    before = after = False

    async def import_user(self, user: ImportedUser) -> AuthUser:
        return await self._around(super().import_user(user))

    async def create_user(self, user: NewUser) -> AuthUser:
        return await self._around(super().create_user(user))

    async def _around(self, call: Coroutine[Any, Any, AuthUser]) -> AuthUser:
        if self.before:
            call.close()
            raise Crash
        created = await call
        if self.after:
            raise Crash
        return created


class CrashingDatabase(Database):
    """Crashes in its nth transaction: before the commit, or right after it."""

    def __init__(self, db: Database, *, nth: int, committed: bool) -> None:
        self._db = db
        self._left = nth
        self._committed = committed

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        async with self._db.connection() as connection:
            yield connection

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        self._left -= 1
        async with self._db.transaction() as connection:
            yield connection
            if self._left == 0 and not self._committed:
                raise Crash
        if self._left == 0:
            raise Crash

"""The parts benchmarks share, each started when first asked for: durable PostgreSQL, Supabase."""

import os
import shutil
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar, cast
from uuid import uuid4

import asyncpg

from bench.harness import say
from evpower.devstack.postgres.server import EmbeddedPostgres
from evpower.devstack.supabase.server import LocalSupabase
from evpower.foundation.db import Connection
from evpower.foundation.migrations import migrate, set_login_defaults

T = TypeVar("T")
_TEMPLATE = "template_evpower"
# Filling tables fast, and a quiet start: no superuser otherwise.
_ALSO_FOR_BENCHMARKS = (
    "grant set on parameter session_replication_role to evpower; grant pg_checkpoint to evpower"
)
_SUPABASE_MIGRATIONS = Path(__file__).resolve().parent.parent / "supabase" / "migrations"


class Rig:
    """One run's folder, cluster and services; leaves nothing behind."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="evpower-bench-", dir="/var/tmp"))
        self.folder.chmod(0o755)  # as root, PostgreSQL runs as another user
        self.postgres = EmbeddedPostgres(
            self.folder / "pg",
            settings={"track_commit_timestamp": "on"},  # tells how late Supabase was
        )
        self._supabase: LocalSupabase | None = None
        self._stack = AsyncExitStack()
        self._shared: dict[Callable[..., Any], Any] = {}

    async def __aenter__(self) -> Self:
        os.environ.setdefault("LITE_AUTH_BCRYPT_COST", "4")  # sign-in is not measured
        self._stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
        try:
            await self.postgres.start()
            self._stack.push_async_callback(self.postgres.stop)
            await self._refuse_undurable()
            await self.postgres.create_owned_database(_TEMPLATE)
            async with self.owner(self.postgres.dsn("postgres")) as admin:
                await admin.execute(_ALSO_FOR_BENCHMARKS)
            await migrate(self.postgres.owner_dsn(_TEMPLATE))
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    async def new_database(self) -> str:
        """EvPower's schema in a database of one benchmark's own; answers its dsn."""
        name = f"bench_{uuid4().hex[:8]}"
        async with self.owner(self.postgres.dsn("postgres")) as admin:
            await admin.execute(
                f"create database {name} template {_TEMPLATE} strategy file_copy owner evpower"
            )
            await set_login_defaults(admin, login="evpower", database=name)
        return self.postgres.owner_dsn(name)

    async def copy_database(self, dsn: str) -> str:
        """A database with the same rows; no connection to the first one may be open."""
        name = f"bench_{uuid4().hex[:8]}"
        async with self.owner(self.postgres.dsn("postgres")) as admin:
            await admin.execute(
                f"create database {name} template {dsn.rsplit('/', 1)[1]} strategy file_copy"
                " owner evpower"
            )
            await set_login_defaults(admin, login="evpower", database=name)
        return self.postgres.owner_dsn(name)

    @asynccontextmanager
    async def owner(self, dsn: str) -> AsyncGenerator[Connection]:
        """Connect as the owner, for preparing and checking."""
        connection: Connection = await asyncpg.connect(dsn, server_settings={"role": "none"})
        try:
            yield connection
        finally:
            await connection.close()

    async def supabase(self) -> LocalSupabase:
        """Start the local Supabase on this cluster, migrated, once."""
        if self._supabase is None:
            say("  starting the local Supabase")
            await self.postgres.create_database("supabase")
            local = LocalSupabase(
                self.postgres.dsn("supabase"),
                port=None,
                state_dir=self.folder / "supabase",
                migrations_dir=_SUPABASE_MIGRATIONS,
            )
            await local.start()
            self._stack.push_async_callback(local.stop)
            self._supabase = local
        return self._supabase

    async def once(self, start: Callable[["Rig", AsyncExitStack], Awaitable[T]]) -> T:
        """What `start` made, the first time it was asked for; it ends with the rig."""
        if start not in self._shared:
            self._shared[start] = await start(self, self._stack)
        return cast("T", self._shared[start])

    @property
    def supabase_dsn(self) -> str:
        """The local Supabase's own database."""
        return self.postgres.dsn("supabase")

    async def _refuse_undurable(self) -> None:
        async with self.owner(self.postgres.dsn("postgres")) as admin:
            for name in ("fsync", "synchronous_commit", "full_page_writes"):
                if await admin.fetchval("select current_setting($1)", name) != "on":
                    raise RuntimeError(f"{name} is off: these figures would be about nothing")

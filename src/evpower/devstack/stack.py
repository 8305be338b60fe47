"""The whole stack on one machine: PostgreSQL, the local Supabase, and what the caller adds."""

import asyncio
import shutil
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from evpower.devstack import ports
from evpower.devstack.errors import DevstackError
from evpower.devstack.postgres.accounts import make_reachable
from evpower.devstack.postgres.server import EmbeddedPostgres
from evpower.devstack.services import Service
from evpower.devstack.supabase.server import LocalSupabase
from evpower.foundation.migrations import UNRELEASED

FRESH: Final = "Start with --fresh to begin with an empty data folder (this deletes the data)."
_MARKER = ".evpower-data"
_DATABASE: Final = "evpower"
_PACKAGE = Path(__file__).resolve().parent.parent

ExtraChildren = Callable[["Stack"], Sequence[Service]]


class Stack:
    """Starts its parts in order and stops them in reverse; all its state is in `data`."""

    def __init__(
        self,
        data: Path,
        *,
        port: int | None = None,
        supabase_port: int | None = None,
        postgres_port: int | None = None,
        fresh: bool = False,
        migrations_dir: Path | None = None,
        extra_children: ExtraChildren | None = None,
        beside: Callable[[], Coroutine[None, None, None]] | None = None,
    ) -> None:
        """`beside` runs while the local Supabase starts: its keys are known already."""
        self._beside = beside
        self.data = data.absolute()
        self.port = port
        self.fresh = fresh
        self.postgres = EmbeddedPostgres(self.data / "postgres", port=postgres_port)
        self._supabase_port = supabase_port
        self._migrations_dir = migrations_dir or supabase_migrations()
        self._extra_children = extra_children
        self._supabase: LocalSupabase | None = None
        self._started: list[Service] = []

    @classmethod
    async def start(
        cls,
        data: Path,
        port: int | None = None,
        supabase_port: int | None = None,
        *,
        fresh: bool = False,
        extra_children: ExtraChildren | None = None,
    ) -> Self:
        """Returns a running stack; the caller must call `stop()`."""
        stack = cls(
            data,
            port=port,
            supabase_port=supabase_port,
            fresh=fresh,
            extra_children=extra_children,
        )
        await stack.up()
        return stack

    @property
    def supabase(self) -> LocalSupabase:
        """The local Supabase, once started."""
        if self._supabase is None:
            raise RuntimeError("The stack has not been started")
        return self._supabase

    @property
    def evpower_dsn(self) -> str:
        """EvPower's own database."""
        return self.postgres.owner_dsn(_DATABASE)

    @property
    def services(self) -> Sequence[Service]:
        """The running parts, in the order they were started."""
        return tuple(self._started)

    async def up(self) -> None:
        """Starts everything; if a part fails, stops the others again and raises."""
        if self.port is None:
            self.port = ports.free_port()
        ports.require_free(self.port, owner="EvPower", flag="--port")
        if self._supabase_port is not None:
            ports.require_free(
                self._supabase_port, owner="the local Supabase", flag="--supabase-port"
            )
        await self._prepare_data()
        try:
            await self.add(self.postgres)
            await asyncio.gather(
                self._create_evpower(),
                self.postgres.create_database("supabase"),
            )
            self._supabase = LocalSupabase(
                self.postgres.dsn("supabase"),
                port=self._supabase_port,
                state_dir=self.data / "supabase",
                migrations_dir=self._migrations_dir,
            )
            if self._beside is None:
                await self.add(self._supabase)
            else:
                await _together(self.add(self._supabase), self._beside())
            for service in self._extra_children(self) if self._extra_children else ():
                await self.add(service)
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Stops everything, last started first; data stays."""
        while self._started:
            await self._started.pop().stop()

    async def watch(self) -> str:
        """Waits until a part ends by itself. Returns its name."""
        while True:
            for service in self._started:
                if not service.running:
                    return service.name
            await asyncio.sleep(0.2)

    async def __aenter__(self) -> Self:
        if not self._started:
            await self.up()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    async def add(self, service: Service) -> None:
        """Starts one more part, which is stopped with the others."""
        self._started.append(service)
        await service.start()

    async def remove(self, service: Service) -> None:
        """Stops one part for good."""
        self._started.remove(service)
        await service.stop()

    async def _create_evpower(self) -> None:
        if await self.postgres.create_owned_database(_DATABASE) not in self.evpower_dsn:
            problem = f"The data folder {self.data} does not fit: {UNRELEASED}"
            raise DevstackError(problem, FRESH)

    async def _prepare_data(self) -> None:
        marker = self.data / _MARKER
        if self.data.is_dir() and any(self.data.iterdir()) and not marker.exists():
            problem = f"{self.data} holds other files and is not a data folder of EvPower"
            raise DevstackError(problem, "Choose another folder with --data.")
        try:
            if self.fresh and marker.exists():
                await self.postgres.reclaim()
                shutil.rmtree(self.data)
            make_reachable(self.data)
            marker.touch()
        except OSError as error:
            problem = f"{self.data} can't be used: {error.strerror}"
            raise DevstackError(problem, "Choose another folder with --data.") from error


async def _together(*works: Coroutine[None, None, None]) -> None:
    """Runs them at once and waits for all, so that nothing starts after a failure is raised."""
    for result in await asyncio.gather(*works, return_exceptions=True):
        if isinstance(result, BaseException):
            raise result


def supabase_migrations() -> Path:
    """Returns the Supabase project's migrations: of the checkout or the installed package."""
    installed = _PACKAGE / "_supabase" / "migrations"
    return installed if installed.is_dir() else _PACKAGE.parent.parent / "supabase" / "migrations"

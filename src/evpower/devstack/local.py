"""EvPower on one machine: the stack, its own database migrated, the sandbox bank, the processes."""

import asyncio
import base64
import json
import os
import secrets
import shlex
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Literal

from evpower import identity, sync
from evpower.devstack import ports
from evpower.devstack.errors import DevstackError
from evpower.devstack.nats import LocalNats
from evpower.devstack.postgres.accounts import write_private
from evpower.devstack.services import ProcessService, Service
from evpower.devstack.stack import FRESH, Stack
from evpower.foundation.db import Database
from evpower.foundation.http import HttpClient
from evpower.foundation.migrations import MigrationError, UnknownEditionError, migrate

_SERVICE_NAME: Final = "devstack"
_ODENGI_SID: Final = "1000000001"

BankName = Literal["sandbox", "odengi"]


@dataclass(frozen=True, slots=True)
class Urls:
    """The addresses of everything, and the keys to it; one line of `evpower dev --json`."""

    ready: bool
    api: str
    supabase: str
    sandbox: str
    ocpp: str  # where stations connect: an id follows
    publishable_key: str
    secret_key: str
    service_key: str
    database_url: str
    supabase_database_url: str
    pid: int

    def to_json(self) -> str:
        """Returns one line."""
        return json.dumps(asdict(self))


class LocalEvPower:
    """The running stack; `api`, `bank` and `worker` are its processes."""

    def __init__(  # noqa: PLR0913 - the options of a whole stack
        self,
        data: Path,
        *,
        port: int | None = None,
        supabase_port: int | None = None,
        sandbox_port: int | None = None,
        fresh: bool = False,
        split: bool = False,
        nats: bool = False,
        bank: BankName = "sandbox",
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._bank_name: BankName = bank
        self.port = port or ports.free_port()
        self.sandbox_port = sandbox_port or ports.free_port()
        self.stack = Stack(
            data,
            port=self.port,
            supabase_port=supabase_port or ports.free_port(),
            fresh=fresh,
            beside=self._start_evpower,
        )
        self.nats = LocalNats(self.stack.data / "nats") if nats else None
        self._split = split
        self._overrides = dict(environment or {})
        self._service_key = ""
        self.bank: ProcessService
        self.api: ProcessService
        self.worker: ProcessService | None = None

    @property
    def api_url(self) -> str:
        """Base URL of EvPower."""
        return f"http://{ports.LOOPBACK}:{self.port}"

    @property
    def sandbox_url(self) -> str:
        """Base URL of the bank."""
        return f"http://{ports.LOOPBACK}:{self.sandbox_port}"

    async def start(self) -> None:
        """Starts all of it; if a part fails, the others are stopped again."""
        ports.require_free(self.sandbox_port, owner="the sandbox bank", flag="--sandbox-port")
        await self.stack.up()
        try:
            await self._set_webhook()
            self._tell_commands()
        except BaseException:
            await self.stack.stop()
            raise

    async def _start_evpower(self) -> None:
        bank = self._make_bank()
        starting = asyncio.create_task(self.stack.add(bank))
        try:
            await self._migrate()
            self._service_key = await self._create_service_key()
        finally:
            await starting
        if self.nats is not None:
            await self.stack.add(self.nats)
        for service in self._make_processes():
            await self.stack.add(service)

    async def _set_webhook(self) -> None:
        """Sets a fresh secret on both sides, and this run's address of EvPower."""
        supabase = self.stack.supabase
        database = await Database.open(self.stack.evpower_dsn, size=2)
        try:
            async with HttpClient() as http:
                rpc = sync.SupabaseRpc(http, supabase.url, supabase.secret_key)
                await sync.rotate_secret(database, rpc, self.api_url + sync.WEBHOOK_PATH)
        except sync.SyncError as error:
            problem = f"The local Supabase does not take the webhook: {error}"
            raise DevstackError(problem, f"Its log is {supabase.log}.") from error
        finally:
            await database.close()

    async def add_process(
        self, role: str, changes: Mapping[str, str] | None = None
    ) -> tuple[ProcessService, str]:
        """Starts one more process with changed settings. Returns it and its base URL."""
        port = ports.free_port()
        node = self._evpower(role, port, changes)
        await self.stack.add(node)
        return node, f"http://{ports.LOOPBACK}:{port}"

    async def stop(self) -> None:
        """Ends every process; data stays."""
        await self.stack.stop()

    async def restart(self, role: str, changes: Mapping[str, str] | None = None) -> ProcessService:
        """Starts the API or the worker again with changed settings; ends one that still runs."""
        old = self.worker if role == "worker" and self.worker else self.api
        await self.stack.remove(old)
        new = self._evpower(role, self.port if old is self.api else ports.free_port(), changes)
        if old is self.api:
            self.api = new
        else:
            self.worker = new
        await self.stack.add(new)
        return new

    def urls(self) -> Urls:
        """Returns all addresses and keys that a user or a script needs."""
        return Urls(
            ready=True,
            api=self.api_url,
            supabase=self.stack.supabase.url,
            sandbox=self.sandbox_url,
            ocpp=f"{self.api_url.replace('http', 'ws', 1)}/ocpp",
            publishable_key=self.stack.supabase.publishable_key,
            secret_key=self.stack.supabase.secret_key,
            service_key=self._service_key,
            database_url=self.stack.evpower_dsn,
            supabase_database_url=self.stack.supabase.owner_dsn,
            pid=os.getpid(),
        )

    def environment(self) -> dict[str, str]:
        """Returns the settings of the processes, which `evpower <command>` needs too."""
        supabase = self.stack.supabase
        return {
            **self._phone_settings(),
            **os.environ,
            "EVPOWER_ENV": "development",
            "EVPOWER_DATABASE_URL": self.stack.evpower_dsn,
            "EVPOWER_HOST": ports.LOOPBACK,
            "EVPOWER_PORT": str(self.port),
            "EVPOWER_PUBLIC_URL": self.api_url,
            "EVPOWER_SUPABASE_URL": supabase.url,
            "EVPOWER_SUPABASE_SECRET_KEY": supabase.secret_key,
            "EVPOWER_SUPABASE_PUBLISHABLE_KEY": supabase.publishable_key,
            "EVPOWER_SUPABASE_JWT_SECRET": supabase.jwt_secret,
            "EVPOWER_PAYMENT_QR_PROVIDER": self._bank_name,
            **self._bank_settings(),
            "EVPOWER_REGISTER_CONFIRM": "auto",  # no mail leaves this machine
            "EVPOWER_RATE_REGISTER_PER_HOUR": "100000",
            "EVPOWER_RATE_PER_MINUTE": "100000",
            "EVPOWER_RATE_MONEY_PER_MINUTE": "100000",
            "EVPOWER_RATE_WEBHOOK_PER_MINUTE": "1000000",
            **({"EVPOWER_NATS_URL": self.nats.url} if self.nats else {}),
            **self._overrides,
        }

    @property
    def settings_file(self) -> Path:
        """Returns what a shell reads so that `evpower <command>` uses this stack."""
        return self.stack.data / "env"

    def _tell_commands(self) -> None:
        lines = [
            f"export {name}={shlex.quote(value)}\n"
            for name, value in self.environment().items()
            if name.startswith("EVPOWER_") and "RATE" not in name
        ]
        write_private(self.settings_file, "".join(lines))

    async def _migrate(self) -> None:
        try:
            await migrate(self.stack.evpower_dsn)
        except UnknownEditionError as error:
            problem = f"The data folder {self.stack.data} does not fit: {error}"
            raise DevstackError(problem, FRESH) from error
        except MigrationError as error:
            problem = f"The data folder {self.stack.data} does not fit this version: {error}"
            raise DevstackError(problem, "Start with --fresh to begin anew.") from error

    async def _create_service_key(self) -> str:
        path = self.stack.data / "service-key"
        if path.exists():
            return path.read_text().strip()
        database = await Database.open(self.stack.evpower_dsn, size=2)
        try:
            async with database.transaction() as connection:
                created = await identity.create_service_key(
                    connection, name=_SERVICE_NAME, actor="devstack"
                )
        finally:
            await database.close()
        write_private(path, created.key)
        return created.key

    def _sandbox_secret(self) -> str:
        path = self.stack.data / "sandbox-secret"
        if not path.exists():
            key = base64.b64encode(secrets.token_bytes(32)).decode()
            write_private(path, f"whsec_{key}")  # in the form of Standard Webhooks libraries
        return path.read_text().strip()

    def _phone_settings(self) -> dict[str, str]:
        """Codes of sign-in by phone go to EvPower's log; the environment's settings go before."""
        path = self.stack.data / "sign-in-secret"
        if not path.exists():
            write_private(path, secrets.token_urlsafe(32))
        return {
            "EVPOWER_SIGN_IN_SENDER": "console",
            "EVPOWER_SIGN_IN_SECRET": path.read_text().strip(),
        }

    def _bank_settings(self) -> dict[str, str]:
        if self._bank_name == "odengi":
            return {
                "EVPOWER_ODENGI_URL": self.sandbox_url,
                "EVPOWER_ODENGI_SID": _ODENGI_SID,
                "EVPOWER_ODENGI_PASSWORD": self._sandbox_secret(),
            }
        return {
            "EVPOWER_SANDBOX_URL": self.sandbox_url,
            "EVPOWER_SANDBOX_SECRET": self._sandbox_secret(),
        }

    def _make_bank(self) -> ProcessService:
        if self._bank_name == "odengi":
            name, command = "The simulated O!Dengi", [
                "evpower",
                "bank",
                "odengi",
                f"--port={self.sandbox_port}",
                f"--data={self.stack.data / 'odengi'}",
            ]  # fmt: skip
        else:
            name, command = "The sandbox bank", [
                "evpower.devstack.bank.server",
                f"--port={self.sandbox_port}",
                f"--webhook-url={self.api_url}/api/v1/payment/webhook/sandbox",
                f"--state-dir={self.stack.data / 'sandbox'}",
                f"--public-url={self.sandbox_url}",
            ]  # fmt: skip
        self.bank = ProcessService(
            name,
            [sys.executable, "-m", *command],
            log=self.stack.data / f"{self._bank_name}.log",
            ready_url=f"{self.sandbox_url}/health",
            env=self.environment(),
        )
        return self.bank

    def _make_processes(self) -> Sequence[Service]:
        self.api = self._evpower("api" if self._split else "all", self.port)
        if not self._split:
            return (self.api,)
        self.worker = self._evpower("worker", ports.free_port())
        return (self.api, self.worker)

    def _evpower(
        self, role: str, port: int, changes: Mapping[str, str] | None = None
    ) -> ProcessService:
        return ProcessService(
            "EvPower" if role == "all" else f"EvPower ({role})",
            [sys.executable, "-m", "evpower", "serve", "--role", role, "--port", str(port)],
            log=self.stack.data / f"evpower-{role}.log",
            ready_url=f"http://{ports.LOOPBACK}:{port}/readyz",
            env={**self.environment(), **(changes or {})},
            stop_timeout_s=15.0,
        )


@asynccontextmanager
async def running(evpower: LocalEvPower) -> AsyncGenerator[LocalEvPower]:
    """Yields it running, and ends it whatever happens."""
    await evpower.start()
    try:
        yield evpower
    finally:
        await asyncio.shield(evpower.stop())

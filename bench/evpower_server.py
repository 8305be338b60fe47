"""Runs EvPower's own processes for a benchmark, on a database full of clients with histories."""

import os
import sys
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID, uuid4

import jwt

from bench import seed
from bench.loadgen import Plan, Report, Request, load, write_requests
from bench.rig import Rig
from evpower.devstack.ports import LOOPBACK, free_port
from evpower.devstack.services import ProcessService
from evpower.devstack.supabase.server import LocalSupabase

READERS = 1_000
HISTORY_ROWS = 60  # the default page is 50
SANDBOX_SECRET = "bench-" + "s" * 42
_NO_LIMIT = "1000000000"


@dataclass(frozen=True, slots=True)
class Reader:
    """A client with a history, and the token Supabase would have given it."""

    id: UUID
    token: str


class EvPowerServer:
    """One running process of EvPower."""

    def __init__(
        self, rig: Rig, dsn: str, process: ProcessService, port: int, folder: Path
    ) -> None:
        self.rig = rig
        self.dsn = dsn
        self.process = process
        self.port = port
        self.bytes_folder = folder

    @classmethod
    async def start(
        cls,
        rig: Rig,
        stack: AsyncExitStack,
        dsn: str,
        *,
        role: str = "api",
        env: Mapping[str, str] | None = None,
    ) -> "EvPowerServer":
        """Start `evpower serve --role ROLE` with the bench-only route."""
        supabase = await rig.supabase()
        port = free_port()
        folder = rig.folder / f"bytes-{port}"
        folder.mkdir()
        process = ProcessService(
            f"evpower {role}",
            [sys.executable, "-m", "bench.api_server", role],
            log=rig.folder / f"evpower-{role}-{port}.log",
            ready_url=f"http://{LOOPBACK}:{port}/healthz",
            env=_environment(supabase, dsn, port) | {"BENCH_BYTES": str(folder)} | dict(env or {}),
        )
        await process.start()
        stack.push_async_callback(process.stop)
        return cls(rig, dsn, process, port, folder)

    async def load(self, requests: list[Request], **plan: object) -> Report:
        """Send requests from the load generator's process."""
        path = self.rig.folder / "evpower.requests"
        write_requests(path, requests)
        return await load(Plan(port=self.port, requests=str(path), **plan), self.rig.folder)  # type: ignore[arg-type]


async def readers(rig: Rig, dsn: str) -> list[Reader]:
    """Clients with more than a page of transactions and of sessions each, and their tokens."""
    supabase = await rig.supabase()
    async with rig.owner(dsn) as owner:
        ids = await seed.add_clients(owner, READERS)
        count = READERS * HISTORY_ROWS
        first = await seed.add_payments(owner, count, confirmed=True, evenly=True)
        await seed.credit_all(owner, first, count)
        await seed.add_sessions(owner, HISTORY_ROWS)
        await seed.settle_down(owner)
    return [Reader(client, access_token(supabase, client)) for client in ids]


def access_token(supabase: LocalSupabase, client: UUID) -> str:
    """What Supabase gives at sign-in: the same claims, signed with the project's own secret."""
    now = int(time.time())
    claims = {
        "iss": f"{supabase.url}/auth/v1", "sub": str(client), "aud": "authenticated",
        "exp": now + 3600, "iat": now, "email": f"{client}@bench.test", "phone": "",
        "app_metadata": {"provider": "email", "providers": ["email"]},
        "user_metadata": {"email_verified": True}, "role": "authenticated", "aal": "aal1",
        "amr": [{"method": "password", "timestamp": now}],
        "session_id": str(uuid4()), "is_anonymous": False,
    }  # fmt: skip
    return jwt.encode(claims, supabase.jwt_secret, algorithm="HS256")


def _environment(supabase: LocalSupabase, dsn: str, port: int) -> dict[str, str]:
    return {
        **os.environ,
        "EVPOWER_ENV": "development",
        "EVPOWER_DATABASE_URL": dsn,
        "EVPOWER_HOST": LOOPBACK,
        "EVPOWER_PORT": str(port),
        "EVPOWER_SUPABASE_URL": supabase.url,
        "EVPOWER_SUPABASE_SECRET_KEY": supabase.secret_key,
        "EVPOWER_SUPABASE_PUBLISHABLE_KEY": supabase.publishable_key,
        "EVPOWER_SUPABASE_JWT_SECRET": supabase.jwt_secret,
        "EVPOWER_PAYMENT_QR_PROVIDER": "sandbox",
        "EVPOWER_SANDBOX_URL": f"http://{LOOPBACK}:{free_port()}",  # no listener: it is never asked
        "EVPOWER_SANDBOX_SECRET": SANDBOX_SECRET,
        "EVPOWER_RATE_PER_MINUTE": _NO_LIMIT,
        "EVPOWER_RATE_WEBHOOK_PER_MINUTE": _NO_LIMIT,
        "EVPOWER_ACCESS_LOG": "true",  # a line a request, as in production
    }

"""Runs the baseline implementation against the local Supabase, with users who really signed in."""

import json
import os
import sys
from contextlib import AsyncExitStack
from dataclasses import dataclass
from uuid import UUID

import httpx

from bench import baseline, requests
from bench.loadgen import Plan, load, write_requests
from bench.rig import Rig
from evpower.devstack.ports import free_port
from evpower.devstack.services import ProcessService
from evpower.devstack.supabase.server import LocalSupabase

USERS = 32
HISTORY_ROWS = 60  # the default page is 50
_SECONDS = 4.5


@dataclass(frozen=True, slots=True)
class User:
    """A user who signed in at Supabase."""

    id: UUID
    token: str


async def sign_in_users(supabase: LocalSupabase, prefix: str, count: int) -> list[User]:
    """Create users by the admin API and sign each one in."""
    users: list[User] = []
    async with httpx.AsyncClient(
        base_url=f"{supabase.url}/auth/v1", timeout=30, trust_env=False
    ) as http:
        for number in range(count):
            identity = {"email": f"{prefix}{number}@bench.test", "password": "a-long-password-1"}
            made = await http.post(
                "/admin/users",
                json={**identity, "email_confirm": True},
                headers={
                    "apikey": supabase.secret_key,
                    "Authorization": f"Bearer {supabase.secret_key}",
                },
            )
            made.raise_for_status()
            session = await http.post(
                "/token",
                params={"grant_type": "password"},
                json=identity,
                headers={"apikey": supabase.publishable_key},
            )
            session.raise_for_status()
            users.append(User(UUID(made.json()["id"]), session.json()["access_token"]))
    return users


class Baseline:
    """The running baseline implementation; `rate_of` measures an endpoint at 16 connections."""

    def __init__(self, rig: Rig, port: int, users: list[User]) -> None:
        self._rig = rig
        self._port = port
        self.users = users

    @classmethod
    async def start(cls, rig: Rig, stack: AsyncExitStack) -> "Baseline":
        """Make its tables and users, start it under uvicorn."""
        supabase = await rig.supabase()
        users = await sign_in_users(supabase, "baseline", USERS)
        dsn = await rig.new_database()
        ids = [user.id for user in users]
        async with rig.owner(dsn) as owner:
            await owner.execute(baseline.EVPOWER_TABLES)
            await owner.execute("insert into baseline_clients (id) select unnest($1::uuid[])", ids)
        async with rig.owner(rig.supabase_dsn) as owner:
            await owner.execute(baseline.SUPABASE_TABLES)
            await owner.execute("insert into baseline_clients (id) select unnest($1::uuid[])", ids)
            for fill in (_FILL_TRANSACTIONS, _FILL_SESSIONS):
                await owner.execute(fill, ids, HISTORY_ROWS)
            await owner.execute("analyze")
        port = free_port()
        server = ProcessService(
            "baseline",
            [
                *(sys.executable, "-m", "uvicorn", "bench.baseline:app", "--port", str(port)),
                *("--no-access-log", "--log-level", "warning"),
            ],
            log=rig.folder / "baseline.log",
            ready_url=f"http://127.0.0.1:{port}/health",
            env=_environment(supabase, dsn),
        )
        await server.start()
        stack.push_async_callback(server.stop)
        return cls(rig, port, users)

    async def top_ups(self) -> float:
        """Confirmed top-ups a second, behind its token check."""
        return await self._post("/topup")

    async def top_ups_unchecked(self) -> float:
        """The same without the token check."""
        return await self._post("/topup-unchecked")

    async def gets(self, path: str) -> float:
        """GETs a second of a path with `{client_id}` in it."""
        return await self._rate(
            [requests.get(path.format(client_id=user.id), user.token) for user in self.users]
        )

    async def _post(self, path: str) -> float:
        return await self._rate(
            [
                requests.post(
                    path,
                    json.dumps({"client_id": str(user.id), "amount": 10}).encode(),
                    {"Authorization": f"Bearer {user.token}"},
                )
                for user in self.users
            ]
        )

    async def _rate(self, ready: list[tuple[int, bytes]]) -> float:
        path = self._rig.folder / "baseline.requests"
        write_requests(path, ready)
        plan = Plan(port=self._port, requests=str(path), seconds=_SECONDS, warmup_s=1.0)
        return (await load(plan, self._rig.folder)).rate


def _environment(supabase: LocalSupabase, dsn: str) -> dict[str, str]:
    return {
        **os.environ,
        "BASELINE_SUPABASE_URL": supabase.url,
        "BASELINE_SUPABASE_KEY": supabase.secret_key,
        "BASELINE_DSN": dsn,
    }


_FILL_TRANSACTIONS = """
insert into baseline_transactions
  (client_id, type, amount, balance_before, balance_after, created_at)
select id, 'topup', 10, 10 * g, 10 * (g + 1), now() - g * interval '1 minute'
  from unnest($1::uuid[]) id, generate_series(1, $2) g"""
_FILL_SESSIONS = """
insert into baseline_charging_sessions
  (id, client_id, station_id, connector_id, start_time, end_time,
  energy_consumed, total_cost, status, created_at)
select gen_random_uuid(), id, 'EVP-001-01', 1, now() - g * interval '1 hour',
       now() - g * interval '50 minutes', 12.345, 166.66, 'stopped', now() - g * interval '1 hour'
  from unnest($1::uuid[]) id, generate_series(1, $2) g"""

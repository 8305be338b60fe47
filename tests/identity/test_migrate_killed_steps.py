"""Killed at any step of a row and resumed, a migration ends as an undisturbed one."""

import asyncio
import json
import signal
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import httpx
import pytest

from evpower.foundation.db import Connection
from tests.conftest import Server, as_owner
from tests.identity.conftest import Answer, Edge, Request, forward
from tests.identity.moving import CONFIRMED, Moving
from tests.identity.test_migrate_killed import command
from tests.waiting import until

USERS = "/auth/v1/admin/users"


def old_client(old_id: str, **fields: object) -> dict[str, object]:
    """The same in every run, so that runs can be compared."""
    number = sum(map(ord, old_id))
    return {
        "id": old_id, "email": f"{old_id}@example.kg", "phone": f"+996555{number:06}",
        "name": "Aida", "balance": "", "id_tags": "", **fields,
    }  # fmt: skip


ROWS: Sequence[dict[str, object]] = (
    old_client("made", id_tags="AA;BB"),
    old_client("made-money", balance="1.50", id_tags="CC"),
    old_client("taken-money", balance="2.50", id_tags="DD"),
    old_client("doubted"),
    old_client("5b0c2f6e-8a53-4a63-9a3f-0d8f6f6a3c11"),
)
LINKED = "taken-money"
PLANNED = "client_migration.run_rows"
HOLDS = (
    PLANNED,
    "identity.clients",  # users are there, nothing is written
    "identity.aliases",  # clients are written, not committed
    "payments.payments",  # aliases too, the money is not
    "wallet.transactions",  # the payment is there, it is not credited
    "client_migration.runs",  # every row is done, the run is not
)


@dataclass
class Killing:
    """The command on its way to Supabase through an edge that kills it once at each call."""

    moving: Moving
    edge: Edge
    http: httpx.AsyncClient
    dsn: str
    owner: Connection  # its transactions see the statistics of their beginning
    looks: Connection
    process: Process | None = None
    deadly: frozenset[str] = frozenset()  # methods
    killed: set[tuple[str, str, str]] = field(default_factory=set[tuple[str, str, str]])

    async def respond(self, request: Request) -> Answer:
        if self._dies(request, "before"):
            return await self.kill()
        answer = await forward(self.moving.supabase, self.http, request)
        return await self.kill() if self._dies(request, "after") else answer

    def _dies(self, request: Request, moment: str) -> bool:
        """Once before Auth has the call of one user, and once after, before EvPower knows."""
        if request.method not in self.deadly or not request.path.startswith(USERS):
            return False
        user_id = request.path.removeprefix(USERS).lstrip("/")
        user_id = user_id or json.loads(request.body)["id"]
        call = (request.method, user_id, moment)
        if user_id.startswith("?") or call in self.killed:
            return False
        self.killed.add(call)
        return True

    async def kill(self) -> None:
        assert self.process is not None
        self.process.kill()

    async def start(self, *words: str) -> Process:
        with self.moving.environment(self.dsn) as environment:
            self.process = await asyncio.create_subprocess_exec(
                *command(*words), stdout=PIPE, stderr=PIPE, stdin=DEVNULL,
                env=environment | {"EVPOWER_SUPABASE_URL": self.edge.url},
            )  # fmt: skip
        return self.process

    async def run(self, *words: str) -> tuple[int | None, str]:
        process = await self.start(*words)
        out, err = await process.communicate()
        assert b"Traceback" not in err, err.decode()
        if process.returncode == -signal.SIGKILL:
            await until(self._no_one_is_there)
        return process.returncode, (out + err).decode()

    async def run_until_it_lives(self, *words: str) -> tuple[int, int | None, str]:
        """Begin again after every kill; answers how many there were, and how it ended."""
        for kills in range(50):
            code, output = await self.run(*words)
            if code != -signal.SIGKILL:
                return kills, code, output
        raise AssertionError(self.killed)

    @asynccontextmanager
    async def held_up_at(self, table: str) -> AsyncGenerator[None]:
        """Blocks writes into this table; ends when the command was killed while it waited."""
        async with self.owner.transaction():
            await self.owner.execute("select pg_advisory_xact_lock(77, hashtext($1))", table)
            yield
            await until(self._is_waiting)
            await self.kill()
            await self._is_undone()

    async def can_be_held_up(self) -> None:
        """Who writes into one of these waits longer than the command waits for a table's lock."""
        await self.owner.execute(
            "create function public.held_up() returns trigger language plpgsql security definer"
            " set lock_timeout = '0' as $$ begin perform pg_advisory_xact_lock_shared(77,"
            " hashtext(format('%s.%s', tg_table_schema, tg_table_name))); return null; end $$"
        )
        for table in HOLDS:
            await self.owner.execute(
                f"create trigger held_up before insert or update or delete on {table}"
                " for each statement execute function public.held_up()"
            )

    async def _is_undone(self) -> None:
        """The killed process left PostgreSQL, and what it had not committed is undone."""
        assert self.process is not None
        _, err = await self.process.communicate()
        assert self.process.returncode == -signal.SIGKILL, err.decode()
        # It would see that when its lock is had, and that is held until it is gone.
        await self.looks.fetch(f"select pg_terminate_backend(pid) {_OF_THE_COMMAND}", None)
        await until(self._no_one_is_there)

    async def _no_one_is_there(self) -> bool:
        return not await self.looks.fetchval(_THERE, None)

    async def _is_waiting(self) -> bool:
        assert self.process is not None
        assert self.process.returncode is None, await self.process.communicate()
        return await self.looks.fetchval(_THERE, "Lock")


_OF_THE_COMMAND = (
    "from pg_stat_activity where application_name = 'command'"
    " and datname = current_database() and ($1::text is null or wait_event_type = $1)"
)
_THERE = f"select exists (select {_OF_THE_COMMAND})"


@asynccontextmanager
async def killing(
    moving: Moving, edge: Edge, http: httpx.AsyncClient, dsn: str
) -> AsyncGenerator[Killing]:
    owner: Connection = await asyncpg.connect(as_owner(dsn))
    looks: Connection = await asyncpg.connect(as_owner(dsn))
    scenario = Killing(moving, edge, http, dsn, owner, looks)
    edge.respond = scenario.respond
    await moving.there.execute("delete from auth.users; delete from public.clients")
    await moving.user(email=f"{LINKED}@example.kg", **CONFIRMED)
    await moving.user(email="doubted@example.kg")
    try:
        yield scenario
    finally:
        if scenario.process is not None and scenario.process.returncode is None:
            scenario.process.kill()
            await scenario.process.communicate()
        await owner.close()
        await looks.close()


async def outcome(killing: Killing) -> dict[str, Any]:
    """Everything that came of it, by old ids: the new ones differ from run to run."""
    users = {
        row["id"]: (row["email"], row["unverified"], row["mark"])
        for row in await killing.moving.there.fetch(
            "select id, email, raw_app_meta_data ? 'evpower_email_unverified' as unverified,"
            " raw_app_meta_data ? 'evpower_migration' as mark from auth.users"
        )
    }
    rows = await killing.owner.fetch(
        "select r.old_id, r.plan, r.state, r.reason, r.note, r.carried_at is not null as carried,"
        " c.id, c.email, c.phone, c.name, c.status, c.origin, w.balance_minor, w.version,"
        " (select array_agg(a.kind || ':' || a.alias order by a.kind, a.alias)"
        "    from identity.aliases a where a.client_id = c.id) as aliases,"
        " (select array_agg(p.provider_ref = 'opening:' || c.id || '' order by p.id)"
        "    from payments.payments p where p.client_id = c.id) as payments"
        " from client_migration.run_rows r left join identity.clients c on c.id = r.client_id"
        " left join wallet.wallets w on w.client_id = c.id order by r.old_id"
    )
    counts = await killing.owner.fetchrow(
        "select (select count(*) from identity.clients) as clients,"
        " (select count(*) from identity.aliases) as aliases,"
        " (select count(*) from payments.payments) as payments,"
        " (select sum(balance_minor) from wallet.wallets) as money,"
        " (select count(*) from identity.audit where action = 'payments.cash') as audited,"
        " (select array_agg(state) from client_migration.runs) as runs"
    )
    outcomes = [{**dict(row), "user": users.get(row["id"]), "id": None} for row in rows]
    return {"rows": outcomes, "counts": dict(counts or {}), "users": len(users)}


_undisturbed: dict[str, Any] = {}


@pytest.fixture
async def undisturbed(
    moving: Moving, edge: Edge, http: httpx.AsyncClient, server: Server
) -> dict[str, Any]:
    """What comes of the same rows in peace, moved and taken back; found out once a worker."""
    if not _undisturbed:
        async with killing(moving, edge, http, await server.new_database()) as scenario:
            assert (await scenario.run(*migrate(moving)))[0] == 1  # one is left to a person
            _undisturbed["moved"] = await outcome(scenario)
            assert (await scenario.run("revert"))[0] == 0
            _undisturbed["reverted"] = await outcome(scenario)
    return _undisturbed


@pytest.fixture
async def victim(
    moving: Moving,
    edge: Edge,
    http: httpx.AsyncClient,
    dsn: str,
    undisturbed: dict[str, Any],  # first: both use the one project
) -> AsyncGenerator[Killing]:
    assert undisturbed
    async with killing(moving, edge, http, dsn) as scenario:
        yield scenario


def migrate(moving: Moving, *words: str) -> tuple[str, ...]:
    path = moving.csv(*ROWS)._path  # pyright: ignore[reportPrivateUsage]
    return ("migrate", "--source", str(path), "--per-second", "1000", *words)


async def test_at_every_call_of_auth(victim: Killing, undisturbed: dict[str, Any]) -> None:
    """Killed before Auth has the user, and after, before EvPower knows."""
    victim.deadly = frozenset({"POST", "GET"})
    words = migrate(victim.moving, "--at-once", "1")
    await victim.run(*words)
    kills, code, output = await victim.run_until_it_lives(*words, "--resume")
    assert (kills, code) == (len(victim.killed) - 1, 1), output
    assert {method for method, _, _ in victim.killed} == {"POST", "GET"}
    assert kills + 1 >= 2 * (len(ROWS) - 1)  # twice for each client but the doubted one
    assert await outcome(victim) == undisturbed["moved"]


async def test_in_the_middle_of_every_transaction(
    victim: Killing, undisturbed: dict[str, Any]
) -> None:
    words = migrate(victim.moving)
    await victim.can_be_held_up()
    async with victim.held_up_at(PLANNED):
        await victim.start(*words)
    assert await victim.owner.fetchval("select count(*) from client_migration.runs") == 0
    for number, table in enumerate(HOLDS[1:]):
        async with victim.held_up_at(table):
            await victim.start(*words, *(["--resume"] if number else []))
    code, output = await victim.run(*words, "--resume")
    assert code == 1, output
    assert await outcome(victim) == undisturbed["moved"]


async def test_on_the_way_back(victim: Killing, undisturbed: dict[str, Any]) -> None:
    """Killed before a user is deleted, and after, before EvPower knows."""
    await victim.run(*migrate(victim.moving))
    victim.deadly = frozenset({"DELETE"})
    kills, code, output = await victim.run_until_it_lives("revert")
    assert (kills, code) == (4, 0), output
    assert await outcome(victim) == undisturbed["reverted"]

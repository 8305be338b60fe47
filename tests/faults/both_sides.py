"""Both sides for real in one place: two databases, Supabase's server, EvPower's parts, faults."""

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import asyncpg
import httpx
from pydantic import SecretStr

from evpower import identity, sync
from evpower.api import create_app
from evpower.bootstrap.modules import Assembled, assemble
from evpower.bootstrap.server import close
from evpower.config import Settings
from evpower.devstack import ports
from evpower.devstack.postgres.server import EmbeddedPostgres
from evpower.devstack.stack import supabase_migrations
from evpower.devstack.supabase.server import LocalSupabase
from evpower.foundation.db import Connection, Record
from evpower.foundation.failpoints import Failpoint
from evpower.foundation.http import HttpClient
from evpower.foundation.migrations import migrate, set_login_defaults
from evpower.identity.jobs import converge_registrations
from evpower.sync.reconciliation.drift import Drift
from tests.conftest import PATIENT_DEFAULTS, as_owner
from tests.faults.notifications import SECRET, Notification
from tests.faults.proxy import FaultProxy, HttpThrough
from tests.faults.supabase_side import PASSWORD, Psql, SupabaseSide
from tests.sync.scenario import Scenario as Money
from tests.waiting import WAIT_LIMIT_S

WEBHOOK = "/api/v1/webhooks/supabase"
NODES = 2
_ROUNDS = 25  # a rest that takes longer is none


class PowerCut(BaseException):
    """Stops everything of the process that was killed."""


@dataclass
class Clock:
    """The time it is, and what a rest skipped."""

    ahead: timedelta = field(default_factory=timedelta)

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


@dataclass
class Node:
    """One EvPower process: its application, its relay, its puller."""

    parts: Assembled
    rpc: sync.SupabaseRpc
    admin: identity.SupabaseAdmin
    through_proxy: HttpClient
    http: httpx.AsyncClient
    relay: sync.Relay
    puller: sync.Puller

    async def close(self) -> None:
        await self.http.aclose()
        await close(self.parts)
        await self.through_proxy.aclose()


class BothSides(SupabaseSide):
    """Actions of users, operators, processes and power cuts; reads both sides."""

    def __init__(self, folder: Path) -> None:
        # Not durable against a power cut of the machine; a killed PostgreSQL loses nothing.
        self.postgres = EmbeddedPostgres(
            folder / "pg",
            # Autovacuum's transactions would hold up the change log of Supabase.
            settings={"fsync": "off", "full_page_writes": "off", "autovacuum": "off"},
        )
        self.clock = Clock()
        self.cut: Failpoint | None = None  # where the next process to come by dies
        self.folder = folder
        self.nodes: list[Node] = []
        self.proxy: FaultProxy
        self.here: Psql

    async def start(self) -> None:
        await self.postgres.start()
        await self.postgres.create_owned_database("evpower")
        await self.postgres.create_database("supabase")
        self.here = Psql(as_owner(self.postgres.owner_dsn("evpower")))
        self.there = Psql(self.postgres.dsn("supabase"))
        self.supabase = LocalSupabase(
            self.postgres.dsn("supabase"),
            port=ports.free_port(),  # kept over its deaths
            state_dir=self.folder / "state",
            migrations_dir=supabase_migrations(),
            pg_net="stuck",  # what it would send is taken out of its queue by hand
        )
        await asyncio.gather(self.supabase.start(), migrate(self.postgres.owner_dsn("evpower")))
        await set_login_defaults(await self.here(), PATIENT_DEFAULTS)
        self.proxy = await FaultProxy(self.supabase.url).start()
        self.phone_app = httpx.AsyncClient(
            base_url=self.supabase.url, timeout=WAIT_LIMIT_S, trust_env=False
        )
        self.nodes = [await self._new_node() for _ in range(NODES)]
        await self.nodes[0].rpc.call(
            "evpower_webhook_configure",
            json.dumps({"payload": {"url": f"http://evpower{WEBHOOK}", "secret": SECRET}}).encode(),
        )

    async def stop(self) -> None:
        await self.drop_late()
        for node in self.nodes:
            await node.close()
        await self.phone_app.aclose()
        await self.proxy.stop()
        await self.supabase.stop()
        for psql in (self.here, self.there):
            await psql.close()
        await self.postgres.stop()

    def reached(self, step: Failpoint) -> None:
        """Stands in for failpoints.hit: `cut` names where to die."""
        if step is self.cut:
            self.cut = None
            raise PowerCut

    # -- EvPower's processes -------------------------------------------------------------------

    async def _new_node(self) -> Node:
        supabase, url = self.supabase, self.proxy.url
        settings = Settings(
            _env_file=None,  # pyright: ignore[reportCallIssue]
            env="development",
            database_url=SecretStr(self.postgres.owner_dsn("evpower")),
            database_pool=8,
            supabase_url=supabase.url,
            supabase_secret_key=SecretStr(supabase.secret_key),
            supabase_publishable_key=supabase.publishable_key,
            supabase_jwt_secret=SecretStr(supabase.jwt_secret),
            supabase_webhook_secrets=SecretStr(SECRET),
            supabase_timeout_s=WAIT_LIMIT_S,
            relay_poll_s=0.05,
            rate_per_minute=10**6,
            rate_register_per_hour=10**6,
            register_confirm="auto",
            rate_webhook_per_minute=10**6,
        )
        # Tokens are issued under Supabase's own address, calls go through what fails on purpose.
        http = HttpThrough(self.proxy)
        rpc = sync.SupabaseRpc(http, url, supabase.secret_key)
        admin = identity.SupabaseAdmin(
            http=http,
            url=url,
            secret_key=settings.supabase_secret_key,
            publishable_key=supabase.publishable_key,
        )
        parts = assemble(settings, admin=admin)
        db, bus = parts.shared.db, parts.shared.bus
        db.wait_limit_s = WAIT_LIMIT_S  # a machine that is busy is no fault
        await db.start()
        app = create_app(
            parts.modules,
            db,
            parts.access.principal,
            settings,
            version="0",
        )
        return Node(
            parts,
            rpc,
            admin,
            http,
            httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://evpower"),
            sync.Relay(db, rpc, settings, self.clock, bus, lambda: 0.0),
            sync.Puller(db, rpc, settings, self.clock, bus, lambda: 0.0),
        )

    async def restart_node(self, index: int) -> None:
        await self.nodes[index].close()
        self.nodes[index] = await self._new_node()

    async def survive(self, work: Awaitable[object]) -> object:
        """Let a process work until it is done or dead."""
        try:
            return await work
        except PowerCut:
            return None

    async def all_at_once(self) -> None:
        """Every puller and every relay of every process, beside each other."""
        jobs = [work for node in self.nodes for work in (node.puller.drain(), node.relay.drain())]
        try:
            ended = await asyncio.gather(*map(self.survive, jobs), return_exceptions=True)
        finally:
            self.cut = None
        for result in ended:
            if isinstance(result, BaseException):
                raise result

    async def pull(self, node: int = 0) -> sync.PullResult:
        """Take all that was committed in Supabase until now."""
        await self.until_visible()
        return await self.nodes[node].puller.drain()

    async def converge(self) -> None:
        """Finish or end registrations that were cut off."""
        node = self.nodes[0]
        await converge_registrations(node.parts.shared.db, node.admin, self.clock)

    # -- what a power company may do -----------------------------------------------------------

    async def kill_supabase(self) -> None:
        self.supabase.kill()

    async def kill_postgres(self) -> None:
        """Kills both databases at once; uncommitted changes are lost."""
        if self.late is not None:
            self.late.terminate()
            self.late = None
        self.postgres.kill()
        await self.postgres.start()

    async def everything_runs(self) -> None:
        """Start what is down, no faults any more; returns when both sides answer."""
        self.proxy.plan.clear()
        self.cut = None
        await self.supabase.start()
        for node in self.nodes:
            await _patiently(lambda node=node: node.parts.shared.db.pool.execute("select 1"))
        await _patiently(self._supabase_answers)

    async def _supabase_answers(self) -> None:
        """A query that was under way when PostgreSQL died may never be answered: asked again."""
        for path in ("/rest/v1/clients?select=id&limit=1", "/auth/v1/admin/users?per_page=1"):
            answer = await self.phone_app.get(path, headers=self.server_key, timeout=5)
            answer.raise_for_status()

    async def time_passes(self) -> None:
        """Leases end, pauses end, breakers try again, half-way registrations are old."""
        self.clock.ahead += timedelta(minutes=20)
        await self.here.run(
            "update sync.pending set next_at = now(), leased_until = null where parked_at is null"
        )

    async def settle(self) -> None:
        """Everything runs until nothing moves any more, as it would by itself in a while."""
        await self.everything_runs()
        pulled: list[sync.PullResult] = []
        for _ in range(_ROUNDS):
            await self.time_passes()
            await self.converge()
            before = await self._marks()
            pulled = [await self.pull(node) for node in range(NODES)]
            for node in self.nodes:
                await node.relay.drain()
            moved = any(
                result.changes
                or result.scanned
                or result.failed
                or result.is_blocked
                or result.error
                for result in pulled
            )
            if not before and not moved and not await self._marks():
                return
        left = await self.here.rows("select topic, key, last_error from sync.pending")
        failed = await self.here.rows("select client_id, error from sync.failed_users")
        raise AssertionError(f"the sides never come to rest: {left} {failed} {pulled}")

    async def _marks(self) -> int:
        rows = await self.here.rows("select count(*) from sync.pending where parked_at is null")
        return int(rows[0][0])

    # -- notifications -------------------------------------------------------------------------

    async def new_notifications(self) -> list[Notification]:
        """Removes and returns the calls Supabase would make, as pg_net removes them."""
        rows = await self.there.rows(
            "delete from net.http_request_queue returning url, headers, body"
        )
        return [
            Notification(
                {name.lower(): value for name, value in json.loads(row["headers"]).items()},
                row["body"],
            )
            for row in rows
            if row["url"].endswith(WEBHOOK)
        ]

    async def ring(self, node: int, notification: Notification) -> int:
        """One call of our webhook; what the process then does by itself is a rule of its own."""
        answer = await self.nodes[node].http.post(
            WEBHOOK, headers=dict(notification.headers), content=notification.body
        )
        return answer.status_code

    async def inbox(self) -> int:
        """Returns how many calls were accepted in all."""
        rows = await self.here.rows("select count(*) from sync.inbox")
        return int(rows[0][0])

    # -- people at EvPower ---------------------------------------------------------------------

    async def register(self, node: int, email: str, phone: str, name: str) -> httpx.Response:
        return await self.nodes[node].http.post(
            "/api/v1/auth/register",
            json={"email": email, "password": PASSWORD, "phone": phone, "name": name},
        )

    async def first_request(self, node: int, client: UUID, token: str) -> int:
        answer = await self.nodes[node].http.get(
            f"/api/v1/balance/{client}", headers={"Authorization": f"Bearer {token}"}
        )
        return answer.status_code

    async def block(self, client: UUID, *, blocked: bool) -> None:
        act = identity.block_client if blocked else identity.unblock_client
        async with self.nodes[0].parts.shared.db.transaction() as connection:
            await act(connection, client, actor="operator", reason="the test says so")

    @asynccontextmanager
    async def money(self) -> AsyncGenerator[Money]:
        """Payments and charges, on a connection of their own."""
        connection: Connection = await asyncpg.connect(as_owner(self.postgres.owner_dsn("evpower")))
        try:
            yield Money(connection)
        finally:
            await connection.close()

    async def top_up(self, client: UUID, amount_minor: int) -> None:
        async with self.money() as money:
            await money.top_up(client, amount_minor)

    async def charge(self, client: UUID, cost_minor: int) -> None:
        async with self.money() as money:
            await money.session(client, cost_minor=cost_minor)

    # -- looks ---------------------------------------------------------------------------------

    async def client_here(self, client: UUID) -> Record | None:
        return await (await self.here()).fetchrow(
            "select * from identity.clients where id = $1", client
        )

    async def row_there(self, client: UUID) -> Record | None:
        return await (await self.there()).fetchrow(
            "select * from public.clients where id = $1", client
        )

    async def user_by_email(self, email: str) -> UUID | None:
        user_id: UUID | None = await (await self.there()).fetchval(
            "select id from auth.users where email = $1 and deleted_at is null", email
        )
        return user_id

    async def drift(self) -> list[Drift]:
        node = self.nodes[0]
        return list((await sync.check(node.parts.shared.db, node.rpc, pause=_no_pause)).drift)

    async def repair(self) -> None:
        node, db = self.nodes[0], self.nodes[0].parts.shared.db
        deliver = node.relay.drain
        await sync.check(db, node.rpc, repair=True, deliver=deliver, pause=_no_pause)


async def _patiently(work: Callable[[], Awaitable[object]], within_s: float = WAIT_LIMIT_S) -> None:
    async with asyncio.timeout(within_s):
        while True:
            try:
                await work()
            except (httpx.HTTPError, asyncpg.PostgresError, OSError, asyncpg.InterfaceError):
                await asyncio.sleep(0.05)
            else:
                return


async def _no_pause(_: float) -> None:
    """Nothing is under way at rest: no need to look twice with time between."""

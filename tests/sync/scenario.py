"""Things that happen in EvPower, and looks at what Supabase has of them."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from evpower.devstack.supabase.server import LocalSupabase
from evpower.foundation.db import Connection, Record
from evpower.sync.supabase_rpc import Rpc
from tests.sync.projects import connected

STATION = "CHR-BGK-001"
NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)


@dataclass(frozen=True)
class Target:
    """One Supabase project."""

    local: LocalSupabase
    dsn: str
    older: bool

    @asynccontextmanager
    async def psql(self) -> AsyncGenerator[Connection]:
        """Connects as the project's owner, who is no superuser."""
        async with connected(self.local.owner_dsn) as connection:
            yield connection

    @asynccontextmanager
    async def superuser(self) -> AsyncGenerator[Connection]:
        """For what a hosted project's owner may not do."""
        async with connected(self.dsn) as connection:
            yield connection

    async def empty(self, connection: Connection) -> None:
        await connection.execute(
            "truncate public.transactions, public.charging_sessions, public.clients"
        )


class Scenario:
    """What happens in EvPower, by its own functions."""

    def __init__(self, owner: Connection) -> None:
        self.db = owner

    async def client(self, *, email: str | None = None, name: str | None = "Aida") -> UUID:
        client = uuid4()
        await self.db.execute(
            "insert into identity.clients (id, email, name, origin) values ($1, $2, $3, 'import')",
            client,
            email or f"{client.hex}@example.kg",
            name,
        )
        return client

    async def clients(self, count: int) -> list[UUID]:
        keys = [uuid4() for _ in range(count)]
        await self.db.execute(
            "insert into identity.clients (id, name, origin)"
            " select k, 'x', 'import' from unnest($1::uuid[]) k",
            keys,
        )
        return keys

    async def top_up(self, client: UUID, *amounts_minor: int) -> list[str]:
        """Confirmed payments, credited; answers their invoices."""
        rows: list[Record] = await self.db.fetch(
            "insert into payments.payments (invoice_id, order_id, client_id, provider, method,"
            " amount_minor, status, paid_minor, confirmed_at, credited_ref, expires_at)"
            " select 'inv-' || gen_random_uuid(), 'ord-' || gen_random_uuid(), $1, 'sandbox', 'qr',"
            " a, 'approved', a, now(), gen_random_uuid(), now() from unnest($2::bigint[]) a"
            " returning id, invoice_id",
            client,
            amounts_minor,
        )
        await self.db.fetch("select wallet.credit_many($1)", [row["id"] for row in rows])
        return [row["invoice_id"] for row in rows]

    async def top_up_everyone(
        self, clients: Sequence[UUID], times: int, amount_minor: int = 1050
    ) -> None:
        """`times` credits for each, in as few statements as it takes."""
        await self.db.execute(
            "insert into payments.payments (invoice_id, order_id, client_id, provider, method,"
            " amount_minor, status, paid_minor, confirmed_at, credited_ref, expires_at)"
            " select 'inv-' || gen_random_uuid(), 'ord-' || gen_random_uuid(), c, 'sandbox', 'qr',"
            " $3, 'approved', $3, now(), gen_random_uuid(), now()"
            " from unnest($1::uuid[]) c, generate_series(1, $2)",
            clients,
            times,
            amount_minor,
        )
        await self.db.execute(
            "select wallet.credit_many(array(select p.id from payments.payments p"
            " left join wallet.transactions t on t.payment_id = p.id where t.id is null))"
        )

    async def session(
        self,
        client: UUID,
        *,
        cost_minor: int = 12_345,
        energy_wh: int = 10_001,
        station: str = STATION,
        charge: bool = True,
    ) -> UUID:
        """A finished session, charged."""
        session = uuid4()
        await self.db.execute(
            "insert into charging.sessions (id, client_id, station_id, connector_id, state, source,"
            " started_at, ended_at, energy_wh, cost_minor)"
            " values ($1, $2, $3, 1, 'finished', 'import', $4, $5, $6, $7)",
            session,
            client,
            station,
            NOON,
            NOON + timedelta(minutes=40),
            energy_wh,
            cost_minor,
        )
        if charge:
            await self.db.fetchrow("select wallet.charge($1)", session)
        return session

    async def pending(self) -> int:
        count: int = await self.db.fetchval("select count(*) from sync.pending")
        return count


class Meanwhile:
    """Does something once, when Supabase has decided about a call and before its answer comes."""

    def __init__(self, rpc: Rpc, act: Callable[[], Awaitable[object]]) -> None:
        self._rpc = rpc
        self._acts = [act]

    async def call(self, function: str, body: bytes) -> object:
        answer = await self._rpc.call(function, body)
        if self._acts:
            await self._acts.pop()()
        return answer


async def balance(there: Connection, client: UUID) -> str | None:
    """Som, as text with two decimals; None without a row."""
    return await there.fetchval(
        "select round(balance::numeric, 2)::text from public.clients where id::text = $1",
        str(client),
    )


async def versions(there: Connection, client: UUID) -> list[int]:
    rows: list[Record] = await there.fetch(
        "select version from public.transactions where client_id::text = $1 order by version",
        str(client),
    )
    return [row["version"] for row in rows]


@asynccontextmanager
async def by_hand(there: Connection) -> AsyncGenerator[None]:
    """Writes with the guard switched off, as only the owner can."""
    await there.execute("alter table public.clients disable trigger user")
    try:
        yield
    finally:
        await there.execute("alter table public.clients enable trigger user")

"""Writes the rows a wallet refers to, as the other slices write them."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from evpower.foundation.db import Connection

NOON = datetime(2026, 3, 8, 12, tzinfo=UTC)


@dataclass(frozen=True)
class Scenario:
    """Writes payments, sessions and refund orders as the database's owner."""

    sql: Connection

    async def is_lock_awaited(self) -> bool:
        """Whether a transaction of this database waits for a lock; other tests share the server."""
        return await self.sql.fetchval(
            "select exists (select from pg_locks w where not w.granted and exists ("
            "  select from pg_locks h join pg_database d on d.oid = h.database"
            "   where h.pid = w.pid and d.datname = current_database()))"
        )

    async def client(self) -> UUID:
        client = uuid4()
        await self.sql.execute(
            "insert into identity.clients (id, origin) values ($1, 'import')", client
        )
        return client

    async def payment(self, client: UUID, amount_minor: int, *, confirmed: bool = True) -> int:
        """Insert a payment, approved if `confirmed`; returns its id."""
        code = uuid4().hex[:16]
        return await self.sql.fetchval(
            """
            insert into payments.payments (invoice_id, order_id, client_id, provider, method,
              amount_minor, status, paid_minor, confirmed_at, credited_ref, expires_at)
            values ($1, $1, $2, 'sandbox', 'qr', $3, $4, $5, $6, $7, now())
            returning id
            """,
            code,
            client,
            amount_minor,
            "approved" if confirmed else "processing",
            amount_minor if confirmed else None,
            NOON if confirmed else None,
            code if confirmed else None,
        )

    async def confirm(self, payment_id: int) -> None:
        await self.sql.execute(
            """
            update payments.payments
               set status = 'approved', paid_minor = amount_minor, confirmed_at = now(),
                   credited_ref = order_id
             where id = $1
            """,
            payment_id,
        )

    async def topped_up(self, amount_minor: int) -> UUID:
        """Create a client with this balance."""
        client = await self.client()
        payment = await self.payment(client, amount_minor)
        await self.sql.execute("select wallet.credit($1)", payment)
        return client

    async def session(self, client: UUID, *, state: str = "requested", cost_minor: int = 0) -> UUID:
        """Insert an imported session: a client may have several of these at once."""
        session = uuid4()
        await self.sql.execute(
            """
            insert into charging.sessions (id, client_id, station_id, connector_id, state, source,
              started_at, ended_at, cost_minor)
            values ($1, $2, 'S1', 1, $3, 'import', $4, $4, $5)
            """,
            session,
            client,
            state,
            NOON,
            cost_minor,
        )
        return session

    async def finish(self, session: UUID, cost_minor: int) -> UUID:
        """End the session with this cost, without charging it."""
        await self.sql.execute(
            """
            update charging.sessions
               set state = 'finished', cost_minor = $2, started_at = $3, ended_at = $3
             where id = $1
            """,
            session,
            cost_minor,
            NOON,
        )
        return session

    async def finished(self, client: UUID, cost_minor: int) -> UUID:
        """Insert a finished session that is not charged."""
        return await self.session(client, state="finished", cost_minor=cost_minor)

    async def settled(self, client: UUID, cost_minor: int) -> UUID:
        """Insert a finished session and charge it."""
        session = await self.finished(client, cost_minor)
        await self.sql.execute("select wallet.charge($1)", session)
        return session

    async def charged(self, client: UUID, cost_minor: int) -> int:
        """Insert a finished session and charge it; returns the bill's id."""
        session = await self.finished(client, cost_minor)
        return await self.sql.fetchval("select cause_id from wallet.charge($1)", session)

    async def correct(
        self, session: UUID, cost_minor: int, energy_wh: int = 0, ended_at: datetime = NOON
    ) -> str:
        """Correct the session's cost; returns the outcome."""
        return await self.sql.fetchval(
            "select outcome from wallet.correct($1, $2, $3, $4, 'operator', 'a better figure')",
            session,
            cost_minor,
            energy_wh,
            ended_at,
        )

    async def bills(self, session: UUID) -> list[tuple[int | None, int | None, int, int]]:
        """Return number, total, due and debited of a session's settlements, oldest first."""
        rows = await self.sql.fetch(
            "select bill_number, total_minor, due_minor, debited_minor from charging.settlements"
            " where session_id = $1 order by id",
            session,
        )
        return [(row[0], row[1], row[2], row[3]) for row in rows]

    async def refund_order(
        self,
        client: UUID,
        amount_minor: int,
        *,
        settlement_id: int | None = None,
        payment_id: int | None = None,
    ) -> int:
        return await self.sql.fetchval(
            """
            insert into wallet.refunds (client_id, settlement_id, payment_id, amount_minor, actor,
                                        reason)
            values ($1, $2, $3, $4, 'operator', 'test') returning id
            """,
            client,
            settlement_id,
            payment_id,
            amount_minor,
        )

    async def wallet(self, client: UUID) -> dict[str, Any]:
        row = await self.sql.fetchrow("select * from wallet.wallets where client_id = $1", client)
        assert row is not None
        return dict(row)

    async def money(self, client: UUID) -> tuple[int, int, int]:
        """Return balance, held and debt, in minor units."""
        wallet = await self.wallet(client)
        return wallet["balance_minor"], wallet["held_minor"], wallet["debt_minor"]

    async def amounts(self, client: UUID) -> list[int]:
        """Return the signed amounts of the client's transactions, oldest first."""
        rows = await self.sql.fetch(
            "select amount_minor from wallet.transactions where client_id = $1 order by version",
            client,
        )
        return [row["amount_minor"] for row in rows]

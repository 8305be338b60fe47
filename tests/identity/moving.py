"""An operator with old clients, a Supabase project that may know some of them, and attackers."""

import asyncio
import csv
import io
import os
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx

from evpower import client_migration
from evpower.cli.identity import _carrier
from evpower.devstack.supabase.server import LocalSupabase
from evpower.foundation.db import Connection, Database
from evpower.identity import Contact, SupabaseAdmin
from evpower.sync import SupabaseRpc

CONFIRMED: Mapping[str, Any] = {"email_confirm": True}
UNVERIFIED: Mapping[str, Any] = {
    "email_confirm": True,
    "app_metadata": {"evpower_email_unverified": True},
}


@dataclass
class Moving:
    """Everything a run needs, and looks at what it did."""

    db: Database  # as the login, as the command does
    owner: Connection
    there: Connection  # psql in the Supabase project
    supabase: LocalSupabase
    admin: SupabaseAdmin
    http: httpx.AsyncClient
    folder: Path
    by: str = "rpc"
    trusted: frozenset[Contact] = frozenset()  # what the operator trusts Auth with
    calls: list[float] = field(default_factory=list[float])

    def csv(self, *rows: Mapping[str, object], **options: Any) -> client_migration.CsvSource:
        """A file of these rows; a column that no row has is not there."""
        path = self.folder / f"{uuid4().hex}.csv"
        path.write_text(text_of(rows), encoding="utf-8")
        return client_migration.CsvSource(path, **options)

    async def people(self) -> AsyncIterator[Sequence[client_migration.KnownUser]]:
        pages = (
            client_migration.users_by_rpc(
                SupabaseRpc(self.http, self.supabase.url, self.supabase.secret_key), limit=3
            )
            if self.by == "rpc"
            else client_migration.users_by_admin(self.admin, per_page=3, trusted=self.trusted)
        )
        async for page in pages:
            yield page

    async def plan(
        self, source: client_migration.RowSource, **options: Any
    ) -> client_migration.PlanResult:
        plan_options = {"actor": "Aizada", "dry_run": False, "trusted": self.trusted, **options}
        if self.by == "rpc":
            plan_options["verified_users"] = client_migration.users_by_admin(self.admin, per_page=3)
        return await client_migration.plan(self.db, source, self.people(), **plan_options)

    async def run(
        self,
        source: client_migration.RowSource,
        *,
        stop: asyncio.Event | None = None,
        **options: Any,
    ) -> client_migration.RunSummary:
        """Plan, or take up what was stopped, and carry it out."""
        async with self.db.transaction() as connection:
            run = await client_migration.resumable(connection)
        run = run or (await self.plan(source)).run
        assert run is not None
        return await self.execute(source, run, stop=stop, **options)

    async def execute(
        self,
        source: client_migration.RowSource,
        run: client_migration.Run,
        *,
        stop: asyncio.Event | None = None,
        admin: SupabaseAdmin | None = None,
        **options: Any,
    ) -> client_migration.RunSummary:
        return await client_migration.execute(
            self.db, admin or self.admin, source, run,
            credit_balance=_carrier("Aizada", "moved"), actor="Aizada", stop=stop,
            options=client_migration.ExecuteOptions(
                **({"rate_limiter": self.rate_limiter(), "at_once": 4} | options)
            ),
        )  # fmt: skip

    def rate_limiter(self) -> client_migration.RateLimiter:
        """Returns a rate limiter that never sleeps; it notes the seconds in `calls`."""

        async def sleep(seconds: float) -> None:
            self.calls.append(seconds)

        return client_migration.RateLimiter(1e9, sleep=sleep)

    async def user(self, **fields: Any) -> UUID:
        """A user of the project, as its admin API makes one."""
        answer = await self.http.post(
            f"{self.supabase.url}/auth/v1/admin/users",
            json={"password": "correct-horse-7", **fields},
            headers={"apikey": self.supabase.secret_key},
        )
        assert answer.status_code == 200, answer.text
        return UUID(answer.json()["id"])

    async def sign_in(self, password: str, **credentials: str) -> Any:
        answer = await self.http.post(
            f"{self.supabase.url}/auth/v1/token?grant_type=password",
            json={"password": password, **credentials},
            headers={"apikey": self.supabase.publishable_key},
        )
        return answer.json()

    async def users(self) -> int:
        return await self.there.fetchval("select count(*) from auth.users")

    async def reason(self, source: client_migration.RowSource, line: int = 2) -> str | None:
        """Why the row of this line would not be moved; None: it would."""
        planned = await self.plan(source, dry_run=True)
        reasons = [row.reason for row in planned.troubles if row.line == line]
        return reasons[0] if reasons else None

    async def named(self) -> dict[str, UUID]:
        """Whom every old id means."""
        rows = await self.owner.fetch(
            "select alias, client_id from identity.aliases where kind = 'client_id'"
        )
        return {row["alias"]: row["client_id"] for row in rows}

    async def balance(self, client_id: UUID) -> int:
        return await self.owner.fetchval(
            "select balance_minor from wallet.wallets where client_id = $1", client_id
        )

    @contextmanager
    def environment(self, dsn: str) -> Iterator[dict[str, str]]:
        """What `evpower identity` reads."""
        clean = {k: v for k, v in os.environ.items() if not k.startswith("EVPOWER_")}
        yield {
            **clean,
            "EVPOWER_ENV": "development",
            "EVPOWER_DATABASE_URL": f"{dsn}?application_name=command",
            "EVPOWER_SUPABASE_URL": self.supabase.url,
            "EVPOWER_SUPABASE_SECRET_KEY": self.supabase.secret_key,
            "EVPOWER_SUPABASE_PUBLISHABLE_KEY": self.supabase.publishable_key,
        }


def text_of(rows: Sequence[Mapping[str, object]]) -> str:
    out = io.StringIO()
    names = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(out, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


_PHONES = count(1)  # two alike would be a conflict


def someone(old_id: object = None, **fields: object) -> dict[str, object]:
    """Returns a row of an old client that resembles no other client."""
    number = uuid4().int
    return {
        "id": old_id if old_id is not None else f"c{number % 10**12}",
        "email": f"{number:x}@example.kg"[-60:],
        "phone": f"+996555{next(_PHONES):06}",
        "name": "Aida",
        **fields,
    }


_TABLES = """
select format('%I.%I', n.nspname, c.relname)
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
 where c.relkind in ('r', 'p', 'S') and n.nspname not in ('pg_catalog', 'information_schema')
   and n.nspname !~ '^pg_' order by 1
"""


async def everything(connection: Connection) -> dict[str, str]:
    """Every table and sequence of a database and a digest of what is in it."""
    digests: dict[str, str] = {}
    for row in await connection.fetch(_TABLES):
        [table] = row
        digests[table] = await connection.fetchval(
            "select md5(coalesce(string_agg(t::text, ',' order by t::text), ''))"
            f" from (select * from {table}) t"
        )
    return digests

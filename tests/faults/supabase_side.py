"""The Supabase side of the scenario: what users, servers and psql do there."""

import json
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import asyncpg
import httpx

from evpower.devstack.postgres.server import EmbeddedPostgres
from evpower.devstack.supabase.server import LocalSupabase
from evpower.foundation.db import Connection, Record
from tests.waiting import until

PASSWORD = "correct-horse-7"


class Psql:
    """The owner's connection to one database, opened anew after a crash of PostgreSQL."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._connection: Connection | None = None

    async def __call__(self) -> Connection:
        if self._connection is None or self._connection.is_closed():
            self._connection = await asyncpg.connect(self._dsn)
        return self._connection

    async def rows(self, sql: str, *arguments: object) -> list[Record]:
        return await (await self()).fetch(sql, *arguments)

    async def run(self, sql: str, *arguments: object) -> str:
        return await (await self()).execute(sql, *arguments)

    async def close(self) -> None:
        if self._connection is not None:
            await self._connection.close()


class SupabaseSide:
    """A real local Supabase, as its apps and its owner reach it."""

    postgres: EmbeddedPostgres
    supabase: LocalSupabase
    there: Psql
    phone_app: httpx.AsyncClient
    late: Connection | None = None

    # -- people at Supabase --------------------------------------------------------------------

    @property
    def server_key(self) -> dict[str, str]:
        return {"apikey": self.supabase.secret_key}

    def driver_key(self, token: str) -> dict[str, str]:
        return {"apikey": self.supabase.publishable_key, "Authorization": f"Bearer {token}"}

    async def sign_up(self, email: str, metadata: Mapping[str, str]) -> tuple[UUID, str] | None:
        """The app signs up at Supabase; None when another user has this address."""
        answer = await self.phone_app.post(
            "/auth/v1/signup",
            headers={"apikey": self.supabase.publishable_key},
            json={"email": email, "password": PASSWORD, "data": dict(metadata)},
        )
        if answer.status_code in {400, 409, 422}:
            return None
        assert answer.status_code == 200, answer.text
        return UUID(answer.json()["user"]["id"]), answer.json()["access_token"]

    async def write_balance(self, headers: Mapping[str, str], client: UUID) -> int:
        """Try to be rich; answers Supabase's status."""
        answer = await self.phone_app.patch(
            f"/rest/v1/clients?id=eq.{client}", headers=headers, json={"balance": 123_456}
        )
        return answer.status_code

    async def sign_in(self, email: str) -> str:
        answer = await self.phone_app.post(
            "/auth/v1/token?grant_type=password",
            headers={"apikey": self.supabase.publishable_key},
            json={"email": email, "password": PASSWORD},
        )
        assert answer.status_code == 200, answer.text
        token: str = answer.json()["access_token"]
        return token

    async def write_row(self, headers: Mapping[str, str], client: UUID, **columns: object) -> bool:
        """Change a client's row as the app or a server does; False when there is none."""
        answer = await self.phone_app.patch(
            f"/rest/v1/clients?id=eq.{client}",
            headers={**headers, "Prefer": "return=representation"},
            json=columns,
        )
        assert answer.status_code == 200, answer.text
        return bool(answer.json())

    async def insert_row(self, headers: Mapping[str, str], client: UUID, **columns: object) -> None:
        answer = await self.phone_app.post(
            "/rest/v1/clients", headers=headers, json={"id": str(client), **columns}
        )
        assert answer.status_code == 201, answer.text

    async def delete_row(self, client: UUID) -> None:
        answer = await self.phone_app.delete(
            f"/rest/v1/clients?id=eq.{client}", headers=self.server_key
        )
        assert answer.is_success, answer.text

    async def change_user(self, client: UUID, **changes: object) -> bool:
        """Changes a user in Auth; False when another user has this address."""
        answer = await self.phone_app.put(
            f"/auth/v1/admin/users/{client}", headers=self.server_key, json=changes
        )
        if answer.status_code == 422:
            return False
        assert answer.status_code == 200, answer.text
        return True

    async def delete_user(self, client: UUID, *, soft: bool) -> None:
        answer = await self.phone_app.request(
            "DELETE",
            f"/auth/v1/admin/users/{client}",
            headers=self.server_key,
            json={"should_soft_delete": soft},
        )
        assert answer.status_code == 200, answer.text

    # -- a transaction of Supabase that takes long ---------------------------------------------

    async def open_late(self) -> None:
        """Begin one; it is older than all that comes until it ends."""
        assert self.late is None
        self.late = await asyncpg.connect(self.postgres.dsn("supabase"))
        await self.late.execute("begin")
        await self.late.fetchval("select pg_current_xact_id()")

    async def finish_late(self, changes: Sequence[tuple[UUID, str, str | None]]) -> set[UUID]:
        """Write these at last, and commit; answers whose row was there."""
        assert self.late is not None
        touched: set[UUID] = set()
        for client, column, value in changes:
            done = await self.late.execute(
                f"update public.clients set {column} = $2 where id = $1", client, value
            )
            if done == "UPDATE 1":
                touched.add(client)
        await self.late.execute("commit")
        await self.drop_late()
        return touched

    async def drop_late(self) -> None:
        late, self.late = self.late, None
        if late is not None:
            await late.close()

    # -- the change log ----------------------------------------------------------------------

    async def until_visible(self) -> None:
        """Waits until evpower_changes returns every change committed until now.

        A transaction that began before one of them, of anybody in this PostgreSQL, holds it back.
        """
        await until(self._nothing_is_held, "an older transaction never ended")

    async def _nothing_is_held(self) -> bool:
        rows = await self.there.rows(
            "select from evpower.changes where xid >= pg_snapshot_xmin(pg_current_snapshot())"
        )
        return not rows

    async def changes(self, after: Mapping[str, Any] | None, *, limit: int) -> list[dict[str, Any]]:
        """One page of Supabase's change log, as EvPower's key reads it."""
        answer = await self.phone_app.post(
            "/rest/v1/rpc/evpower_changes",
            headers=self.server_key,
            json={"payload": {"after": after, "limit": limit}},
        )
        assert answer.status_code == 200, answer.text
        page = _inside(answer.json())
        changes: list[dict[str, Any]] = page["changes"]
        return changes

    async def log_end(self) -> Mapping[str, Any] | None:
        """Where the change log ends now."""
        after: Mapping[str, Any] | None = None
        while page := await self.changes(after, limit=1000):
            after = {"xid": page[-1]["xid"], "seq": page[-1]["seq"]}
        return after


def _inside(answer: Any) -> dict[str, Any]:
    """Some gateways hand jsonb over as text, some wrap it in a row."""
    if isinstance(answer, str):
        return _inside(json.loads(answer))
    if isinstance(answer, list):
        return _inside(answer[0])  # pyright: ignore[reportUnknownArgumentType]
    return answer.get("evpower_changes", answer)

"""Users of Supabase, changed by themselves, an operator and a superuser; reads EvPower's side."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
from prometheus_client import REGISTRY

from evpower.config import Settings
from evpower.foundation.clock import Clock, utc_now
from evpower.foundation.db import Connection, Database, Record
from evpower.sync import Puller, PullResult
from evpower.sync.supabase_rpc import Rpc
from tests.sync.changes_log import until_visible
from tests.sync.scenario import Target

PASSWORD = "correct-horse-7"


class HandClock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now

    def move(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@dataclass(frozen=True)
class Driver:
    """A driver who signed up in the app."""

    id: UUID
    email: str
    token: str


class Supabase:
    """The project, through its own front doors and as its owner."""

    def __init__(self, target: Target, psql: Connection, http: httpx.AsyncClient) -> None:
        self.target = target
        self.psql = psql
        self._http = http

    @property
    def url(self) -> str:
        return self.target.local.url

    @property
    def server_key(self) -> dict[str, str]:
        return {"apikey": self.target.local.secret_key}

    def driver_key(self, driver: Driver) -> dict[str, str]:
        return {
            "apikey": self.target.local.publishable_key,
            "Authorization": f"Bearer {driver.token}",
        }

    async def sign_up(self, email: str | None = None, **metadata: str) -> Driver:
        email = email or f"{secrets.token_hex(6)}@example.kg"
        answer = await self._http.post(
            f"{self.url}/auth/v1/signup",
            headers={"apikey": self.target.local.publishable_key},
            json={"email": email, "password": PASSWORD, "data": metadata},
        )
        assert answer.status_code == 200, answer.text
        body = answer.json()
        return Driver(UUID(body["user"]["id"]), email, body["access_token"])

    async def change_user(self, client: UUID, **changes: object) -> None:
        answer = await self._http.put(
            f"{self.url}/auth/v1/admin/users/{client}", headers=self.server_key, json=changes
        )
        assert answer.status_code == 200, answer.text

    async def delete_user(self, client: UUID, *, soft: bool = False) -> None:
        answer = await self._http.request(
            "DELETE",
            f"{self.url}/auth/v1/admin/users/{client}",
            headers=self.server_key,
            json={"should_soft_delete": soft},
        )
        assert answer.status_code == 200, answer.text

    async def patch(
        self, headers: Mapping[str, str], client: UUID, **columns: object
    ) -> httpx.Response:
        """Write the row through PostgREST."""
        return await self._http.patch(
            f"{self.url}/rest/v1/clients?id=eq.{client}",
            headers={**headers, "Prefer": "return=representation"},
            json=columns,
        )

    async def insert_row(self, client: UUID | str, **columns: object) -> None:
        names = ["id", *columns]
        await self.psql.execute(
            f"insert into public.clients ({', '.join(names)})"
            f" values ({', '.join(f'${n + 1}' for n in range(len(names)))})",
            self.key(client),
            *columns.values(),
        )

    async def update_row(self, client: UUID, **columns: object) -> None:
        sets = ", ".join(f"{name} = ${n + 2}" for n, name in enumerate(columns))
        await self.psql.execute(
            f"update public.clients set {sets} where id = $1", self.key(client), *columns.values()
        )

    async def row(self, client: UUID) -> Record | None:
        return await self.psql.fetchrow(
            "select * from public.clients where id = $1", self.key(client)
        )

    async def delete_row(self, client: UUID) -> None:
        await self.psql.execute("delete from public.clients where id = $1", self.key(client))

    async def changes(self) -> int:
        count: int = await self.psql.fetchval("select count(*) from evpower.changes")
        return count

    def key(self, client: UUID | str) -> UUID | str:
        return str(client) if self.target.older else client


class DrainsAll(Puller):
    """A puller that takes all that was committed in Supabase before it drains, with one drain.

    No other user shares `there` meanwhile; None: the test wrote down what it reads.
    """

    def __init__(
        self,
        db: Database,
        rpc: Rpc,
        settings: Settings,
        there: Connection | None,
        clock: Clock = utc_now,
    ) -> None:
        super().__init__(db, rpc, settings, clock, jitter=lambda: 0.0)
        self._there = there

    async def drain(self) -> PullResult:
        if self._there is not None:
            await until_visible(self._there)
        return await super().drain()


async def emptied(target: Target, psql: Connection) -> None:
    """Empties the project: no user and no logged change."""
    await target.empty(psql)
    await psql.execute("truncate auth.users cascade")
    await psql.execute("truncate evpower.changes")


async def client_here(owner: Connection, client: UUID) -> Record:
    """EvPower's row."""
    row = await owner.fetchrow("select * from identity.clients where id = $1", client)
    assert row is not None, "EvPower does not know them"
    return row


def counted(kind: str) -> float:
    """How often this row of the conflict table was met in this process."""
    name = "evpower_sync_conflicts_total"
    return REGISTRY.get_sample_value(name, {"kind": kind}) or 0.0


def person(user_id: UUID | str | None = None, /, **parts: Any) -> dict[str, Any]:
    """Returns a user as evpower_people returns it; `client` and `user` are completed."""
    row, user = parts.get("client"), parts.get("user")
    return {
        "id": str(user_id or uuid4()),
        "client": None
        if row is None
        else {
            "email": None, "phone": None, "name": None, "status": "active",
            "delete_requested_at": None, "written": True, **row,
        },
        "user": None
        if user is None
        else {
            "email": None, "phone": None, "email_confirmed": True, "phone_confirmed": False,
            "metadata": {}, "deleted": False, "email_unverified": False, **user,
        },
    }  # fmt: skip


class Scripted:
    """Answers what a test wrote down, function by function, and counts the calls."""

    def __init__(self, inner: Rpc | None = None) -> None:
        self.inner = inner
        self.answers: dict[str, list[Any]] = {}
        self.calls: list[str] = []

    async def call(self, function: str, body: bytes) -> object:
        self.calls.append(function)
        waiting = self.answers.get(function)
        if waiting:
            answer = waiting.pop(0)
            if isinstance(answer, BaseException):
                raise answer
            return await answer() if callable(answer) else answer
        if self.inner is not None:
            return await self.inner.call(function, body)
        if function == "evpower_people":
            return {"people": [], "next": None}
        return page()


def page(
    *people: dict[str, Any], seq: int = 1, more: bool = False, **change: Any
) -> dict[str, Any]:
    """Returns a page of changes, one for each of these users."""
    listed = [
        {
            "xid": "700", "seq": seq + n, "table": "clients", "op": "update", "id": user["id"],
            "at": "2026-11-22 21:08:55.457253+00", **change,
        }
        for n, user in enumerate(people)
    ]  # fmt: skip
    return {"changes": listed, "people": list(people), "more": more, "held": False, "reset": False}

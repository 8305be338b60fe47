"""Looks at the change log of a Supabase project, as its owner and as EvPower reads it."""

import json
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID, uuid4

import httpx

from evpower.foundation.db import Connection
from tests.waiting import until

PASSWORD = "secret12"
Note = tuple[str, str, str]  # table, op, id


async def rpc(there: Connection, function: str, **payload: object) -> dict[str, Any]:
    """Call one of the functions as PostgREST does, in a transaction of its own."""
    answer = await there.fetchval(f"select public.{function}($1::jsonb)", json.dumps(payload))
    return json.loads(answer)


async def logged(there: Connection) -> list[Note]:
    """Every row of the log, in the order it was written."""
    rows = await there.fetch('select "table", op, row_id from evpower.changes order by seq')
    return [(row["table"], row["op"], row["row_id"]) for row in rows]


async def forget(there: Connection) -> None:
    """Begin with an empty log."""
    await there.execute("delete from evpower.changes")


async def until_visible(there: Connection) -> None:
    """Waits until evpower_changes returns every change logged so far.

    A transaction that began before one of them, of anybody in the cluster, holds it back; once it
    is given out it stays so.
    """
    await until(lambda: _nothing_is_held(there), "an older transaction never ends")


async def _nothing_is_held(there: Connection) -> bool:
    return await there.fetchval(
        "select not exists (select from evpower.changes"
        " where xid >= pg_snapshot_xmin(pg_current_snapshot()))"
    )


class Reader:
    """EvPower's side: a cursor that moves with what was read."""

    def __init__(self, there: Connection, limit: int = 1000) -> None:
        self.there = there
        self.limit = limit
        self.after: Mapping[str, object] | None = None
        self.seen: list[dict[str, Any]] = []

    async def read(self) -> dict[str, Any]:
        page = await rpc(self.there, "evpower_changes", after=self.after, limit=self.limit)
        for change in page["changes"]:
            self.after = {"xid": change["xid"], "seq": change["seq"]}
            self.seen.append(change)
        return page

    async def read_until(self, count: int) -> list[dict[str, Any]]:
        """Reads until so many changes came: another transaction may block the log a moment."""

        async def all_came() -> bool:
            if len(self.seen) < count:
                await self.read()
            return len(self.seen) >= count

        await until(all_came, f"{count} changes never came")
        return self.seen

    @property
    def ids(self) -> Sequence[str]:
        return [change["id"] for change in self.seen]


async def sign_up(app: httpx.AsyncClient) -> tuple[str, str, dict[str, str]]:
    """A driver signs up; answers id, email, and the headers of this driver's app."""
    email = f"{uuid4().hex}@example.kg"
    answer = await app.post("/auth/v1/signup", json={"email": email, "password": PASSWORD})
    assert answer.status_code == 200, answer.text
    session = answer.json()
    return session["user"]["id"], email, {"Authorization": f"Bearer {session['access_token']}"}


async def as_auth(there: Connection, sql: str, *arguments: object) -> str:
    """Run it as Auth's own role."""
    async with there.transaction():
        await there.execute("set local role supabase_auth_admin")
        return await there.execute(sql, *arguments)


async def make_user(there: Connection, **columns: object) -> UUID:
    """A user as Auth writes it."""
    key = uuid4()
    values: dict[str, object] = {"id": key, "email": f"{key.hex}@example.kg", **columns}
    names = ", ".join(values)
    marks = ", ".join(f"${n}" for n in range(1, len(values) + 1))
    await as_auth(there, f"insert into auth.users ({names}) values ({marks})", *values.values())
    return key


async def make_row(there: Connection, key: UUID | str, **columns: object) -> str:
    """A client's row as the project itself writes it."""
    await there.execute(
        "insert into public.clients (id, email, phone, name, status) select id, email, phone, name,"
        " coalesce(status, 'active') from jsonb_populate_record(null::public.clients, $1::jsonb)",
        json.dumps({"id": str(key), **columns}),
    )
    return str(key)


def digits() -> str:
    """A phone as Auth keeps it."""
    return f"996{uuid4().int % 10**9:09}"

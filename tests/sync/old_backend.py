"""A Supabase project that an older backend writes to, and what that backend does there."""

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from evpower.devstack.stack import supabase_migrations
from evpower.devstack.supabase.server import LocalSupabase
from evpower.foundation.db import Connection
from tests.conftest import Server
from tests.folders import server_folder
from tests.sync.scenario import Target

TABLES = Path(__file__).parent / "old_backend.sql"


@asynccontextmanager
async def old_backend_project(server: Server, name: str) -> AsyncGenerator[Target]:
    """A running project with EvPower's files applied as they come: the guard as it begins."""
    with server_folder(name) as folder:
        migrations = folder / "migrations"
        migrations.mkdir()
        for path in supabase_migrations().iterdir():
            (migrations / path.name).write_bytes(path.read_bytes())
        (migrations / "20250101000000_old_backend.sql").write_bytes(TABLES.read_bytes())
        await server.postgres.create_database(name)
        local = LocalSupabase(
            server.dsn(name), port=None, state_dir=folder / "state", migrations_dir=migrations
        )
        await local.start()
        try:
            yield Target(local, server.dsn(name), older=True)
        finally:
            await local.stop()


class OldBackend:
    """Writes as the older backend does: straight to the tables, as the project's owner."""

    def __init__(self, there: Connection) -> None:
        self.db = there

    async def sign_up(self, client: str, balance: float = 0) -> None:
        await self.db.execute(
            "insert into public.clients (id, name, balance) values ($1, 'Old', $2)", client, balance
        )

    async def top_up(self, client: str, som: float) -> None:
        await self.db.execute(
            "update public.clients set balance = balance + $2, updated_at = now() where id = $1",
            client,
            som,
        )

    async def heartbeat(self, station: str = "CHR-BGK-001") -> None:
        await self.db.execute(
            "update public.stations set is_available = true, last_heartbeat_at = now()"
            " where id = $1",
            station,
        )

    async def balance(self, client: str) -> float:
        return await self.db.fetchval("select balance from public.clients where id = $1", client)


async def switch(there: Connection, *, enable: bool | None = None) -> dict[str, Any]:
    """What public.evpower_guard returns."""
    payload = {} if enable is None else {"enable": enable}
    text = await there.fetchval("select public.evpower_guard($1)::text", json.dumps(payload))
    return json.loads(text)

"""EvPower as `evpower serve` runs it, plus two bench-only routes in the same app.

`GET /api/v1/bench/{name}/{client_id}` answers the bytes of the file `$BENCH_BYTES/{name}`: what the
same answer costs when it needs no data, behind the same middlewares.
`GET /api/v1/bench-insert/{call_id}` answers when one row is in `bench_calls`, and makes the process
pull the changes of Supabase, as a change notification does: what the way to PostgreSQL and back
costs beside the same pulls.
"""

import asyncio
import cProfile
import os
import signal
import sys
from functools import cache, partial
from pathlib import Path
from types import FrameType
from typing import Final, cast
from uuid import UUID

from fastapi import FastAPI, Response

from evpower.bootstrap import server
from evpower.bootstrap.modules import Assembled
from evpower.config import Settings
from evpower.foundation.db import Database
from evpower.foundation.roles import Role
from evpower.sync.model import SUPABASE_CHANGED

_FOLDER = Path(os.environ["BENCH_BYTES"])
_EVERYTHING: Final = UUID(int=0)
_build = server.build
_assemble = server.assemble
_INSERT: Final = """
with async_commit as materialized (select set_config('synchronous_commit', 'off', true))
insert into bench_calls (id) select $1 from async_commit
"""


@cache
def _bytes(name: str) -> bytes:
    return (_FOLDER / name).read_bytes()


async def _same_bytes(name: str, client_id: str) -> Response:
    del client_id
    return Response(content=_bytes(name), media_type="application/json")


def _build_with_bench_routes(settings: Settings, role: Role = "all") -> FastAPI:
    assembled: list[Assembled] = []

    def assemble(given: Settings) -> Assembled:
        assembled.append(_assemble(given))
        return assembled[-1]

    server.assemble = assemble
    app = _build(settings, role)
    bus = assembled[0].shared.bus
    dsn, size = settings.database_url.get_secret_value(), settings.database_pool
    opening = asyncio.Lock()
    opened: list[Database] = []

    async def insert(call_id: UUID) -> Response:
        async with opening:
            if not opened:
                opened.append(await Database.open(dsn, size=size))
        async with opened[0].connection() as connection:
            await connection.execute(_INSERT, call_id)
        bus.publish(SUPABASE_CHANGED, _EVERYTHING)
        return Response(content=b'{"success":true}', media_type="application/json")

    app.add_api_route("/api/v1/bench/{name}/{client_id}", _same_bytes)
    app.add_api_route("/api/v1/bench-insert/{call_id}", insert)
    for _ in range(2):
        app.router.routes.insert(0, app.router.routes.pop())  # found first: a fair baseline
    return app


def _outlive(_number: int, _frame: FrameType | None) -> None:
    """Uvicorn raises SIGTERM once more at its end; the profile is still to be written."""


def main() -> int:
    """Serve until a signal ends it; the role is the only argument."""
    server.build = _build_with_bench_routes
    run = partial(server.serve, Settings(), cast("Role", sys.argv[1]))
    profile = os.environ.get("BENCH_PROFILE")  # where to leave what cProfile saw
    if not profile:
        return run()
    signal.signal(signal.SIGTERM, _outlive)
    with cProfile.Profile() as profiler:
        code = run()
    profiler.dump_stats(profile)
    return code


if __name__ == "__main__":
    sys.exit(main())

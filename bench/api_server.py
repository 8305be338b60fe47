"""EvPower as `evpower serve` runs it, plus one bench-only route in the same app.

`GET /api/v1/bench/{name}/{client_id}` answers the bytes of the file `$BENCH_BYTES/{name}`: what the
same answer costs when it needs no data, behind the same middlewares.
"""

import cProfile
import os
import signal
import sys
from functools import cache, partial
from pathlib import Path
from types import FrameType
from typing import cast

from fastapi import FastAPI, Response

from evpower.bootstrap import server
from evpower.config import Settings
from evpower.foundation.roles import Role

_FOLDER = Path(os.environ["BENCH_BYTES"])
_build = server.build


@cache
def _bytes(name: str) -> bytes:
    return (_FOLDER / name).read_bytes()


async def _same_bytes(name: str, client_id: str) -> Response:
    del client_id
    return Response(content=_bytes(name), media_type="application/json")


def _build_with_bench_route(settings: Settings, role: Role = "all") -> FastAPI:
    app = _build(settings, role)
    app.add_api_route("/api/v1/bench/{name}/{client_id}", _same_bytes)
    app.router.routes.insert(0, app.router.routes.pop())  # found first: a fair baseline
    return app


def _outlive(_number: int, _frame: FrameType | None) -> None:
    """Uvicorn raises SIGTERM once more at its end; the profile is still to be written."""


def main() -> int:
    """Serve until a signal ends it; the role is the only argument."""
    server.build = _build_with_bench_route
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

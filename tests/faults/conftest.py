"""A whole durable stack whose processes may be killed: one a worker, shared by the cases."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from evpower.devstack.local import LocalEvPower, running
from evpower.foundation import failpoints
from evpower.foundation.failpoints import Failpoint
from tests.faults.both_sides import BothSides
from tests.folders import server_folder


@pytest.fixture(scope="session")
async def evpower() -> AsyncIterator[LocalEvPower]:
    with server_folder("faults", durable=True) as folder:
        made = LocalEvPower(
            folder / "data",
            split=True,
            environment={
                "EVPOWER_FAILPOINT_FILE": str(folder / "data" / "failpoint"),
                "EVPOWER_RELAY_LEASE_S": "3",  # a killed relay keeps its keys so long
                "EVPOWER_SUPABASE_TIMEOUT_S": "2",
                "EVPOWER_PULL_POLL_S": "0.3",
            },
        )
        async with running(made) as evpower:
            await _let_nothing_hold_changes_back(evpower)
            yield evpower


async def _let_nothing_hold_changes_back(evpower: LocalEvPower) -> None:
    """Autovacuum blocks Supabase's change log, and a notified puller retries only briefly."""
    connection = await asyncpg.connect(evpower.stack.postgres.dsn("postgres"))
    try:
        await connection.execute("alter system set autovacuum = off")
        await connection.execute("select pg_reload_conf()")
    finally:
        await connection.close()


def set_failpoint(evpower: LocalEvPower, step: Failpoint, pid: int) -> None:
    """Writes which process dies at which step, atomically."""
    path = evpower.stack.data / "failpoint"
    half_done = path.with_suffix(".new")
    half_done.write_text(f"{step.value} {pid}")
    half_done.replace(path)


@pytest.fixture(scope="module")
async def scenario() -> AsyncIterator[BothSides]:
    """Both sides for real, EvPower's parts in this process, where a test can cut them off."""
    with server_folder("both") as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("LITE_AUTH_BCRYPT_COST", "4")
        made = BothSides(folder)
        patch.setattr(failpoints, "hit", made.reached)
        try:
            await made.start()
            yield made
        finally:
            await made.stop()

"""A whole durable stack whose processes may be killed: one a worker, shared by the cases."""

import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from evpower.devstack.local import LocalEvPower, running
from evpower.foundation import steps
from tests.faults.both_sides import BothSides


@pytest.fixture(scope="session")
async def evpower() -> AsyncIterator[LocalEvPower]:
    folder = Path(tempfile.mkdtemp(prefix="evpower-faults-", dir="/var/tmp"))
    folder.chmod(0o755)
    try:
        made = LocalEvPower(
            folder / "data",
            split=True,
            environment={
                "EVPOWER_KILL_FUSE": str(folder / "data" / "fuse"),
                "EVPOWER_RELAY_LEASE_S": "3",  # a killed relay keeps its keys so long
                "EVPOWER_SUPABASE_TIMEOUT_S": "2",
                "EVPOWER_PULL_POLL_S": "0.3",
            },
        )
        async with running(made) as evpower:
            yield evpower
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def fuse(evpower: LocalEvPower) -> Path:
    """Where a case says who dies where: "step pid"."""
    return evpower.stack.data / "fuse"


@pytest.fixture(scope="module")
async def world() -> AsyncIterator[BothSides]:
    """Both sides for real, EvPower's parts in this process, where a test can cut them off."""
    folder = Path(tempfile.mkdtemp(prefix="evpower-both-", dir="/var/tmp"))
    folder.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LITE_AUTH_BCRYPT_COST", "4")
        made = BothSides(folder)
        patch.setattr(steps, "reached", made.reached)
        try:
            await made.start()
            yield made
        finally:
            await made.stop()
            shutil.rmtree(folder, ignore_errors=True)

"""A whole durable stack whose processes may be killed: one a worker, shared by the cases."""

import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from evpower.devstack.local import LocalEvPower, running


@pytest.fixture(scope="session")
async def evpower() -> AsyncIterator[LocalEvPower]:
    folder = Path(tempfile.mkdtemp(prefix="evpower-faults-", dir="/var/tmp"))
    folder.chmod(0o755)
    try:
        async with running(LocalEvPower(folder / "data", split=True)) as evpower:
            yield evpower
    finally:
        shutil.rmtree(folder, ignore_errors=True)

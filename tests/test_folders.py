"""Folders of servers: locked while in use, removed by a later run when their test was killed."""

import asyncio
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

from tests.folders import DISK, remove_abandoned, server_folder

KEEPS_ONE = """
from tests.folders import server_folder
with server_folder("killed", durable=True) as folder:
    (folder / "data").touch()
    print(folder, flush=True)
    input()
"""


async def test_a_killed_test_s_folder_is_removed_and_a_used_one_is_not() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", KEEPS_ONE, stdin=PIPE, stdout=PIPE, cwd=Path(__file__).parents[1]
    )
    assert process.stdout is not None
    abandoned = Path((await process.stdout.readline()).decode().strip())
    with server_folder("used", durable=True) as used:
        remove_abandoned(DISK)
        assert (used.is_dir(), (abandoned / "data").exists()) == (True, True)
        process.kill()
        await process.wait()
        assert abandoned.exists()
        remove_abandoned(DISK)
        assert (used.is_dir(), abandoned.exists()) == (True, False)
    assert not used.exists()
    assert not [path for path in DISK.glob("*.lock") if path.stem in {used.name, abandoned.name}]

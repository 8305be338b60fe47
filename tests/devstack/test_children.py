"""A child or a command that does not end is killed when its time is over."""

import subprocess
import sys
from pathlib import Path

import pytest

from evpower.devstack.children import run, spawn
from tests.waiting import until

IGNORES = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('on', flush=True);"
FOR_EVER = f"{IGNORES} signal.pause()"


async def test_a_child_that_does_not_end_is_killed(tmp_path: Path) -> None:
    child = spawn("child", [sys.executable, "-c", FOR_EVER], log=tmp_path / "child.log")
    await until(lambda: child.log_tail() == "on")
    assert await child.stop(timeout_s=0.1) == -9


async def test_a_command_that_does_not_end_is_killed() -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        await run([sys.executable, "-c", FOR_EVER], timeout_s=0.1)

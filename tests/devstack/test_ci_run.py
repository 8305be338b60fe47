"""`.ci/run` ends what it started, on failure and when a signal ends it."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from tests.waiting import until

_RUN = Path(__file__).parents[2] / ".ci" / "run"
# In the place of make: a step that starts a process of its own, and one that fails.
_MAKE = """#!/bin/sh
echo "$1" >> steps
[ "$1" = "$FAILING" ] && exit 7
[ "$1" = "$HANGING" ] || exit 0
sleep 1000 &
echo $! > child
wait
"""


async def _start(folder: Path, **steps: str) -> asyncio.subprocess.Process:
    (folder / ".ci").mkdir()
    (folder / ".ci" / "run").write_bytes(_RUN.read_bytes())
    (folder / "make").write_text(_MAKE)
    (folder / "make").chmod(0o755)
    env = {**os.environ, "FAILING": "", "HANGING": "", **steps}
    env["PATH"] = f"{folder}:{env['PATH']}"
    return await asyncio.create_subprocess_exec(
        "bash", folder / ".ci" / "run", env=env, preexec_fn=_hears_signals
    )


def _hears_signals() -> None:
    """A shell can't trap what was ignored when it began, as in what runs in the background."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


@pytest.mark.parametrize(
    ("failing", "steps", "code"),
    [("", "check test", 0), ("test", "check test", 7), ("check", "check", 7)],
)
async def test_a_step_that_fails_is_the_last(
    tmp_path: Path, failing: str, steps: str, code: int
) -> None:
    run = await _start(tmp_path, FAILING=failing)
    assert await run.wait() == code
    assert (tmp_path / "steps").read_text().split() == steps.split()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_a_signal_ends_the_step_and_its_processes(tmp_path: Path, number: int) -> None:
    run = await _start(tmp_path, HANGING="test")
    child = tmp_path / "child"
    await until(lambda: child.exists() and child.read_text().strip())
    pid = int(child.read_text())
    run.send_signal(number)
    assert await run.wait() == 143
    assert not Path(f"/proc/{pid}").exists()

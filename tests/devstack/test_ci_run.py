"""`.ci/run` ends what it started, on failure and when a signal ends it."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from tests.waiting import until

_RUN = Path(__file__).parents[2] / ".ci" / "run"
# In the place of make: a step that starts a process of its own, or fails.
_MAKE = """#!/bin/sh
echo "$1" >> steps
echo "$1 speaks"
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
        "bash",
        folder / ".ci" / "run",
        env=env,
        stdout=asyncio.subprocess.PIPE,
        preexec_fn=_hears_signals,
    )


def _hears_signals() -> None:
    """A shell can't trap what was ignored when it began, as in what runs in the background."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


@pytest.mark.parametrize("failing", ["", "setup", "check", "test"])
async def test_what_fails_fails_it_and_every_step_is_shown(tmp_path: Path, failing: str) -> None:
    run = await _start(tmp_path, FAILING=failing)
    assert run.stdout
    shown = (await run.stdout.read()).decode().split("\n")
    assert await run.wait() == (7 if failing else 0)
    assert (tmp_path / "steps").read_text().split()[0] == "setup"
    if failing:
        assert f"{failing} speaks" in shown
    else:
        assert sorted(shown) == ["", "check speaks", "setup speaks", "test speaks"]


@pytest.mark.parametrize(("failing", "hanging"), [("check", "test"), ("test", "check")])
async def test_a_failure_ends_the_step_beside_it(
    tmp_path: Path, failing: str, hanging: str
) -> None:
    run = await _start(tmp_path, FAILING=failing, HANGING=hanging)
    assert await run.wait() == 7
    for pid in _children(tmp_path):
        assert not Path(f"/proc/{pid}").exists()


@pytest.mark.parametrize(
    ("number", "hanging"),
    [(signal.SIGTERM, "setup"), (signal.SIGINT, "check"), (signal.SIGHUP, "test")],
)
async def test_a_signal_ends_the_steps_and_their_processes(
    tmp_path: Path, number: int, hanging: str
) -> None:
    run = await _start(tmp_path, HANGING=hanging)
    await until(lambda: _children(tmp_path))
    run.send_signal(number)
    assert await run.wait() == 143
    for pid in _children(tmp_path):
        assert not Path(f"/proc/{pid}").exists()


def _children(folder: Path) -> list[int]:
    child = folder / "child"
    return [int(line) for line in child.read_text().split()] if child.exists() else []

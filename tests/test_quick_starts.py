"""What a fork server starts is a process like any other, and ends with the one that asked."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import Any

import pytest

from evpower.devstack import children
from tests.quick_starts import ROOT
from tests.waiting import COMMAND_S, WAIT_LIMIT_S

pytestmark = pytest.mark.usefixtures("forks")
STARTED = (sys.executable, "-m", "tests.started")
KEEPS_ONE = f"""
import subprocess, sys
from tests.quick_starts import QuickStarts
starts = QuickStarts()
starts.install()
starts.wait("tests.")
started = subprocess.Popen({[*STARTED, "wait"]}, stdout=subprocess.PIPE)
print(started.pid, started.stdout.readline().decode(), flush=True)
sys.stdin.read()
"""


def start(folder: Path) -> dict[str, Any]:
    """What a process says of itself, and how it ended."""
    done = subprocess.run(
        [*STARTED, "a", "", "ё"], input="to stderr\n", capture_output=True, text=True, check=False,
        cwd=folder, env={**os.environ, "EVPOWER_TEST_WORD": "ё"}, start_new_session=True,
        timeout=COMMAND_S,
    )  # fmt: skip
    return {**json.loads(done.stdout), "end": (done.returncode, done.stderr)}


def test_it_is_what_an_ordinary_start_is(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """But for the modules that are there already."""
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    forked, other = start(tmp_path), start(tmp_path)
    assert forked.pop("random") != other["random"]
    request.getfixturevalue("true_starts")
    ordinary = start(tmp_path)
    del ordinary["random"]
    assert forked.pop("modules") > 5 * ordinary.pop("modules")
    assert forked == ordinary
    assert (forked["parent"], forked["end"]) == (os.getpid(), (3, "to stderr\n"))


def test_a_start_with_other_settings_of_python_is_an_ordinary_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    monkeypatch.setenv("PYTHONIOENCODING", "iso8859-1:replace")
    assert start(tmp_path)["streams"][1][:2] == ["iso8859-1", "replace"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_a_signal_ends_it(number: signal.Signals) -> None:
    process = await asyncio.create_subprocess_exec(
        *STARTED, "wait", stdin=PIPE, stdout=PIPE, stderr=PIPE, cwd=ROOT
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"go on\n")
    assert json.loads(await process.stdout.readline())["parent"] == os.getpid()
    process.send_signal(number)
    await process.communicate()
    assert process.returncode == -number


async def test_what_was_started_ends_with_a_killed_parent() -> None:
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", KEEPS_ONE, stdin=PIPE, stdout=PIPE, cwd=ROOT
    )
    assert parent.stdout is not None
    pid, facts = (await parent.stdout.readline()).decode().split(maxsplit=1)
    assert json.loads(facts)["parent"] == parent.pid
    parent.kill()
    await parent.wait()
    assert await children.wait_gone(int(pid), WAIT_LIMIT_S)

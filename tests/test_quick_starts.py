"""What a fork server starts is a process like any other, and ends with the one that asked.

Where there are no forks, a start is an ordinary one.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
from asyncio.subprocess import PIPE
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from evpower.devstack import children
from tests import fork_server
from tests.quick_starts import ROOT, QuickStarts
from tests.waiting import COMMAND_S, WAIT_LIMIT_S

POPEN: Any = subprocess.Popen
STARTED = (sys.executable, "-m", "tests.started")
KEEPS_ONE = f"""
import subprocess, sys
from tests.quick_starts import QuickStarts
starts = QuickStarts({{"tests.": ("json",)}})
starts.install()
starts.wait("tests.")
started = subprocess.Popen({[*STARTED, "wait"]}, stdout=subprocess.PIPE)
print(started.pid, started.stdout.readline().decode(), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch) -> Iterator[QuickStarts]:
    """Starts of a test's own, by forks of a server that has imported next to nothing."""
    monkeypatch.setattr(POPEN, "_execute_child", POPEN._execute_child)
    starts = QuickStarts({"tests.": ("json",)})
    starts.install()
    starts.wait("tests.")
    yield starts
    starts.close()


def start(folder: Path, *words: str, **environment: str) -> dict[str, Any]:
    """What a process says of itself, and how it ended."""
    done = subprocess.run(
        [*STARTED, "a", "", "ё", *words], input="to stderr\n", capture_output=True, text=True,
        check=False, cwd=folder, env={**os.environ, "EVPOWER_TEST_WORD": "ё", **environment},
        start_new_session=True, timeout=COMMAND_S,
    )  # fmt: skip
    return {**json.loads(done.stdout), "end": (done.returncode, done.stderr)}


def test_it_is_what_an_ordinary_start_is(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """But for the modules that are there already."""
    are_forks: bool = request.getfixturevalue("forks")
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    forked, other = start(tmp_path), start(tmp_path)
    assert forked["random"] != other["random"]
    request.getfixturevalue("true_starts")
    ordinary = start(tmp_path)
    assert (forked["modules"] > 5 * ordinary["modules"]) is are_forks
    for name in ("random", "modules", "pid"):
        del forked[name], ordinary[name]
    assert forked == ordinary
    assert (forked["parent"], forked["end"]) == (os.getpid(), (3, "to stderr\n"))


@pytest.mark.usefixtures("forks")
def test_what_it_imports_acts_on_it(tmp_path: Path) -> None:
    """`tests.conftest` drops the settings of a stack that happens to run."""
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    facts = start(tmp_path, "conftest", EVPOWER_PORT="1")
    assert facts["conftest"]
    assert [name for name in facts["environment"] if name.startswith("EVPOWER_")] == [
        "EVPOWER_TEST_WORD"
    ]


@pytest.mark.usefixtures("starts")
def test_a_start_with_other_settings_of_python_is_an_ordinary_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    monkeypatch.setenv("PYTHONIOENCODING", "iso8859-1:replace")
    assert start(tmp_path)["streams"][1][:2] == ["iso8859-1", "replace"]


def test_a_start_on_a_terminal_is_an_ordinary_one(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    request.getfixturevalue("starts")
    terminal, theirs = os.openpty()
    with os.fdopen(terminal, "rb", buffering=0) as ours:
        process = subprocess.Popen([*STARTED], stdin=subprocess.DEVNULL, stdout=theirs, cwd=ROOT)
        os.close(theirs)
        is_buffered_by_lines, is_terminal = json.loads(ours.readline())["streams"][1][2:]
        assert process.wait(COMMAND_S) == 3
    assert (is_buffered_by_lines, is_terminal) == (True, True)


def test_where_there_are_no_forks_nothing_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, starts: QuickStarts
) -> None:
    starts.close()
    monkeypatch.setattr(fork_server, "CLONE", 0)
    elsewhere = QuickStarts({"tests.": ("a module that is not there",)})
    elsewhere.wait("tests.")
    before = POPEN._execute_child
    elsewhere.install()
    assert POPEN._execute_child is before


@pytest.mark.usefixtures("starts")
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


async def test_what_was_started_ends_with_a_killed_parent(starts: QuickStarts) -> None:
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", KEEPS_ONE, stdin=PIPE, stdout=PIPE, cwd=ROOT
    )
    assert parent.stdout is not None
    pid, facts = (await parent.stdout.readline()).decode().split(maxsplit=1)
    assert json.loads(facts)["parent"] == parent.pid
    parent.kill()
    await parent.wait()
    if not starts.active:
        os.kill(int(pid), signal.SIGKILL)  # an ordinary start goes on
    assert await children.wait_gone(int(pid), WAIT_LIMIT_S)

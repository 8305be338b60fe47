"""Whatever befalls a fork server or who asks it: a start is the asked one, and nothing is left.

Only where there are forks.
"""

import errno
import json
import os
import socket
import subprocess
from pathlib import Path
from typing import Any, NoReturn

import pytest

from evpower.devstack.children import children_of
from tests import fork_server
from tests.quick_starts import ROOT, QuickStarts
from tests.test_quick_starts import STARTED, starts
from tests.waiting import COMMAND_S

__all__ = ["starts"]
KIND = "tests."


def server_pid(starts: QuickStarts) -> int:
    return starts.servers[KIND].process.pid


def started_pids() -> tuple[int, int]:
    """Returns the pid of a new process, and the one that it says itself."""
    with subprocess.Popen(
        [*STARTED], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, cwd=ROOT
    ) as process:
        output, _ = process.communicate(timeout=COMMAND_S)
    return process.pid, json.loads(output)["pid"]


def test_the_start_after_an_interrupted_one_is_another_process(
    starts: QuickStarts, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, before = server_pid(starts), set(children_of(os.getpid()))
    ours, theirs = os.pipe()
    with monkeypatch.context() as patch:

        def interrupted(*_: Any) -> NoReturn:
            patch.undo()
            raise KeyboardInterrupt

        patch.setattr(socket.socket, "recv", interrupted)
        with pytest.raises(KeyboardInterrupt):
            subprocess.Popen([*STARTED, "wait"], stdin=subprocess.DEVNULL, stdout=theirs, cwd=ROOT)
    os.close(theirs)
    starts.wait(KIND)
    pid, own = started_pids()
    assert pid == own
    with os.fdopen(ours, "rb") as output:
        output.read()  # until all who could write to it are gone
    assert set(children_of(os.getpid())) ^ before == {first, server_pid(starts)}


def test_what_can_not_become_a_process_fails_as_an_ordinary_start_does(
    starts: QuickStarts, tmp_path: Path
) -> None:
    before, there = set(children_of(os.getpid())), tmp_path / "nowhere"
    with (
        (tmp_path / "errors").open("wb") as errors,
        pytest.raises(FileNotFoundError, match=there.name),
    ):
        subprocess.Popen([*STARTED], stderr=errors, cwd=there)
    assert (tmp_path / "errors").read_bytes() == b""
    pid, own = started_pids()
    assert pid == own
    assert set(children_of(os.getpid())) == before
    assert server_pid(starts) in before


def test_a_fork_that_is_refused_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fork_server, "CLONE", -1)
    with pytest.raises(OSError, match=os.strerror(errno.ENOSYS)):
        fork_server.fork_for_parent()


def test_a_server_that_has_ended_is_replaced(starts: QuickStarts) -> None:
    process = starts.servers[KIND].process
    process.kill()
    process.wait()
    with pytest.raises((ChildProcessError, BrokenPipeError)):
        started_pids()
    starts.wait(KIND)
    pid, own = started_pids()
    assert pid == own


def test_an_end_before_all_is_imported_is_silent(starts: QuickStarts) -> None:
    starts.close()
    with starts.server(KIND) as server:
        server.control.close()
        assert server.process.wait() == 0
        server.log.seek(0)
        assert server.log.read() == b""


def test_it_imports_nothing_on_a_terminal(starts: QuickStarts) -> None:
    starts.close()
    terminal, theirs = os.openpty()
    usual = os.dup(2)
    os.dup2(theirs, 2)
    try:
        starts.wait(KIND)
    finally:
        os.dup2(usual, 2)
        for file in (terminal, theirs, usual):
            os.close(file)
    file = Path(f"/proc/{server_pid(starts)}/fd/2").readlink()
    assert not str(file).startswith("/dev/pts")

"""`python -m evpower ...` without its imports: as a fork of a process that has made them.

To import what a server needs takes 2 s of a core, a command 0.7 s, and tests start hundreds. What
is started is a process like any other: the test's child, with a pid, environment, folder, files
and end of its own. Only what Python looks at before its first line is the fork server's: a start
that changes any of that is an ordinary one.
"""

import inspect
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from evpower.devstack import children
from tests import fork_server
from tests.waiting import COMMAND_S, WAIT_LIMIT_S

ROOT = Path(__file__).parents[1]
_LAZY = ("uvloop.loop", "uvicorn.lifespan.on", "uvicorn.protocols.http.auto", "pydantic.v1.main")
# What is imported for modules whose names begin so. What `tests.conftest` needs, but not that one:
# it changes the process that imports it.
IMPORTS: Mapping[str, tuple[str, ...]] = {
    "evpower": ("evpower", *_LAZY),
    "tests.": (
        "evpower",
        "hypothesis.core",
        "pytest",
        "tests.folders",
        "tests.quick_apps",
        __name__,
    ),
}
_CHANGING = ("EVPOWER_", "LITE_", "PYTEST_")  # begin names that nothing imported looks at
_Popen: Any = subprocess.Popen
_execute_child = _Popen._execute_child
_parameters = inspect.signature(_execute_child)
_ENDS = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")


def _unchanging(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if not name.startswith(_CHANGING)}


class _ForkServer:
    """One fork server of this process, started when the first process is."""

    def __init__(self, imports: tuple[str, ...], environment: dict[str, str]) -> None:
        # No terminal is among its files: what looks at them when it is imported would see that one,
        # whatever the files of the started process are.
        self.log = tempfile.TemporaryFile()  # noqa: SIM115 - `close` closes it
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            number = theirs.fileno()
            self.process = subprocess.Popen(
                [sys.executable, "-m", fork_server.__name__, str(number), *imports],
                pass_fds=[number], cwd=ROOT, env=environment, stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL, stderr=self.log,
            )  # fmt: skip
        self._is_ready = False
        self._number = 0  # of the newest request; what it answers first has none

    def is_ready(self, *, waits: bool = False) -> bool:
        """Returns whether it has imported all; `waits` until it has."""
        if not self._is_ready:
            self.control.settimeout(COMMAND_S if waits else 0)
            with suppress(BlockingIOError):
                self._answer()
                self._is_ready = True
        return self._is_ready

    def start(self, request: bytes, files: list[int]) -> int | None:
        """Returns the pid of a new child of this process; None if there is none.

        After an exception an answer may be on its way: the server is of no more use.
        """
        self._number += 1
        self.control.settimeout(WAIT_LIMIT_S)
        socket.send_fds(self.control, [b"%d %s" % (self._number, request)], files)
        pid = self._answer()
        if pid < 0:
            os.waitpid(-pid, 0)
        return pid if pid > 0 else None

    def _answer(self) -> int:
        answer = self.control.recv(64)
        if not answer:
            code = self.process.wait()
            self.log.seek(0)
            raise ChildProcessError(
                f"the fork server ended: {code}\n{self.log.read().decode(errors='replace')}"
            )
        number, pid = map(int, answer.split())
        assert number == self._number, f"the answer {answer!r} to request {self._number}"
        return pid

    def close(self) -> None:
        """Ends it and all it started, and takes leave of a child that only its answer names."""
        if not self._is_ready:
            self.process.kill()  # it has started nothing
        unknown: list[int] = []
        with self.control, self.log, suppress(OSError):
            self.control.shutdown(socket.SHUT_WR)
            self.control.settimeout(WAIT_LIMIT_S)
            while answer := self.control.recv(64):
                unknown.append(abs(int(answer.split()[1])))
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(WAIT_LIMIT_S)
        self.process.kill()
        self.process.wait()
        for pid in filter(None, unknown):
            with suppress(ProcessLookupError, ChildProcessError):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)


class QuickStarts:
    """Makes this process start modules of ours by forks, while `active`."""

    def __init__(self, imports: Mapping[str, tuple[str, ...]] = IMPORTS) -> None:
        self._imports = imports
        self.active = bool(fork_server.CLONE) and sys.platform == "linux"
        self._environment = _unchanging(os.environ)
        self.servers: dict[str, _ForkServer] = {}
        self._one_at_a_time = threading.Lock()

    def install(self) -> None:
        """Asks a fork server where Popen would fork and execute, and Popen does all the rest."""
        if not self.active:
            return

        def execute_child(popen: Any, *values: Any) -> None:
            how = _parameters.bind(popen, *values).arguments
            files = [
                number if how[end] == -1 else how[end]
                for number, end in enumerate(("p2cread", "c2pwrite", "errwrite"))
            ]
            pid = self._pid(how, files)
            if pid is None:
                _execute_child(popen, *values)
                return
            popen.pid, popen._child_created = pid, True
            popen._close_pipe_fds(*(how[end] for end in _ENDS))

        _Popen._execute_child = execute_child

    @contextmanager
    def off(self) -> Generator[None]:
        """Starts every process the ordinary way."""
        before, self.active = self.active, False
        try:
            yield
        finally:
            self.active = before

    def wait(self, kind: str) -> None:
        """Waits until starts of this kind are forks: before that they are ordinary ones.

        Where there are no forks it returns at once.
        Nothing else waits for it: a test's event loop would stand still while others time out.
        """
        if self.active:
            with self.server(kind) as server:
                server.is_ready(waits=True)

    def close(self) -> None:
        """Ends all that was started."""
        for server in self.servers.values():
            server.close()
        self.servers.clear()

    def _pid(self, how: Mapping[str, Any], files: list[int]) -> int | None:
        """Starts it by a fork. Returns None if it is to be an ordinary start."""
        kind = self._kind(how)
        # Python looks at these before its first line, and libraries when they are imported.
        if kind is None or any(map(os.isatty, files[1:])):
            return None
        environment = dict(os.environ if how["env"] is None else how["env"])
        if _unchanging(environment) != self._environment:
            return None
        try:
            folder = Path(os.fsdecode(how["cwd"] or ".")).absolute()
        except FileNotFoundError:  # the folder of this process is gone
            return None
        request = json.dumps({
            "words": list(map(os.fsdecode, how["args"][2:])), "env": environment,
            "cwd": str(folder), "session": how["start_new_session"],
        }).encode()  # fmt: skip
        if len(request) > fork_server.LIMIT_BYTES:
            return None
        with self.server(kind) as server:
            return server.start(request, files) if server.is_ready() else None

    @contextmanager
    def server(self, kind: str) -> Generator[_ForkServer]:
        """The fork server of this kind, for one thread; another one after an exception."""
        with self._one_at_a_time:
            if kind not in self.servers:
                self.servers[kind] = _ForkServer(self._imports[kind], self._environment)
            try:
                yield self.servers[kind]
            except BaseException:
                self.servers.pop(kind).close()
                raise

    def _kind(self, how: Mapping[str, Any]) -> str | None:
        before = how["preexec_fn"]
        words = [] if isinstance(how["args"], str | bytes | os.PathLike) else list(how["args"])
        is_usual = (
            self.active
            and words[:2] == [sys.executable, "-m"]
            and (before is None or before.__module__ == children.__name__)
            and how["uid"] is how["gid"] is how["gids"] is how["executable"] is None
            and not (how["pass_fds"] or how["shell"])
            and (how["umask"], how["process_group"]) == (-1, -1)
        )
        if not is_usual:
            return None
        return next((kind for kind in self._imports if str(words[2]).startswith(kind)), None)

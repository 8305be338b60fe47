"""`python -m evpower ...` without its imports: as a fork of a process that has made them.

To import what a server needs takes 2 s of a core, a command 0.7 s, and tests start hundreds. What
is started is a process like any other: the test's child, with a pid, environment, folder, files
and end of its own. Only what Python looks at before its first line is the fork server's: a start
that changes any of that is an ordinary one.
"""

import inspect
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from evpower.devstack import children
from tests import fork_server

ROOT = Path(__file__).parents[1]
_LAZY = ("uvloop.loop", "uvicorn.lifespan.on", "uvicorn.protocols.http.auto", "pydantic.v1.main")
# What is imported for modules whose names begin so.
IMPORTS: Mapping[str, tuple[str, ...]] = {
    "evpower": ("evpower", *_LAZY), "tests.": ("tests.conftest", "evpower"),
}  # fmt: skip
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
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            number = theirs.fileno()
            self._process = subprocess.Popen(
                [sys.executable, "-m", fork_server.__name__, str(number), *imports],
                pass_fds=[number], cwd=ROOT, env=environment, stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )  # fmt: skip
        self._is_ready = False

    def is_ready(self, *, waits: bool = False) -> bool:
        """Returns whether it has imported all; `waits` until it has."""
        if not self._is_ready:
            with suppress(BlockingIOError):
                answer = self._control.recv(16, 0 if waits else socket.MSG_DONTWAIT)
                assert answer == b"ready", f"no fork server: {self._process.wait()}"
                self._is_ready = True
        return self._is_ready

    def start(self, request: dict[str, Any], files: list[int]) -> int:
        """Returns the pid of a new child of this process."""
        socket.send_fds(self._control, [json.dumps(request).encode()], files)
        answer = self._control.recv(16)
        assert answer, f"the fork server ended: {self._process.wait()}"
        return int(answer)

    def close(self) -> None:
        """Ends it and all it started."""
        self._control.close()
        self._process.wait()


class QuickStarts:
    """Makes this process start modules of ours by forks, while `active`."""

    def __init__(self) -> None:
        self.active = bool(fork_server.CLONE) and sys.platform == "linux"
        self._environment = _unchanging(os.environ)
        self._servers: dict[str, _ForkServer] = {}
        self._one_at_a_time = threading.Lock()

    def install(self) -> None:
        """Asks a fork server where Popen would fork and execute, and Popen does all the rest."""

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

        Nothing else waits for it: a test's event loop would stand still while others time out.
        """
        with self._one_at_a_time:
            self._server(kind).is_ready(waits=True)

    def close(self) -> None:
        """Ends all that was started."""
        for server in self._servers.values():
            server.close()
        self._servers.clear()

    def _pid(self, how: Mapping[str, Any], files: list[int]) -> int | None:
        """Starts it by a fork. Returns None if it is to be an ordinary start."""
        kind = self._kind(how)
        if kind is None:
            return None
        environment = dict(os.environ if how["env"] is None else how["env"])
        folder = Path(how["cwd"] or ".").absolute()
        if _unchanging(environment) != self._environment or not folder.is_dir():
            return None
        request = {
            "words": list(map(str, how["args"][2:])), "env": environment, "cwd": str(folder),
            "session": how["start_new_session"],
        }  # fmt: skip
        with self._one_at_a_time:
            server = self._server(kind)
            return server.start(request, files) if server.is_ready() else None

    def _server(self, kind: str) -> _ForkServer:
        if kind not in self._servers:
            self._servers[kind] = _ForkServer(IMPORTS[kind], self._environment)
        return self._servers[kind]

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
        return next((kind for kind in IMPORTS if str(words[2]).startswith(kind)), None)

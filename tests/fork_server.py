"""A process that has imported what others will need, and starts them by forks of itself.

Run as `python -m tests.fork_server FD MODULE...`. Whoever holds the other end of the socket FD is
the parent of what it starts; when that end is closed, all that still runs is killed.

A request is its number and what to start; the answer is that number and the new process's pid,
with a minus if it has ended before it was what was asked for, or 0 if there is none. The first
answer, `0 0`, says that all is imported.
"""

import ctypes
import gc
import json
import os
import pkgutil
import platform
import runpy
import select
import signal
import socket
import sys
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

LIMIT_BYTES = 1 << 16  # of a request, well below what a socket takes at once
CLONE = {"x86_64": 56, "aarch64": 220}.get(platform.machine(), 0)  # the system call's number
_CLONE_PARENT = 0x8000


class Start(NamedTuple):
    """What a new process is to be, its three files, and where it says that it is."""

    request: dict[str, Any]
    files: list[int]
    done: int


def fork_for_parent() -> int:
    """Forks; the new process is a child of this one's parent, who can wait for it."""
    # All is looked up before the fork: whatever fails after the next step leaves locks held.
    # As a function of Python's own it holds the interpreter's lock, as os.fork does.
    clone = ctypes.PyDLL(None, use_errno=True).syscall
    clone.argtypes, clone.restype = [ctypes.c_long] * 6, ctypes.c_long
    in_child = ctypes.pythonapi.PyOS_AfterFork_Child
    in_parent = ctypes.pythonapi.PyOS_AfterFork_Parent
    ctypes.pythonapi.PyOS_BeforeFork()
    pid: int = clone(CLONE, _CLONE_PARENT | signal.SIGCHLD, 0, 0, 0, 0)
    if pid == 0:
        in_child()
        return 0
    in_parent()
    if pid < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return pid


def receive(control: socket.socket) -> tuple[bytes, list[int]]:
    """Returns a request and the three files of its process; empty if there will be no more."""
    try:
        request, files, _, _ = socket.recv_fds(control, 2 * LIMIT_BYTES, 3)
    except ConnectionResetError:
        return b"", []
    return request, files


def answer(control: socket.socket, number: int, pid: int) -> None:
    """Answers a request; that the other end is closed shows when the next one is read."""
    with suppress(BrokenPipeError):
        control.send(b"%d %d" % (number, pid))


class Server:
    """Starts a process for each request."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._poll = select.poll()
        self._poll.register(control, select.POLLIN)
        self._running: set[int] = set()
        self._becoming: dict[int, tuple[int, int]] = {}  # the number of a request, and the pid

    def serve(self) -> Start:
        """Returns in each new process: what that is to be."""
        while True:
            for ready, _ in self._poll.poll():
                if ready == self._control.fileno():
                    request, files = receive(self._control)
                    if not request:
                        self._end()
                    if start := self._start(request, files):
                        return start
                    continue
                if ready in self._running:
                    self._running.remove(ready)
                else:
                    number, pid = self._becoming.pop(ready)
                    answer(self._control, number, pid if os.read(ready, 1) else -pid)
                self._poll.unregister(ready)
                os.close(ready)

    def _start(self, request: bytes, files: list[int]) -> Start | None:
        number, words = request.split(b" ", 1)
        theirs, done = os.pipe()
        try:
            pid = fork_for_parent()
        except OSError:
            os.close(theirs)
            answer(self._control, int(number), 0)
        else:
            if pid == 0:
                return Start(json.loads(words), files, done)
            process = os.pidfd_open(pid)  # it is there: its parent does not know it yet
            self._running.add(process)
            self._becoming[theirs] = int(number), pid
            self._poll.register(process, select.POLLIN)
            self._poll.register(theirs, select.POLLIN)
        for file in (*files, done):
            os.close(file)
        return None

    def _end(self) -> NoReturn:
        for process in self._running:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(process, signal.SIGKILL)
        for number, pid in self._becoming.values():  # only here is it known
            answer(self._control, number, -pid)
        os._exit(0)


def become(start: Start) -> None:
    """Makes this process what `python -m` would have begun as, and says so."""
    if start.request["session"]:
        os.setsid()
    for number, file in enumerate(start.files):
        os.dup2(file, number)
    os.chdir(start.request["cwd"])
    os.closerange(3, start.done)
    os.closerange(start.done + 1, 4096)
    os.environ.clear()
    os.environ.update(start.request["env"])
    sys.path[0] = str(Path.cwd())
    sys.argv = start.request["words"]
    sys.modules.pop(sys.argv[0], None)  # it is run, whoever imported it before
    os.write(start.done, b".")
    os.close(start.done)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def import_all(name: str) -> None:
    """Imports a module, and of a package whatever is in it but what runs when it is imported."""
    for below in pkgutil.iter_modules(getattr(import_module(name), "__path__", ()), f"{name}."):
        if not below.name.endswith(".__main__"):
            import_all(below.name)


def main() -> None:
    """Returns in each process that was started, which is to run its module."""
    # Ctrl-C goes to the whole group: those it is meant for are the started ones.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    control = socket.socket(fileno=int(sys.argv[1]))
    for name in sys.argv[2:]:
        import_all(name)
    assert [task.name for task in Path("/proc/self/task").iterdir()] == [str(os.getpid())]
    gc.collect()
    gc.freeze()
    answer(control, 0, 0)
    start = Server(control).serve()
    control.detach()
    try:
        become(start)
    except (OSError, MemoryError):  # why, an ordinary start says
        os._exit(1)


if __name__ == "__main__":
    main()
    # The last that happens here, so that Python ends it as it ends any other.
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)

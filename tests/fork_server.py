"""A process that has imported what others will need, and starts them by forks of itself.

Run as `python -m tests.fork_server FD MODULE...`. Whoever holds the other end of the socket FD is
the parent of what it starts; when that end is closed, all that still runs is killed.
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
from typing import Any

LIMIT_BYTES = 1 << 20
CLONE = {"x86_64": 56, "aarch64": 220}.get(platform.machine(), 0)  # the system call's number
_CLONE_PARENT = 0x8000


def fork_for_parent() -> int:
    """Forks; the new process is a child of this one's parent, who can wait for it."""
    ctypes.pythonapi.PyOS_BeforeFork()
    # As a function of Python's own it holds the interpreter's lock, as os.fork does.
    pid: int = ctypes.PyDLL(None).syscall(CLONE, _CLONE_PARENT | signal.SIGCHLD, 0, 0, 0, 0)
    if pid == 0:
        ctypes.pythonapi.PyOS_AfterFork_Child()
    else:
        ctypes.pythonapi.PyOS_AfterFork_Parent()
    return pid


def receive(control: socket.socket) -> tuple[bytes, list[int]]:
    """Returns a request and the three files of its process; empty if there will be no more."""
    try:
        request, files, _, _ = socket.recv_fds(control, LIMIT_BYTES, 3)
    except ConnectionResetError:
        return b"", []
    return request, files


def serve(control: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """Starts a process for each request. Returns, in that process, what it is to be."""
    poll = select.poll()
    poll.register(control, select.POLLIN)
    running: set[int] = set()
    while True:
        for ready, _ in poll.poll():
            if ready != control.fileno():
                running.remove(ready)
                poll.unregister(ready)
                os.close(ready)
                continue
            request, files = receive(control)
            if not request:
                for process in running:
                    with suppress(ProcessLookupError):
                        signal.pidfd_send_signal(process, signal.SIGKILL)
                os._exit(0)
            pid = fork_for_parent()
            if pid == 0:
                return json.loads(request), files
            for file in files:
                os.close(file)
            with suppress(ProcessLookupError):  # it has ended, and its parent knows it
                process = os.pidfd_open(pid)
                running.add(process)
                poll.register(process, select.POLLIN)


def become(control: socket.socket, request: dict[str, Any], files: list[int]) -> None:
    """Makes this process what `python -m` would have begun as, and tells its parent its pid."""
    if request["session"]:
        os.setsid()
    for number, file in enumerate(files):
        os.dup2(file, number)
    os.chdir(request["cwd"])
    control.send(str(os.getpid()).encode())
    control.detach()
    os.closerange(3, 4096)
    os.environ.clear()
    os.environ.update(request["env"])
    sys.path[0] = str(Path.cwd())
    sys.argv = request["words"]
    sys.modules.pop(sys.argv[0], None)  # it is run, whoever imported it before
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
    control.send(b"ready")
    become(control, *serve(control))


if __name__ == "__main__":
    main()
    # The last that happens here, so that Python ends it as it ends any other.
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)

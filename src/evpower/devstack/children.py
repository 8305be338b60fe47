"""Starts and stops child processes by pid only, each in its own process group."""

import asyncio
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_POLL_S = 0.01
_KILLED_S = 60.0  # on a busy machine a killed process may hold its ports for a while


@dataclass(frozen=True, slots=True)
class Account:
    """The unprivileged user a child runs as when this process is root."""

    name: str
    uid: int
    gid: int


class Child:
    """One running process. It works across event loops, as nothing is bound to one."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self.name = name
        self.log = log
        self._process = process

    @property
    def pid(self) -> int:
        """Its process id, which is its group's id too."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative when a signal ended it."""
        return self._process.poll()

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self.exit_code is None

    async def wait(self, timeout_s: float | None = None) -> int | None:
        """Returns the exit code, or None when it still runs after `timeout_s`."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while (code := self.exit_code) is None:
            if deadline is not None and time.monotonic() >= deadline:
                return None
            await asyncio.sleep(_POLL_S)
        return code

    async def stop(
        self, *, timeout_s: float = 10.0, first: signal.Signals = signal.SIGTERM
    ) -> int | None:
        """Sends `first`, waits at most `timeout_s`, then kills the whole group."""
        if self.running:
            signal_pid(self.pid, first)
            if await self.wait(timeout_s) is None:
                self.kill()
        return await self.wait(_KILLED_S)

    def kill(self) -> None:
        """Sends SIGKILL to the child and its group."""
        if self.running:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
            signal_pid(self.pid, signal.SIGKILL)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_KILLED_S)

    def log_tail(self, lines: int = 12) -> str:
        """Returns the last lines the child wrote, for an error message."""
        return tail(self.log, lines)


def spawn(
    name: str,
    argv: Sequence[str | Path],
    *,
    log: Path,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    account: Account | None = None,
    parent_death: signal.Signals = signal.SIGTERM,
) -> Child:
    """Starts a child whose output goes to `log`; on Linux `parent_death` is sent when we die.

    Call it from a thread that lives as long as the child: the kernel watches the thread.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        process = subprocess.Popen(  # noqa: S603 - the arguments are ours
            [str(part) for part in argv],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=None if env is None else dict(env),
            cwd=cwd,
            start_new_session=True,
            user=None if account is None else account.uid,
            group=None if account is None else account.gid,
            extra_groups=None if account is None else [],
            preexec_fn=_die_with_parent(parent_death),  # noqa: PLW1509 - two system calls only
        )
    return Child(name, process, log)


async def run(
    argv: Sequence[str | Path],
    *,
    account: Account | None = None,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    timeout_s: float = 120.0,
    fold: bool = True,
) -> subprocess.CompletedProcess[str]:
    """Runs to the end. Returns code and output; with `fold` stderr is in stdout.

    Raises subprocess.TimeoutExpired, after the process was killed.
    """
    return await asyncio.to_thread(
        subprocess.run,
        [str(part) for part in argv],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT if fold else subprocess.PIPE,
        text=True,
        errors="replace",
        cwd=cwd,
        env=None if env is None else dict(env),
        user=None if account is None else account.uid,
        group=None if account is None else account.gid,
        extra_groups=None if account is None else [],
        timeout=timeout_s,
        check=False,
    )


def signal_pid(pid: int, number: signal.Signals) -> None:
    """Sends a signal; a process that has ended already is fine."""
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def alive(pid: int) -> bool:
    """Returns whether a process (no zombie, as far as /proc shows) has this pid."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True
    return stat.rpartition(")")[2].split()[0] != "Z"


async def wait_gone(pid: int, timeout_s: float) -> bool:
    """Waits for a process that is not our child to end. Returns whether it did."""
    deadline = time.monotonic() + timeout_s
    while alive(pid):
        if time.monotonic() >= deadline:
            return False
        await asyncio.sleep(_POLL_S)
    return True


def children_of(pid: int) -> list[int]:
    """Returns the direct children of a process; empty without /proc."""
    try:
        return [int(part) for part in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (OSError, ValueError):
        return []


def tail(path: Path, lines: int = 12) -> str:
    """Returns the last lines of a log file, or an empty string."""
    try:
        with path.open("rb") as log:
            log.seek(max(0, path.stat().st_size - 16_384))
            text = log.read().decode(errors="replace")
    except OSError:
        return ""
    return "\n".join([line for line in text.splitlines() if line.strip()][-lines:])


def _die_with_parent(number: signal.Signals) -> Callable[[], None] | None:
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl  # loaded before the fork: the child must not allocate much
    parent = os.getpid()

    def arm() -> None:
        prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)
        if os.getppid() != parent:  # the parent died between fork and prctl
            os._exit(1)

    return arm

"""Chooses TCP ports on the loopback, and reports plainly when one is in use."""

import errno
import random
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from evpower.devstack.errors import DevstackError

LOOPBACK = "127.0.0.1"
_LOWEST: Final = 15_000  # below it many programs have their usual ports
_KERNEL_S_OWN: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")
_TRIES: Final = 200
_reserved: Final[dict[int, int | None]] = {}  # a port and the socket that reserves it until the end


def free_port() -> int:
    """Returns a port that is free, and not given to another caller while this process lives.

    Its user binds it later, and may bind it again. Inside the kernel's ephemeral range any
    connection or another `free_port` could have used it by then.
    """
    for port in _candidates():
        if _is_free(port) and _keep(port):
            return port
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def _candidates() -> Sequence[int]:
    """Returns ports outside the kernel's ephemeral range; none if the range is unknown."""
    try:
        first = int(_KERNEL_S_OWN.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return ()
    outside = range(_LOWEST, first)
    return random.sample(outside, min(_TRIES, len(outside)))


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def _keep(port: int) -> bool:
    """Reserves it: on Linux by a unique socket name, which ends with this process."""
    if port in _reserved:
        return False
    holder: int | None = None
    if sys.platform == "linux":
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as name:
            try:
                name.bind(f"\0evpower-port-{port}")
            except OSError:
                return False
            holder = name.detach()
    _reserved[port] = holder
    return True


def require_free(port: int, *, owner: str, flag: str, host: str = LOOPBACK) -> None:
    """Raises `DevstackError` naming the port and the flag that changes it, if it is in use."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise _port_error(port, owner, flag, error) from error


def _port_error(port: int, owner: str, flag: str, error: OSError) -> DevstackError:
    if error.errno == errno.EADDRINUSE:
        problem = f"Port {port}, which {owner} needs, is taken by another process"
        return DevstackError(problem, f"Free it, or choose another with {flag} <port>.")
    if error.errno == errno.EACCES:
        problem = f"Port {port}, which {owner} needs, may only be opened by root"
        return DevstackError(problem, f"Choose one above 1023 with {flag} <port>.")
    return DevstackError(f"{owner} can't listen on port {port}: {error.strerror}", f"Try {flag}.")

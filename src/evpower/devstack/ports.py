"""Picks TCP ports on the loopback and says plainly when one is taken."""

import errno
import socket

from evpower.devstack.errors import DevstackError

LOOPBACK = "127.0.0.1"


def free_port() -> int:
    """Pick a port nobody listens on; the kernel does not hand it out again soon."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def require_free(port: int, *, owner: str, flag: str, host: str = LOOPBACK) -> None:
    """Raise `DevstackError` naming the port and the flag that changes it, if it is taken."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise _port_error(port, owner, flag, error) from error


def _port_error(port: int, owner: str, flag: str, error: OSError) -> DevstackError:
    if error.errno == errno.EADDRINUSE:
        what = f"Port {port}, which {owner} needs, is taken by another process"
        return DevstackError(what, f"Free it, or choose another with {flag} <port>.")
    if error.errno == errno.EACCES:
        what = f"Port {port}, which {owner} needs, may only be opened by root"
        return DevstackError(what, f"Choose one above 1023 with {flag} <port>.")
    return DevstackError(f"{owner} can't listen on port {port}: {error.strerror}", f"Try {flag}.")

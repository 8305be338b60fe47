"""The listening socket of a process, with the bounds its connections inherit."""

import socket
import sys
from typing import Final

BACKLOG: Final = 4096  # all phones coming back at once
_VANISHED_MS: Final = 60_000
# Of one connection: what the kernel keeps until it is read. By itself Linux lets that grow to
# megabytes, and a stranger who reads nothing would fill the memory for TCP of the whole machine.
SEND_BUFFER_BYTES: Final = 128 * 1024


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens there and never blocks. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
    listener.bind((host, port))
    if sys.platform == "linux":  # a vanished phone is noticed
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _VANISHED_MS)
    listener.listen(BACKLOG)
    listener.setblocking(False)
    return listener

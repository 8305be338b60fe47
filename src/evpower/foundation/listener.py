"""The listening socket of a process, with the bounds its connections inherit."""

import socket
import sys
from typing import Final

BACKLOG: Final = 4096  # all phones that reconnect at once
_VANISHED_MS: Final = 60_000
# Of one connection: what the kernel buffers until it is read. By default Linux lets that grow to
# megabytes, and a peer that reads nothing would fill the machine's memory for TCP.
SEND_BUFFER_BYTES: Final = 128 * 1024


def listen(host: str, port: int) -> socket.socket:
    """Returns a non-blocking listening socket. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
    try:
        listener.bind((host, port))
    except OSError:
        listener.close()
        raise
    if sys.platform == "linux":  # a vanished phone is noticed
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _VANISHED_MS)
    listener.listen(BACKLOG)
    listener.setblocking(False)
    return listener

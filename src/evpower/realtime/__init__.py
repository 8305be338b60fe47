"""Live updates to apps over WebSocket."""

from evpower.realtime.endpoints import MAX_MESSAGE_BYTES, PATH, router
from evpower.realtime.hub import Hub
from evpower.realtime.protocol import EXTENSION, SocketProtocol

__all__ = ["EXTENSION", "MAX_MESSAGE_BYTES", "PATH", "Hub", "SocketProtocol", "router"]

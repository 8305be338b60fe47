"""Live updates to apps over WebSocket."""

from evpower.realtime.endpoints import MAX_MESSAGE_BYTES, PATH, router
from evpower.realtime.hub import Hub
from evpower.realtime.module import module

__all__ = ["MAX_MESSAGE_BYTES", "PATH", "Hub", "module", "router"]

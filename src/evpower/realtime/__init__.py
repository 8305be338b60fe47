"""Live updates to apps over WebSocket."""

from evpower.realtime.endpoints import MAX_MESSAGE_BYTES
from evpower.realtime.module import module

__all__ = ["MAX_MESSAGE_BYTES", "module"]

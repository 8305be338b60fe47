"""Live updates to apps over WebSocket."""

from evpower.realtime.module import module

__all__ = ["module"]

"""Live updates to apps over WebSocket."""

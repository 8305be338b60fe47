"""The main job done for real, through the public HTTP API, and proven at the end."""

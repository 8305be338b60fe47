"""The main job done for real, through the public HTTP API, and verified at the end."""

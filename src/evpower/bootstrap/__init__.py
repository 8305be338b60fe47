"""The composition root: the list of slices, and the process made of them."""

from evpower.bootstrap.server import openapi, serve

__all__ = ["openapi", "serve"]

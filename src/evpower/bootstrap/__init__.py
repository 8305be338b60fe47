"""The composition root: the list of slices, and the process made of them."""

from evpower.bootstrap.modules import Assembled, assemble
from evpower.bootstrap.server import build, close, loops_of, openapi, serve
from evpower.foundation.roles import Role

__all__ = ["Assembled", "Role", "assemble", "build", "close", "loops_of", "openapi", "serve"]

"""The trees of the modules: what looks at them all runs on one worker, and each is made once."""

import ast
from functools import cache
from typing import Final

import pytest

one_worker: Final = pytest.mark.xdist_group("trees")


@cache
def nodes(source: str) -> tuple[ast.AST, ...]:
    """Returns a module and all that is in it, as `ast.walk` yields them. Change none of it."""
    return tuple(ast.walk(ast.parse(source)))


def tree_of(source: str) -> ast.Module:
    """Returns the module itself."""
    first = nodes(source)[0]
    assert isinstance(first, ast.Module)
    return first

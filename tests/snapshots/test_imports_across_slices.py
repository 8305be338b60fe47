"""A slice imports another one as `evpower.<slice>`, never a module inside it."""

import ast

import pytest

from tests.snapshots.layers import SOURCE, slice_of
from tests.snapshots.trees import nodes, one_worker

# `foundation` is a library of modules. The old contract is a slice's worth within `api`.
OPEN = {"foundation"}
EXCEPTIONS = {("bootstrap", "evpower.api.legacy"): "only bootstrap puts the old contract in"}


def inner_imports(source: str, own: str) -> set[str]:
    """Returns the modules inside other slices that a module of the slice `own` imports."""
    inner: set[str] = set()
    for node in nodes(source):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [
                f"{node.module}.{alias.name}" for alias in node.names if is_module(node, alias)
            ]
            names.append(node.module or "")
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names = [node.value]  # import_module("evpower.sync.model")
        else:
            continue
        inner |= {name for name in names if is_inner(name, own)}
    return inner


def is_module(node: ast.ImportFrom, alias: ast.alias) -> bool:
    """Whether what is imported from a package is one of its modules."""
    if node.module is None or not node.module.startswith("evpower"):
        return False
    path = SOURCE.parent.joinpath(*node.module.split("."), alias.name)
    return path.is_dir() or path.with_suffix(".py").is_file()


def is_inner(name: str, own: str) -> bool:
    """Whether a dotted name is of a module inside a slice other than `own`."""
    root, *parts = name.split(".")
    if root != "evpower" or len(parts) < 2 or parts[0] in OPEN | {own}:
        return False
    path = SOURCE.joinpath(*parts)
    return path.is_dir() or path.with_suffix(".py").is_file()


@pytest.mark.parametrize(
    "source",
    [
        "import evpower.wallet.store",
        "import evpower.wallet.store as s",
        "from evpower.wallet import store",
        "from evpower.wallet.model import Posting",
        "def call():\n    from evpower.sync.outbound import relay",
        "import_module('evpower.wallet.store')",
    ],
)
def test_an_import_of_a_module_inside_is_seen(source: str) -> None:
    assert inner_imports(source, "charging")


@pytest.mark.parametrize(
    "source",
    [
        "from evpower import wallet",
        "from evpower.wallet import Posting, hold",
        "from evpower.charging.store import page",
        "from evpower.foundation.db import Database",
        "from evpower.config import Settings",
    ],
)
def test_an_import_of_a_public_interface_is_allowed(source: str) -> None:
    assert not inner_imports(source, "charging")


@one_worker
def test_slices_import_each_other_by_their_public_interface() -> None:
    crossings = {
        (slice_of(path), name)
        for path in SOURCE.rglob("*.py")
        for name in inner_imports(path.read_text(), slice_of(path))
    }
    assert crossings == set(EXCEPTIONS)

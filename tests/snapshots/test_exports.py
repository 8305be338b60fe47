"""Each name that a slice's `__init__` exports is used outside the slice."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.snapshots.layers import SOURCE, slice_of
from tests.snapshots.trees import nodes, one_worker, tree_of

# Exports that no module of `src` outside the slice uses, by the reason for each.
EXCEPTIONS: Final = {
    "the database's part of the interface: test_sql_across_slices.py reads it": (
        "alerts.PUBLIC_VIEWS",
        "charging.PUBLIC_VIEWS",
        "identity.PUBLIC_VIEWS",
        "payments.PUBLIC_VIEWS",
        "stations.PUBLIC_VIEWS",
        "wallet.PUBLIC_VIEWS",
    ),
    "0001: money is posted one by one or many at a time, by the same statement": (
        "wallet.WalletBatcher",
        "wallet.charge_many",
        "wallet.credit",
        "wallet.credit_many",
        "wallet.refund_many",
    ),
}


def exports(path: Path) -> set[str]:
    """Returns the names that a slice's `__init__` lists in `__all__`."""
    for node in tree_of(path.read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return set(ast.literal_eval(node.value))
    return set()


def uses(source: str) -> Iterator[str]:
    """Yields what a module uses of the slices: `wallet.hold`, however it is imported."""
    slices: dict[str, str] = {}  # local name -> slice
    attributes: list[ast.Attribute] = []
    for node in with_casts(source):
        if isinstance(node, ast.ImportFrom) and node.module == "evpower":
            slices |= {alias.asname or alias.name: alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("evpower."):
            owner = (node.module or "").removeprefix("evpower.")
            yield from (f"{owner}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name | ast.Attribute):
            attributes.append(node)
    for node in attributes:
        slice_ = ast.unparse(node.value).removeprefix("evpower.")
        yield f"{slices.get(slice_, slice_)}.{node.attr}"


def with_casts(source: str) -> Iterator[ast.AST]:
    """Yields the nodes of a module, those of a type that `cast` gets as text among them."""
    for node in nodes(source):
        yield node
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id == "cast"
        ):
            type_ = node.args[0]
            if isinstance(type_, ast.Constant):
                yield from ast.walk(ast.parse(type_.value, mode="eval"))


@pytest.mark.parametrize(
    "source",
    [
        "from evpower import wallet\nwallet.hold()",
        "from evpower import wallet as money\nmoney.hold()",
        "from evpower.wallet import hold as reserve",
        "def call():\n    from evpower.wallet import hold",
        "import evpower.wallet\nevpower.wallet.hold()",
        "from evpower import wallet as money\ncast('list[money.hold]', value)",
    ],
)
def test_a_use_is_seen(source: str) -> None:
    assert "wallet.hold" in set(uses(source))


# Its users are tests and demos: the class is the product, not only the command.
_LIBRARIES = {"simulator"}


@one_worker
def test_each_export_of_a_slice_is_used_outside_it() -> None:
    exported = {
        f"{path.parent.name}.{name}"
        for path in SOURCE.glob("*/__init__.py")
        for name in exports(path)
        if path.parent.name not in _LIBRARIES
    }
    used = {
        use
        for path in SOURCE.rglob("*.py")
        if "node_modules" not in path.parts
        for use in uses(path.read_text())
        if use.partition(".")[0] != slice_of(path)
    }
    exceptions = {name for names in EXCEPTIONS.values() for name in names}
    assert exported - used == exceptions

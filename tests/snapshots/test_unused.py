"""Each function and class of the program is used by the program itself."""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from typing import Final

from tests.snapshots.layers import SOURCE
from tests.snapshots.trees import one_worker, tree_of

# What no other line of src names, and why it is there.
EXCEPTIONS: Final = {
    "api/gateway/http_protocol.py handle_websocket_upgrade": "uvicorn calls it",
    "devstack/local.py add_process": "tests run several nodes",
    "foundation/bus/nats_bus.py wait_connected": "tests publish when the bus is up",
    "sync/inbound/pull.py pull_once": "tests look at what one page of a pull did",
    "wallet/batching.py WalletBatcher": "0001: money posted many at a time, as the bench measures",
}


def definitions(tree: ast.Module) -> Iterator[str]:
    """Names of functions, classes and methods; a decorator may use what it decorates."""
    inner = [node for scope in tree.body if isinstance(scope, ast.ClassDef) for node in scope.body]
    for node in (*tree.body, *inner):
        if (
            isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            and not node.name.startswith("__")
            and not node.decorator_list
        ):
            yield node.name


@one_worker
def test_each_function_and_class_is_used() -> None:
    texts = {
        path: path.read_text() for path in SOURCE.rglob("*.py") if "node_modules" not in path.parts
    }
    words, shown = Counter[str](), Counter[str]()  # everywhere, and where slices export
    for path, text in texts.items():
        names = re.findall(r"[A-Za-z_]\w*", text)
        words.update(names)
        if path.name == "__init__.py":
            shown.update(names)
    unused = {
        f"{path.relative_to(SOURCE).as_posix()} {name}"
        for path, text in texts.items()
        for name in definitions(tree_of(text))
        if words[name] - (0 if path.name == "__init__.py" else shown[name]) <= 1
    }
    assert unused == set(EXCEPTIONS)

"""One back-off and one JSON reader: what does the same beside them is refused."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "evpower"
# Who parses JSON beside foundation/json_reader.py, and why.
JSON_READERS = {
    "foundation/json_reader.py": "the reader itself",
    "api/gateway/json_body.py": "refuses bodies, and says where: nothing is read here",
    "config/flaws.py": "may not import foundation; reads a key of the settings",
}
# Who doubles something or computes a power, and why it is no pause.
DOUBLINGS = {
    "foundation/backoff.py": "the back-off itself",
    "foundation/money.py": "the scale of a decimal number",
    "tariffs/document.py": "the scale of a decimal number",
    "sync/outbound/relay.py": "the share of a batch, which grows back",
    "sync/inbound/pull.py": "the share of a page, which grows back",
}


def json_calls(tree: ast.AST) -> Iterator[ast.Call]:
    """Calls of `json.loads`, `json.load` and `orjson.loads`."""
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in {"loads", "load"}
            and isinstance(node.func.value, ast.Name)
            and node.func.value.id in {"json", "orjson"}
        ):
            yield node


def doublings(tree: ast.AST) -> Iterator[ast.AST]:
    """A power with an exponent that varies, and `pause = ... 2 * pause`: pauses made by hand."""
    for node in ast.walk(tree):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow):
            if not isinstance(node.right, ast.Constant):
                yield node
        elif isinstance(node, ast.Assign | ast.AugAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = {ast.unparse(target) for target in targets}
            names |= {
                ast.unparse(part)
                for target in targets
                if isinstance(target, ast.Tuple)
                for part in target.elts
            }
            if isinstance(node, ast.AugAssign) and isinstance(node.op, ast.Mult):
                yield node
            for inner in ast.walk(node.value):
                if isinstance(inner, ast.BinOp) and isinstance(inner.op, ast.Mult):
                    sides = {ast.unparse(inner.left), ast.unparse(inner.right)}
                    if sides & names and sides & {"2", "2.0"}:
                        yield node


def sources() -> Iterator[tuple[str, ast.AST]]:
    for path in sorted(SOURCE.rglob("*.py")):
        if "node_modules" not in path.parts:
            yield path.relative_to(SOURCE).as_posix(), ast.parse(path.read_text())


def test_json_is_read_by_one_module() -> None:
    assert {where for where, tree in sources() if any(json_calls(tree))} == set(JSON_READERS)


def test_pauses_are_made_by_one_module() -> None:
    assert {where for where, tree in sources() if any(doublings(tree))} == set(DOUBLINGS)


@pytest.mark.parametrize(
    "source",
    [
        "wait = min(30, 0.2 * 2 ** attempts)",
        "await sleep(0.02 * 2**attempt)",
        "self.pause_s = min(2 * self.pause_s, 30)",
        "pause_s, self.pause_s = self.pause_s, min(2 * self.pause_s, 30)",
        "pause_s *= 2",
    ],
)
def test_a_pause_made_by_hand_is_found(source: str) -> None:
    assert any(doublings(ast.parse(source)))

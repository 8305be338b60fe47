"""One back-off, one JSON reader, one cache: what does the same beside them is refused."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.snapshots.trees import nodes, one_worker

SOURCE = Path(__file__).parents[2] / "src" / "evpower"
# Who parses JSON beside foundation/json_reader.py, and why.
JSON_READERS = {
    "foundation/json_reader.py": "the reader itself",
    "api/gateway/json_body.py": "refuses bodies, and says where: nothing is read here",
    "ocpp/repair.py": "what is left of a text that json_reader refused",
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


# Who knows when something was read, beside foundation/cache.py, and why it is no copy of that.
CACHES = {
    "api/legacy/station_board.py": "refreshes of one location expire the CachedValue, seldom",
    "identity/issued_tokens.py": "a set of keys: a failed read leaves the set, a loss voids tokens",
    "identity/jwks.py": "a set of keys: a failed read leaves the set, a loss voids tokens",
    "sync/webhook/signing_secrets.py": "a set of keys: a failed read leaves the set",
}
_READ_AT = re.compile(r"_?(read|fetched|loaded|cached|refreshed)_(at|at_s)")
_PARSERS = {"loads", "load", "JSONDecoder"}


def json_calls(source: str) -> Iterator[ast.AST]:
    """Uses of `json.loads`, `json.load`, `json.JSONDecoder` and `orjson.loads`, as imported."""
    modules = {
        alias.asname or alias.name
        for node in nodes(source)
        if isinstance(node, ast.Import)
        for alias in node.names
        if alias.name in {"json", "orjson"}
    }
    for node in nodes(source):
        if isinstance(node, ast.ImportFrom) and node.module in {"json", "orjson"}:
            if any(alias.name in _PARSERS for alias in node.names):
                yield node
        elif (
            isinstance(node, ast.Attribute)
            and node.attr in _PARSERS
            and isinstance(node.value, ast.Name)
            and node.value.id in modules
        ):
            yield node


def caches(source: str) -> Iterator[ast.AST]:
    """Objects that store when something was read, and constants of how long it stays good."""
    own = {
        alias.name
        for node in nodes(source)
        if isinstance(node, ast.ImportFrom) and node.module == "evpower.foundation.cache"
        for alias in node.names
    }
    for node in nodes(source):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            is_own = isinstance(node.value, ast.Name) and node.value.id == "self"
            if is_own and _READ_AT.fullmatch(node.attr):
                yield node
        elif (
            isinstance(node, ast.Name)
            and isinstance(node.ctx, ast.Store)
            and not own
            and re.search(r"(^|_)ttl(_|$)", node.id.lower())
        ):
            yield node


def doublings(source: str) -> Iterator[ast.AST]:
    """A power with an exponent that varies, and `pause = ... 2 * pause`: pauses made by hand."""
    for node in nodes(source):
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


def sources() -> Iterator[tuple[str, str]]:
    for path in sorted(SOURCE.rglob("*.py")):
        if "node_modules" not in path.parts:
            yield path.relative_to(SOURCE).as_posix(), path.read_text()


@one_worker
def test_json_is_read_by_one_module() -> None:
    assert {where for where, source in sources() if any(json_calls(source))} == set(JSON_READERS)


@pytest.mark.parametrize(
    "source",
    [
        "import json\njson.loads(raw)",
        "import json as j\nj.load(file)",
        "from json import loads",
        "from orjson import loads as read",
        "import json\nread = json.loads",
        "import json\njson.JSONDecoder().raw_decode(raw)",
    ],
)
def test_json_read_by_hand_is_found(source: str) -> None:
    assert any(json_calls(source))


@one_worker
def test_values_are_cached_by_one_module() -> None:
    assert {where for where, source in sources() if any(caches(source))} == set(CACHES)


@pytest.mark.parametrize(
    "source",
    ["self._fetched_at = now()", "self.read_at_s = 0.0", "_TTL_S: Final = 5.0", "ttl = 3"],
)
def test_a_cache_made_by_hand_is_found(source: str) -> None:
    assert any(caches(source))


@one_worker
def test_pauses_are_made_by_one_module() -> None:
    assert {where for where, source in sources() if any(doublings(source))} == set(DOUBLINGS)


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
    assert any(doublings(source))

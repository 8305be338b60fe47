"""Plain words: a retired one comes into no new place, and a type name is defined once."""

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.snapshots import words
from tests.snapshots.trees import nodes, one_worker, tree_of

SOURCE = words.ROOT / "src" / "evpower"


@pytest.mark.xdist_group("words")
def test_no_retired_word_comes_back() -> None:
    present, left = words.present(), words.left()
    more = {key: (n, left.get(key, 0)) for key, n in present.items() if n > left.get(key, 0)}
    assert more == {}, (
        "retired words were added (area, kind, word: now, written). Use the standard term;"
        " `python -m tests.snapshots.words WORD` prints the places. The numbers only fall:"
        " `python -m tests.snapshots.words --lower` writes down the smaller ones"
    )


@pytest.mark.xdist_group("words")
def test_every_allowance_has_a_reason_and_a_use_in_each_place() -> None:
    assert len(words.ALLOWANCES) <= words.ALLOWANCES_AT_MOST, "their number may only fall"
    everywhere = words.uses_with_allowed()
    for allowance in words.ALLOWANCES:
        assert allowance.reason
        for place in allowance.places:
            assert any(use.path.startswith(place) for use in everywhere if allowance.covers(use)), (
                f"{allowance.word} is not in {place} any more: drop the place"
            )


@pytest.mark.parametrize(
    ("path", "text", "expected"),
    [
        ("src/evpower/a.py", "def ring_bell(): pass", [("name", "bell")]),
        ("src/evpower/a.py", "class SeatTaken: pass", [("name", "seat")]),
        ("src/evpower/doorbell.py", "", [("name", "doorbell")]),
        ("src/evpower/a.py", "said = payment.told", [("whole", "said"), ("whole", "told")]),
        ("src/evpower/a.py", "email_taken = is_mine = None", []),
        ("src/evpower/a.py", '"""Tell nobody."""', [("text", "nobody")]),
        ("src/evpower/a.py", "x = 1  # its bell", [("text", "bell")]),
        ("src/evpower/a.py", 'log.info("bell_rung")', [("text", "bell"), ("text", "rung")]),
        ("src/evpower/a.py", 'echo(f"{user} hung up")', [("text", "hung")]),
        ("src/evpower/a.py", 'kind = "born_twice"', [("text", "born_twice")]),
        ("tests/a.py", "@pytest.mark.slow\ndef test_a(): pass", []),
        ("migrations/a.sql", "select told -- by a bell\n", [("text", "bell"), ("whole", "told")]),
        ("tests/a.mjs", "const fuse = 1; // seat", [("text", "seat"), ("name", "fuse")]),
        ("src/evpower/a.toml", 'en = "Nobody came"', [("text", "nobody")]),
        ("deploy/a.yml", "alert: DeafHub  # hung", [("text", "deaf"), ("text", "hung")]),
        ("docs/a.md", "A webhook is a doorbell.", [("text", "doorbell")]),
        ("CHANGELOG.md", "bell\n### Renamed\nbell\n### Security\n", [("text", "bell")]),
    ],
)
def test_a_retired_word_is_seen(path: str, text: str, expected: list[tuple[str, str]]) -> None:
    assert [(use.kind, use.word) for use in words.uses_in(path, text)] == expected


def type_names(path: Path) -> Iterator[str]:
    source = path.read_text()
    for node in nodes(source):
        if isinstance(node, ast.ClassDef):
            yield node.name
    for node in tree_of(source).body:
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.annotation) == "TypeAlias":
            yield ast.unparse(node.target)
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            if name[0].isupper() and not name.isupper() and "_" not in name:
                yield name


@one_worker
def test_a_type_name_is_defined_once() -> None:
    found = Counter(name for path in SOURCE.rglob("*.py") for name in type_names(path))
    assert [name for name, count in found.items() if count > 1] == []

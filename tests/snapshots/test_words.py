"""Plain words: a retired one comes into no new name, and a type name is defined once."""

import ast
import io
import re
import tokenize
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests.snapshots.words import ALLOWED, LEFT, NEVER

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "evpower"
FOLDERS = ("src/evpower", "tests", "bench", "migrations", "supabase/source")
GENERATED = {ROOT / "migrations" / "schema.sql"}
WORD = re.compile(r"[A-Za-z][a-z]*|[A-Z]+(?![a-z])")


def files() -> Iterator[Path]:
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*")):
            is_source = path.suffix in {".py", ".sql", ".mjs"} and path not in GENERATED
            if is_source and not {"node_modules", "earlier_project"} & set(path.parts):
                yield path


def identifiers(path: Path) -> list[str]:
    text = path.read_text()
    if path.suffix == ".py":
        tokens = tokenize.generate_tokens(io.StringIO(text).readline)
        return [token.string for token in tokens if token.type == tokenize.NAME]
    bare = re.sub(r"--.*|//.*|'[^']*'", "", text)
    return re.findall(r"[A-Za-z_][A-Za-z0-9_]*", bare)


def test_no_retired_word_comes_into_a_name() -> None:
    found = Counter(
        (str(path.relative_to(ROOT)), word.lower())
        for path in files()
        for identifier in identifiers(path)
        for word in WORD.findall(identifier)
        if word.lower() in NEVER
    )
    allowed = {place: found.pop(place, 0) for place in ALLOWED}
    assert allowed == ALLOWED, "a number may fall (write the smaller one down), never grow"
    left: Counter[str] = Counter()
    for (_, word), count in found.items():
        left[word] += count
    assert dict(left) == LEFT, "a number may fall (write the smaller one down), never grow"


def type_names(path: Path) -> Iterator[str]:
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            yield node.name
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            if name[0].isupper() and not name.isupper() and "_" not in name:
                yield name


def test_a_type_name_is_defined_once() -> None:
    found = Counter(name for path in SOURCE.rglob("*.py") for name in type_names(path))
    assert [name for name, count in found.items() if count > 1] == []

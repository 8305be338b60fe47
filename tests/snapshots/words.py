"""Retired words of design: which they are, where they may stand, how often they are still there.

`python -m tests.snapshots.words` prints the present counts, `... words nobody` the places of one
word, `... words --lower` writes the smaller numbers into words_left.txt (never a larger one).
"""

import ast
import io
import re
import sys
import tokenize
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Final, Literal

Kind = Literal["name", "whole", "text"]

# In no name and no text: identifiers, file names, comments, docstrings, string constants of the
# program and of SQL, pages.
NEVER: Final = frozenset({
    "adopt", "adopted", "adopting", "adoption", "adopts", "bell", "born_twice", "cure", "cures",
    "deaf", "doorbell", "drip", "drips", "everybody", "fuse", "healed", "hopeless", "hung",
    "let_go", "newcomer", "newcomers", "nobody", "noted", "parted", "patience", "proven", "rung",
    "seat", "silence", "sketch", "somebody", "twins", "unproven", "vouched", "wish", "wished",
    "wishes",
})  # fmt: skip
# Never as a whole identifier: the thing has a name.
NEVER_WHOLE: Final = frozenset({
    "asked", "ending", "found", "gone", "heads", "held", "hot", "kept", "mark", "mine", "one",
    "pace", "said", "some", "taken", "told", "turn", "what", "who", "world",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Allowance:
    """A word that may stand in files whose path begins with one of `places`, and why."""

    word: str
    places: tuple[str, ...]
    reason: str

    def covers(self, use: "Use") -> bool:
        """Whether the word may stand there."""
        return use.word == self.word and use.path.startswith(self.places)


# The number of these may only fall: ALLOWANCES_AT_MOST.
ALLOWANCES: Final = (
    Allowance(
        "held",
        ("src/evpower/wallet/", "supabase/source/", "tests/"),
        "money on hold: a member of the HTTP API and the live socket, a column of the wallet",
    ),
    Allowance(
        "adopt",
        (
            "src/evpower/cli/sync.py",
            "src/evpower/client_migration/opening_balances.py",
            "docs/deploy.md",
            "tests/cli/test_commands.py",
            "tests/sync/test_opening_balance.py",
            "tests/snapshots/test_sql_across_slices.py",
        ),
        "a command's old name, which names the new one; `sync.adopt`, an action of the audit",
    ),
    Allowance(
        "adopted",
        (
            "src/evpower/sync/outbound/store.py",
            "supabase/source/0810_apply_set.sql",
            "supabase/source/0830_evpower_apply.sql",
        ),
        "a member of evpower_apply's payload: Supabase's functions may be older than EvPower",
    ),
    Allowance(
        "found",
        ("migrations/", "supabase/source/"),
        "PL/pgSQL's own variable: whether the last statement had a row",
    ),
    Allowance(
        "nobody",
        ("src/evpower/devstack/postgres/accounts.py",),
        "the name of a user of the operating system",
    ),
    Allowance(
        "wishes",
        (
            "docs/deploy.md",
            "supabase/source/0310_statuses_under_block.sql",
            "tests/sync/test_supabase_upgrade.py",
        ),
        "a table's name before 0.1.0, from which its rows are copied",
    ),
    Allowance(
        "wish",
        ("supabase/source/0380_save_status_under_block.sql",),
        "a trigger's and a function's name before 0.1.0, which are dropped",
    ),
)  # fmt: skip
ALLOWANCES_AT_MOST: Final = 7

ROOT: Final = Path(__file__).resolve().parents[2]
LEFT: Final = Path(__file__).with_name("words_left.txt")
_CODE: Final = ("src/evpower", "tests", "bench", "migrations", "supabase/source")
_PAGES: Final = (
    "README.md", "README.ru.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", ".env.example",
    "Makefile", "compose.yaml", "pyproject.toml", "supabase/config.toml",
    "deploy/grafana/evpower.json", "deploy/prometheus/evpower.yml",
)  # fmt: skip
_SOURCES: Final = {".py", ".sql", ".mjs", ".toml"}
_SKIPPED: Final = {"node_modules", "earlier_project", "__pycache__"}
_GENERATED: Final = {"migrations/schema.sql"}
# The old names themselves, as in the table of CHANGELOG.md.
_OLD_NAMES: Final = {"src/evpower/cli/renamed_settings.py"}
_ITSELF: Final = {"tests/snapshots/words.py", "tests/snapshots/test_words.py"}
_NAMES: Final = {"id", "attr", "arg", "name", "asname", "module", "rest"}  # of nodes
_EMPTY: Final = {"ctx", "op", "ops", "kind", "type_comment", "conversion", "simple", "level"}
_IDENTIFIER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PART: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Za-z][a-z]*")
_REMARK: Final = re.compile(r"--[^\n]*|/\*.*?\*/|'[^']*'", re.DOTALL)
_REMARK_MJS: Final = re.compile(r"//[^\n]*|/\*.*?\*/|'[^'\n]*'|\"[^\"\n]*\"|`[^`]*`", re.DOTALL)
_RENAMED: Final = re.compile(r"^### Renamed$.*?(?=^### )", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Use:
    """A retired word at its place. `area` is the first folder, "docs" for pages."""

    kind: Kind
    word: str
    path: str
    line: int

    @property
    def area(self) -> str:
        """Where its count is kept."""
        first = self.path.partition("/")[0]
        return first if "/" in self.path else "docs"

    @property
    def key(self) -> str:
        """Area, kind and word, as a line of words_left.txt begins."""
        return f"{self.area} {self.kind} {self.word}"


def uses() -> Iterator[Use]:
    """Yield every use of a retired word that no allowance covers."""
    for use in uses_with_allowed():
        if not any(allowance.covers(use) for allowance in ALLOWANCES):
            yield use


@cache
def uses_with_allowed() -> tuple[Use, ...]:
    """Return every use of a retired word."""
    return tuple(use for path in _files() for use in uses_in(path, (ROOT / path).read_text()))


def uses_in(path: str, text: str) -> Iterator[Use]:
    """Yield every use in one file, its name included."""
    places = _places_in_python(text) if path.endswith(".py") else _places(path, text)
    for kind, value, line in [("name", Path(path).stem, 1), *places]:
        for retired_kind, word in _retired(kind, value):
            yield Use(retired_kind, word, path, line)


def present() -> dict[str, int]:
    """Return how often each word stands where, by `Use.key`."""
    return dict(sorted(Counter(use.key for use in uses()).items()))


def left() -> dict[str, int]:
    """Return the numbers of words_left.txt."""
    lines = (line.rpartition(" ") for line in LEFT.read_text().splitlines())
    return {key: int(number) for key, _, number in lines}


def lower() -> None:
    """Write the present numbers where they are smaller than those written."""
    counts = present()
    smaller = {key: min(number, counts.get(key, 0)) for key, number in left().items()}
    LEFT.write_text("".join(f"{key} {number}\n" for key, number in smaller.items() if number))


def _files() -> Iterator[str]:
    yield from _PAGES
    for page in sorted((ROOT / "docs").rglob("*.md")):
        yield str(page.relative_to(ROOT))
    for folder in _CODE:
        for file in sorted((ROOT / folder).rglob("*")):
            path = str(file.relative_to(ROOT))
            is_source = file.suffix in _SOURCES and not _SKIPPED & set(file.parts)
            if is_source and path not in _GENERATED | _OLD_NAMES | _ITSELF:
                yield path


def _places_in_python(text: str) -> list[tuple[Kind, str, int]]:
    """Identifiers from the tree (the same in every version of Python), comments from tokens."""
    places: list[tuple[Kind, str, int]] = []
    nodes: list[ast.AST] = [ast.parse(text)]
    for node in nodes:
        names, children = _look_at(node)
        nodes += children
        line: int = getattr(node, "lineno", 1)
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            places.append(("text", node.value, line))
        elif names and not _is_pytest_mark(node):
            places += [("whole", name, line) for name in names]
    if any(_retired("text", line.partition("#")[2]) for line in text.split("\n")):
        for token in tokenize.generate_tokens(io.StringIO(text).readline):  # takes a while
            if token.type == tokenize.COMMENT:
                places.append(("text", token.string, token.start[0]))
    return places


def _look_at(node: ast.AST) -> tuple[list[str], list[ast.AST]]:
    """Return its identifiers, and its children: ast.walk would look at each field once more."""
    names: list[str] = []
    children: list[ast.AST] = []
    for field in _fields(type(node)):
        value = getattr(node, field, None)
        if isinstance(value, str):
            if field in _NAMES:
                names += value.split(".")
        elif isinstance(value, ast.AST):
            children.append(value)
        elif isinstance(value, list):
            children += [child for child in value if isinstance(child, ast.AST)]
    if isinstance(node, (ast.Global, ast.Nonlocal)):
        names += node.names
    return names, children


@cache
def _fields(kind: type[ast.AST]) -> tuple[str, ...]:
    """Return where names and children may be: operators and the like have none."""
    return () if kind is ast.Constant else tuple(f for f in kind._fields if f not in _EMPTY)


def _is_pytest_mark(node: ast.AST) -> bool:
    is_mark = isinstance(node, ast.Attribute) and node.attr == "mark"
    return is_mark and isinstance(node.value, ast.Name) and node.value.id == "pytest"


def _places(path: str, text: str) -> list[tuple[Kind, str, int]]:
    if path == "CHANGELOG.md":
        text = _RENAMED.sub("", text)
    if not path.endswith((".sql", ".mjs")):
        return [("text", line, at) for at, line in enumerate(text.splitlines(), 1)]
    remark = _REMARK if path.endswith(".sql") else _REMARK_MJS
    places: list[tuple[Kind, str, int]] = [
        ("text", match[0], text.count("\n", 0, match.start()) + 1)
        for match in remark.finditer(text)
    ]
    bare = remark.sub(lambda match: "\n" * match[0].count("\n"), text)
    for at, line in enumerate(bare.splitlines(), 1):
        places += [("whole", name, at) for name in _IDENTIFIER.findall(line)]
    return places


@cache
def _retired(kind: Kind, value: str) -> tuple[tuple[Kind, str], ...]:
    return tuple(_all_retired(kind, value))


def _all_retired(kind: Kind, value: str) -> Iterator[tuple[Kind, str]]:
    bare = value.lower().strip("_")
    if kind == "whole" and bare in NEVER_WHOLE:
        yield "whole", bare
    for identifier in _IDENTIFIER.findall(value):
        parts = [part.lower() for part in _PART.findall(identifier)]
        pairs = [f"{left}_{right}" for left, right in pairwise(parts)]
        for word in [*parts, *pairs]:
            if word in NEVER:
                yield "text" if kind == "text" else "name", word


def _main(arguments: list[str]) -> None:
    if arguments == ["--lower"]:
        lower()
    elif arguments:
        for use in uses():
            if use.word in arguments:
                print(f"{use.path}:{use.line} {use.kind} {use.word}")  # noqa: T201 - its purpose
    else:
        written = left()
        for key, number in present().items():
            note = "" if number == written.get(key, 0) else f" (written: {written.get(key, 0)})"
            print(f"{key} {number}{note}")  # noqa: T201 - as above


if __name__ == "__main__":
    _main(sys.argv[1:])

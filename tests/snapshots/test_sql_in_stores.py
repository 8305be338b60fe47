"""SQL stands in stores, and SQL of several lines in triple quotes, so that it reads as SQL."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.snapshots.trees import nodes, one_worker

SOURCE = Path(__file__).parents[2] / "src" / "evpower"
# Beside `store*.py`: who holds SQL, and why it is in no store of a slice.
ALLOWED = {
    "foundation/db.py": "the connection itself: the role it acts as",
    "foundation/idempotency.py": "is the store of foundation.idempotency_keys",
    "foundation/loop_rounds.py": "is the store of foundation.loop_rounds",
    "foundation/migrations.py": "makes the tables of all slices",
    "client_migration/source_postgres.py": "reads the database of another system",
    "cli/doctor_database.py": "examines PostgreSQL: settings, rights, versions; no slice's rows",
    "cli/doctor_installed.py": "names statements for an operator to run",
    "cli/sync.py": "names a query for an operator to run",
    "devstack/bank/odengi/state.py": "is the store of the simulated O!Dengi, in SQLite",
    "devstack/bank/state.py": "is the store of the sandbox bank, in SQLite",
    "devstack/postgres/server.py": "administers the embedded PostgreSQL: roles, databases",
}
SQL = re.compile(
    r"""^\s*(?:
        select\s | insert\s+into\s | update\s+[\w.{}]+\s.*\bset\s | delete\s+from\s
      | with\s+\w+\s+(?:\([^)]*\)\s+)?as\s | truncate\s+table\s | lock\s+table\s
      | create\s+(?:or\s+replace|temp|table|schema|index|unique|database|role|function)\b
      | alter\s+(?:role|table|database|function|schema|system)\b
      | drop\s+(?:table|schema|function|database|role|trigger|owned)\b
      | set\s+(?:local|session|role)\s | grant\s.+\sto\s | revoke\s.+\sfrom\s | show\s+\w+$
    ) | \b(?:insert\s+into\s+[\w.{}]+\s | delete\s+from\s+[\w.{}]+\s
      | update\s+[\w.{}]+\s+(?:\w+\s+)?set\s | select\b.{1,400}?\bfrom\s+[\w.{(]+)""",
    re.DOTALL | re.VERBOSE,
)


def sql_constants(source: str) -> Iterator[tuple[ast.expr, bool]]:
    """Yields strings that are SQL, and whether it is quoted line by line."""
    everything = nodes(source)
    lines = source.splitlines()
    skipped = {
        id(part) for node in everything if isinstance(node, ast.JoinedStr) for part in node.values
    } | {
        id(node.body[0].value)
        for node in everything
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in everything:
        if isinstance(node, ast.JoinedStr):
            parts = [part.value if isinstance(part, ast.Constant) else "{}" for part in node.values]
            text = "".join(str(part) for part in parts)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            text = node.value
        else:
            continue
        if id(node) not in skipped and SQL.search(text):
            first = lines[node.lineno - 1].encode()[node.col_offset :].decode()
            is_triple = first.lstrip("rf").startswith('"""')
            yield node, node.end_lineno != node.lineno and not is_triple


def sources() -> Iterator[tuple[str, str]]:
    for path in sorted(SOURCE.rglob("*.py")):
        if "node_modules" not in path.parts:
            yield path.relative_to(SOURCE).as_posix(), path.read_text()


@one_worker
def test_sql_stands_in_stores_only() -> None:
    outside = {
        where
        for where, source in sources()
        if not Path(where).name.startswith("store") and any(sql_constants(source))
    }
    assert outside == set(ALLOWED)


@one_worker
def test_sql_of_several_lines_is_one_text_in_triple_quotes() -> None:
    assert [
        f"{where}:{node.lineno}"
        for where, source in sources()
        for node, is_quoted_by_line in sql_constants(source)
        if is_quoted_by_line
    ] == []


@pytest.mark.parametrize(
    "source",
    [
        'f("select 1")',
        'f(f"delete from {table} where id = $1")',
        'x = "update sync.pending set next_at = now()"',
        'x = "with due as (select 1) select * from due"',
        'f("set local role none")',
        'x = " and exists (select from identity.clients c where c.id = $1)"',
    ],
)
def test_sql_is_found(source: str) -> None:
    assert list(sql_constants(source))


@pytest.mark.parametrize(
    "source",
    [
        '"""Select one from many."""',
        'x = "with a key"',
        'x = "begin a new database"',
        'x = "update the settings"',
    ],
)
def test_a_sentence_is_no_sql(source: str) -> None:
    assert not list(sql_constants(source))


def test_quotes_line_by_line_are_found() -> None:
    line_by_line = 'f(\n "select a"\n " from t where b")'
    one_text = 'f("""\nselect a\n  from t where b\n""")'
    assert [bad for _, bad in sql_constants(line_by_line)] == [True]
    assert [bad for _, bad in sql_constants(one_text)] == [False]

"""A row of the database is read by the names of its columns: one more column moves no other."""

import ast
from pathlib import Path

import pytest

from tests.snapshots.trees import nodes, one_worker

SOURCE = Path(__file__).parents[2] / "src" / "evpower"
ROWS = {"row", "record"}


def positions(source: str) -> list[int]:
    """Returns the lines that read a row by position."""
    lines: list[int] = []
    for node in nodes(source):
        match node:
            case (
                ast.Starred(value=value) | ast.Call(func=ast.Attribute(value=value, attr="values"))
            ):
                by_position = _is_row(value)
            case ast.Subscript(value=value, slice=ast.Constant(value=int()) | ast.Slice()):
                by_position = _is_row(value)
            case ast.Assign(targets=[ast.Tuple()], value=value):
                by_position = _is_row(value)
            case _:
                by_position = False
        if by_position:
            lines.append(node.lineno)
    return lines


def _is_row(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and node.id in ROWS


@pytest.mark.parametrize(
    "source",
    [
        "Claim(*row)",
        "Claim(*row.values())",
        "[row[0] for row in rows]",
        "(row[0], *tuple(row[2:]))",
        "key, version = row",
    ],
)
def test_reading_by_position_is_seen(source: str) -> None:
    assert positions(source)


def test_reading_by_name_is_allowed() -> None:
    assert not positions("read(Claim, row), row['key'], {**row}, dict(row)")


@one_worker
def test_rows_are_read_by_the_names_of_their_columns() -> None:
    by_position = {
        f"{path.relative_to(SOURCE)}:{line}"
        for path in SOURCE.rglob("*.py")
        for line in positions(path.read_text())
    }
    assert by_position == set()

"""Cells of CSV that a spreadsheet would compute, whichever character separates its cells."""

import pytest

from evpower.foundation.text import spreadsheet_safe


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("=1+1", "'=1+1"), ("+996555", "'+996555"), ("-2", "'-2"), ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"), ("\r=1", "'\r=1"), (" =1", "' =1"),
        ("owner;=HYPERLINK(A1)", "owner;'=HYPERLINK(A1)"), ("a; @b;-c", "a;' @b;'-c"),
        ("", ""), ("1=1", "1=1"), ("a-b", "a-b"), ("a;b", "a;b"),
    ],
)  # fmt: skip
def test_a_formula_is_a_text(text: str, cell: str) -> None:
    assert spreadsheet_safe(text) == cell

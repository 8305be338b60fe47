"""docs/openapi.json is what the code says: `evpower openapi > docs/openapi.json` writes it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.contracts.document import document

WRITTEN = Path(__file__).parents[2] / "docs" / "openapi.json"


def test_the_written_document_is_the_current_one() -> None:
    assert json.loads(WRITTEN.read_text("utf-8")) == document()


def _keywords(node: object, keyword: str) -> Iterator[Any]:
    if isinstance(node, dict):
        for name, inner in node.items():
            if name == keyword:
                yield inner
            yield from _keywords(inner, keyword)
    elif isinstance(node, list):
        for inner in node:
            yield from _keywords(inner, keyword)


def test_no_number_is_a_multiple_of_a_fraction() -> None:
    """Most validators divide floats: 0.57 is no multiple of 0.01 there."""
    assert [step for step in _keywords(document(), "multipleOf") if step != int(step)] == []


def test_every_reference_is_to_something_in_the_document() -> None:
    whole = document()
    unresolved = {
        reference
        for reference in _keywords(whole, "$ref")
        if _at(whole, reference.removeprefix("#/").split("/")) is None
    }
    assert unresolved == set()


def _at(node: Any, path: list[str]) -> Any:
    for name in path:
        node = node.get(name) if isinstance(node, dict) else None
    return node

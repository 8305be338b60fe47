"""docs/openapi.json is what the code says: `evpower openapi > docs/openapi.json` writes it."""

import json
from pathlib import Path

from evpower.bootstrap import openapi

WRITTEN = Path(__file__).parents[2] / "docs" / "openapi.json"


def test_the_written_document_is_the_current_one() -> None:
    assert json.loads(WRITTEN.read_text("utf-8")) == openapi()

"""Every old route has its stored answers."""

import re
from typing import Final

import pytest

from evpower.api.legacy.old_routes import CARD_PATHS, OLD_ROUTES, TableRow
from tests.old_api.golden_answers import FOLDER, folder_of

# What a call can't answer: everyone may read these, and nothing of them can be wrong.
NEVER_REFUSED: Final = ("/", "/health", "/health-force", "/readyz")
_ROWS: Final = {row.path: row for row in OLD_ROUTES}
ROUTES: Final = sorted(_ROWS.values(), key=lambda row: row.path)


def stored(path: str) -> set[str]:
    return {file.stem for file in (FOLDER / folder_of(path)).glob("*.json")}


@pytest.mark.parametrize("row", ROUTES, ids=[row.path for row in ROUTES])
def test_a_route_has_a_success_and_a_refusal(row: TableRow) -> None:
    states = {re.sub("^ru_", "", state) for state in stored(row.path)}
    refusals = {state for state in states if re.match("refused|.*unknown", state)}
    assert refusals or row.path in NEVER_REFUSED
    assert states - refusals or row.path in CARD_PATHS


def test_every_folder_is_of_a_route() -> None:
    known = {folder_of(row.path) for row in OLD_ROUTES}
    known |= {"v1/charging/active", "v1/ws/locations"}
    folders = {file.parent.relative_to(FOLDER).as_posix() for file in FOLDER.rglob("*.json")}
    assert folders - known == set()

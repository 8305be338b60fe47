"""The stored answers of family B: every revision takes the successes and shows the refusals."""

import json
import re
from pathlib import Path
from typing import Any, Final

import pytest

from tests.old_api.golden_answers import FOLDER
from tests.old_api.reactions import EMPTY_QR, FALSE_SUCCESS, RAW, Answer, shown
from tests.old_api.revisions import REVISIONS, Revision, assert_taken

# By folder: the rules of its answers. Those that are not here no revision of the app reads.
RULES: Final = {
    "v1/balance": "balance",
    "v1/balance/topup-qr": "top_up",
    "v1/charging/start": "start",
    "v1/charging/status": "status",
    "v1/charging/stop": "stop",
    "v1/payment/status": "payment",
    "v1/station/status": "station",
}
_CODE: Final = re.compile(r"[a-z]+(_[a-z0-9]+)+")
_PLACES: Final = {
    "<time>": "2026-01-01T00:00:00.5Z",
    "<uuid>": "0c1f3a58",
    "<number>": "812",
    "<text>": "A1",
    "<bank>": "https://bank.example/1",
}
FILES: Final = sorted(FOLDER.rglob("*.json"))
STORED: Final = [
    (path, rule)
    for folder, rule in RULES.items()
    for path in FILES
    if path.parent == FOLDER / folder
]
EACH = pytest.mark.parametrize(
    ("path", "rule"), STORED, ids=[path.relative_to(FOLDER).as_posix() for path, _ in STORED]
)


def read(path: Path) -> Answer:
    """A stored answer, with plausible values for its placeholders."""
    text = path.read_text("utf-8")
    for place, value in _PLACES.items():
        text = text.replace(place, value)
    stored: dict[str, Any] = json.loads(text)
    return Answer(stored["status"], stored["content_type"], stored["body"])


@EACH
def test_a_success_is_taken_by_every_revision(path: Path, rule: str) -> None:
    answer = read(path)
    if answer.status == 200:
        assert_taken(rule, answer.body)


@EACH
@pytest.mark.parametrize("revision", REVISIONS)
def test_a_refusal_is_never_shown_as_done_nor_as_a_code(
    path: Path, rule: str, revision: Revision
) -> None:
    answer = read(path)
    if answer.status == 200:
        assert answer.body["success"] is True, "no 200 with success false: some take it for done"
        return
    assert answer.body["success"] is False
    sentence = shown(revision, rule, answer)
    assert sentence not in (FALSE_SUCCESS, EMPTY_QR, RAW)
    assert not _CODE.fullmatch(sentence), f"{revision} would show the code {sentence}"


@pytest.mark.parametrize("name", ["with_stations", "without_stations", "one"])
def test_the_newer_apps_take_the_locations(name: str) -> None:
    body = read(FOLDER / f"v1/locations/{name}.json").body
    listed = body if "locations" in body else {"success": True, "total": 1, "locations": [body]}
    assert_taken("locations", listed, "R5", "HEAD")


def test_the_older_apps_take_the_locations_of_their_host() -> None:
    body = read(FOLDER / "v1/locations/at_an_old_host.json").body
    assert_taken("locations", body, "R1", "R3")


def test_every_file_is_of_a_known_form() -> None:
    for path in FILES:
        stored = json.loads(path.read_text("utf-8"))
        assert "ws" in path.parts or stored.keys() == {"status", "content_type", "body"}, path

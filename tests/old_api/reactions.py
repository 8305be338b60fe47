"""What a driver sees of a refusal, by revision, as their pages were tried with prepared answers."""

from dataclasses import dataclass
from typing import Any, Final

from tests.old_api.revisions import Revision

NOTHING: Final = ""
GENERIC: Final = "a fixed sentence of the app"
RAW: Final = "the body as text"
FALSE_SUCCESS: Final = "shown as done"
EMPTY_QR: Final = "an empty QR that is never polled"
WAITS: Final = "the dialog waits its five minutes"
NOT_FOUND: Final = "not found"
_JSON: Final = "application/json"
_PROBLEM: Final = "application/problem+json"


@dataclass(frozen=True)
class Answer:
    """A stored or real response."""

    status: int
    content_type: str
    body: dict[str, Any]

    @property
    def reason(self) -> str:
        """What the newer pages print: `error`, else `message`."""
        return str(self.body.get("error") or self.body.get("message") or "")


def shown(revision: Revision, route: str, answer: Answer) -> str:
    """Returns what the page shows of a refusal: one of the words above, or the sentence itself."""
    match route:
        case "start":
            return _start(revision, answer)
        case "stop":
            return _stop(revision, answer)
        case "top_up":
            is_empty = answer.status < 400 and revision in ("R5", "HEAD")
            return EMPTY_QR if is_empty else GENERIC
        case "payment":
            return WAITS
        case "station":
            return NOT_FOUND
        case _:
            return NOTHING


def _start(revision: Revision, answer: Answer) -> str:
    if revision in ("R1", "R3"):
        return NOTHING
    return RAW if answer.content_type.startswith(_PROBLEM) else answer.reason


def _stop(revision: Revision, answer: Answer) -> str:
    is_problem = answer.content_type.startswith(_PROBLEM)
    if revision == "R1":
        return GENERIC if answer.status in (404, 503) else answer.reason
    if answer.status < 400:
        return GENERIC if revision == "R3" else FALSE_SUCCESS
    return RAW if is_problem else answer.reason

"""What four revisions of the phone app take of an answer, each by rules of its own.

As their own pages were tried with prepared answers: a member of a wrong type, null or missing
where that revision needs it makes the whole answer count as broken.
"""

from collections.abc import Mapping
from typing import Any, Final, Literal

from pydantic import ValidationError

from tests.old_api.revisions import head, r1, r3, r5
from tests.old_api.revisions.types import Read

Revision = Literal["R1", "R3", "R5", "HEAD"]
REVISIONS: Final[tuple[Revision, ...]] = ("R1", "R3", "R5", "HEAD")
RULES: Final[dict[Revision, dict[str, type[Read]]]] = {
    "R1": r1.ROUTES,
    "R3": r3.ROUTES,
    "R5": r5.ROUTES,
    "HEAD": head.ROUTES,
}


def refused_by(revision: Revision, route: str, answer: Mapping[str, Any]) -> list[str]:
    """Returns the members for which a revision refuses the answer; empty: it takes it."""
    try:
        RULES[revision][route].model_validate(answer)
    except ValidationError as error:
        return sorted({".".join(map(str, part["loc"])) for part in error.errors()})
    return []


def read_by(revision: Revision, route: str, answer: Mapping[str, Any]) -> Any:
    """Returns what a revision reads of the answer; fails the test when it refuses it."""
    assert_taken(route, answer, revision)
    return RULES[revision][route].model_validate(answer)


def assert_taken(route: str, answer: Mapping[str, Any], *revisions: Revision) -> None:
    """Fails the test unless every revision takes the answer."""
    for revision in revisions or REVISIONS:
        assert not (why := refused_by(revision, route, answer)), (
            f"{revision} refuses {route}: {why}"
        )

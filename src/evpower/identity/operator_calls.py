"""What the operator API of every slice shares: its parts, parameters and refusals."""

from dataclasses import dataclass
from typing import Annotated, Final

from pydantic import Field

from evpower.foundation.bus import Bus
from evpower.foundation.clock import Clock
from evpower.foundation.db import Database
from evpower.foundation.openapi import Responses, problem
from evpower.foundation.paging import LIMIT_MOST
from evpower.identity.access import Access
from evpower.identity.model import Principal

OPERATOR_PATH: Final = "/api/v1/operator"
ActReason = Annotated[
    str,
    Field(
        min_length=3, max_length=500, pattern=r"\S", description="Why, for the audit",
        examples=["asked by phone, call 4711"],
    ),
]  # fmt: skip
RowLimit = Annotated[int, Field(ge=1, le=LIMIT_MOST, description="Rows of a page")]
RowCursor = Annotated[
    str | None, Field(max_length=2_000, description="`next` of the page before, same filters")
]
OPERATOR_REFUSALS: Final[Responses] = {
    401: problem("`missing_token`, `invalid_token`, `token_expired`"),
    403: problem("`forbidden`: no operator, or the role does not allow it"),
    422: problem("`invalid_request`, `invalid_cursor`"),
}
ETAG_RESPONSES: Final[Responses] = {
    200: {
        "description": "With an ETag: of what operators decide, and of all that is shown",
        "headers": {"ETag": {"description": "For If-Match", "schema": {"type": "string"}}},
    },
    304: {"description": "It is as `If-None-Match` has it"},
}


@dataclass(frozen=True, slots=True)
class OperatorCalls:
    """What the calls of operators work with."""

    access: Access
    db: Database
    bus: Bus
    clock: Clock


def actor_of(caller: Principal) -> str:
    """Returns an operator as the audit names one."""
    return f"operator:{caller.user_id}"

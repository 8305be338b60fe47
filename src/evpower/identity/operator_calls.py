"""What the operator API of every slice shares: its parts, parameters and refusals."""

from dataclasses import dataclass
from typing import Annotated, Final
from uuid import UUID

from pydantic import Field

from evpower.foundation.bus import Bus
from evpower.foundation.clock import Clock
from evpower.foundation.db import Database
from evpower.foundation.errors import Conflict
from evpower.foundation.openapi import Responses, problem
from evpower.foundation.paging import LIMIT_MOST
from evpower.identity.access import Access
from evpower.identity.audit import record_act
from evpower.identity.model import Principal
from evpower.identity.roles import Right

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


async def refuse_own_account(
    db: Database, caller: Principal, client_id: UUID | None, right: Right
) -> None:
    """Refuses an operator's act on the money or rights of the client with the own user id.

    Call it outside the transaction of the act: the refusal is a row of the audit, which stays.
    Raises Conflict("own_account").
    """
    if client_id is None or client_id != caller.user_id:
        return
    async with db.transaction() as connection:
        await record_act(
            connection,
            actor=actor_of(caller),
            action="own_account.refused",
            subject=f"client:{client_id}",
            details={"right": right},
        )
    raise Conflict("own_account", "this account is your own: another operator does this")

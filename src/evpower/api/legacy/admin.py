"""`/api/v1/admin/...`: the app's own pages for operators, over the use cases of the operator API.

Each call names its right, as those do. `data` holds no null: what is unknown is absent.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Protocol, TypeAlias

import orjson
from fastapi import Request
from fastapi.responses import Response

from evpower.api import messages
from evpower.api.legacy.respond import language_of, spoken
from evpower.api.legacy.station_board import StationBoard
from evpower.foundation.bus import Bus
from evpower.foundation.clock import Clock
from evpower.foundation.db import Database
from evpower.foundation.openapi import Responses, problem
from evpower.identity import Access

ADMIN_PATH: Final = "/api/v1/admin"
MOST_ROWS: Final = 500  # of a page
MOST_OFFSET: Final = 10_000
MOST_DAYS: Final = 31


class SummedDays(Protocol):
    """What some days brought; the reports are a neighbour."""

    @property
    def begins_at(self) -> datetime:
        """When the first day began."""
        ...

    @property
    def ends_at(self) -> datetime:
        """Until when it is summed up."""
        ...

    @property
    def energy_wh(self) -> int:
        """Of the bills."""
        ...

    @property
    def revenue_minor(self) -> int:
        """Charged less refunded."""
        ...


SumDays: TypeAlias = Callable[[Database, int, datetime], Awaitable[SummedDays]]


@dataclass(frozen=True, slots=True)
class AdminCalls:
    """What the calls work with."""

    db: Database
    bus: Bus
    access: Access
    board: StationBoard
    period_totals: SumDays
    clock: Clock


REFUSALS: Final[Responses] = {
    401: problem("`missing_token`, `invalid_token`, `token_expired`"),
    403: problem("`forbidden`: no operator, or the role does not allow it"),
    404: problem("`station_not_found`, `session_not_found`, `client_not_found`"),
    409: problem(
        "`client_closed`, `station_retired`, `price_by_tariff`, `receipt_reused`, "
        "`own_account`, ..."
    ),
    422: problem("`invalid_request`, `invalid_amount`, `lowered_by_refund`"),
}


def shown(data: Mapping[str, Any]) -> Response:
    """Returns an answer to a question."""
    answer = {"success": True, "data": data, "message": ""}
    return Response(orjson.dumps(answer), media_type="application/json")


def changed(
    request: Request, data: Mapping[str, Any], *, sentence: str = "admin_changed"
) -> Response:
    """Returns an answer to a change; `sentence` is the code of what it says."""
    language = language_of(request)
    message = messages.sentence([sentence], language)
    return spoken({"success": True, "data": data, "message": message}, language)


def known(members: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the members that are known."""
    return {name: value for name, value in members.items() if value is not None}

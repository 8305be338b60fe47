"""What a start without a token may do: one session at a time, for at most 300 som."""

from typing import Final, NamedTuple

from evpower import charging
from evpower.charging import Rules, StartRequest
from evpower.foundation.db import Connection
from evpower.foundation.errors import Conflict, NotFound
from evpower.foundation.money import to_text
from evpower.wallet import get_wallet

MAX_MINOR: Final = 300_00


class LimitedStart(NamedTuple):
    """A start with a limit of money, and whether the client asked for that limit."""

    request: StartRequest
    is_own_limit: bool


async def limit_start(connection: Connection, request: StartRequest, rules: Rules) -> LimitedStart:
    """Returns the start with a limit of money of at most 300 som; less where less is free.

    A second tap gets the limit of the first. Raises Conflict("charging_limit_exceeded" |
    "session_already_active").
    """
    if request.amount_minor is not None and request.amount_minor > MAX_MINOR:
        raise Conflict(
            "charging_limit_exceeded",
            "without a token a session is limited",
            params={"maximum": to_text(MAX_MINOR)},
        )
    request = request._replace(without_token=True)
    # Read before the open session: a hold that is seen here has its session seen below.
    stored = await get_wallet(connection, request.client_id)
    try:
        view = await charging.active_session(connection, request.client_id)
    except NotFound:
        view = None
    if view is not None and view.state == "stopping":
        raise Conflict("session_already_active", "the client has another session")
    if request.amount_minor is not None:
        return LimitedStart(request, is_own_limit=True)
    if view is not None and view.limit_amount_minor is not None:
        limit_minor = view.limit_amount_minor
    elif request.energy_wh is not None or stored is None:
        limit_minor = MAX_MINOR
    else:
        limit_minor = max(rules.minimum_minor, min(MAX_MINOR, stored.available_minor))
    return LimitedStart(request._replace(amount_minor=limit_minor), is_own_limit=False)

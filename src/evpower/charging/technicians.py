"""Cards of the operator's technicians: charges are recorded, capped and billed to no client."""

from datetime import datetime, timedelta
from typing import Final

from evpower import identity
from evpower.charging import store_technicians
from evpower.charging.model import Technician, TechnicianAllowance
from evpower.charging.store_technicians import TechnicianCharge
from evpower.charging.tags import fold_tag
from evpower.foundation.db import Connection
from evpower.foundation.errors import Conflict, Invalid, NotFound
from evpower.foundation.names import name_flaw, trim_name

DAILY_LIMIT_WH: Final = 20_000  # of a card, unless the operator says otherwise
LIST_LIMIT: Final = 100
_TAG_MAX: Final = 200
_NAME_MAX: Final = 200
MAX_LIMIT_WH: Final = 1_000_000
_WINDOW: Final = timedelta(hours=24)


async def find_card(
    connection: Connection,
    id_tag: str,
    now: datetime,
    *,
    but_for: int | None = None,
    for_start: bool = False,
) -> TechnicianAllowance | None:
    """Returns a technician's card with what is left of its cap; None: the tag is none.

    `but_for`: the number of a transaction whose energy is left out. `for_start` locks the card: of
    its starts at one moment, each is counted before the next. Its station is locked before it.
    """
    card = await store_technicians.find(connection, fold_tag(id_tag), for_start=for_start)
    if card is None:
        return None
    use = await store_technicians.use_of_card(connection, card.tag, now - _WINDOW, but_for, now)
    left_wh = max(card.daily_limit_wh - use.energy_wh, 0)
    return TechnicianAllowance(card.tag, card.name, left_wh, use.power_w)


async def record_charge(
    connection: Connection,
    card: TechnicianAllowance,
    station_id: str,
    transaction_id: int,
    now: datetime,
) -> None:
    """The audit has each charge: who took energy that no one pays. The card's others look anew."""
    await identity.record_act(
        connection,
        actor=f"technician:{card.tag}"[:_TAG_MAX],
        action="charging.technician_charge",
        subject=station_id,
        details={"name": card.name, "transaction_id": transaction_id, "left_wh": card.left_wh},
    )
    await store_technicians.look_at_others(connection, card.tag, transaction_id, now)


async def add_technician(
    connection: Connection,
    *,
    tag: str,
    name: str,
    daily_limit_wh: int = DAILY_LIMIT_WH,
    actor: str,
    reason: str | None = None,
) -> Technician:
    """Lets a card charge anywhere without a session, up to a cap in any 24 hours.

    Raises Invalid("invalid_request" | "invalid_energy"), Conflict("id_tag_taken") for a card that
    is a client's or stored already.
    """
    folded = fold_tag(tag)
    if not folded or len(folded) > _TAG_MAX or not folded.isprintable():
        raise Invalid("invalid_request", "a card and whose it is are needed")
    name = trim_name(name)
    if wrong := name_flaw(name, most=_NAME_MAX):
        raise Invalid("invalid_request", f"name {wrong}")
    _check_limit(daily_limit_wh)
    if await identity.resolve_id_tag(connection, tag) is not None:
        raise Conflict("id_tag_taken", "this card is a client's")
    if not await store_technicians.add(connection, folded, name, daily_limit_wh):
        raise Conflict("id_tag_taken", "this card is a technician's already")
    await identity.record_act(
        connection, actor=actor, action="charging.technician_add", subject=folded, reason=reason,
        details={"name": name, "daily_limit_wh": daily_limit_wh},
    )  # fmt: skip
    card = await store_technicians.find(connection, folded)
    assert card is not None, "it was added here"  # noqa: S101
    return card


async def limit_technician(
    connection: Connection,
    *,
    tag: str,
    daily_limit_wh: int,
    actor: str,
    reason: str | None = None,
) -> Technician:
    """Changes what a card may take in any 24 hours, also of a charge that runs.

    Raises NotFound("technician_not_found"), Invalid("invalid_energy").
    """
    _check_limit(daily_limit_wh)
    folded = fold_tag(tag)
    if not await store_technicians.set_limit(connection, folded, daily_limit_wh):
        raise _unknown(tag)
    await identity.record_act(
        connection, actor=actor, action="charging.technician_limit", subject=folded, reason=reason,
        details={"daily_limit_wh": daily_limit_wh},
    )  # fmt: skip
    card = await store_technicians.find(connection, folded)
    assert card is not None, "it was changed here"  # noqa: S101
    return card


async def remove_technician(
    connection: Connection, *, tag: str, actor: str, reason: str | None = None
) -> None:
    """Ends what a card may. Raises NotFound("technician_not_found")."""
    folded = fold_tag(tag)
    if not await store_technicians.remove(connection, folded):
        raise _unknown(tag)
    await identity.record_act(
        connection, actor=actor, action="charging.technician_remove", subject=folded, reason=reason
    )


async def list_technicians(connection: Connection) -> list[Technician]:
    """Returns the cards of technicians, by name."""
    return await store_technicians.all_technicians(connection)


async def list_technician_charges(
    connection: Connection, *, limit: int = LIST_LIMIT
) -> list[TechnicianCharge]:
    """Returns what technicians took, the newest first."""
    return await store_technicians.list_charges(connection, limit)


def _check_limit(daily_limit_wh: int) -> None:
    if not 1 <= daily_limit_wh <= MAX_LIMIT_WH:
        raise Invalid(
            "invalid_energy", f"the cap is above 0 and at most {MAX_LIMIT_WH // 1000} kWh"
        )


def _unknown(tag: str) -> NotFound:
    return NotFound("technician_not_found", f"{tag!a:.80} is no technician's card")

"""Cards of the operator's technicians: what they charge is recorded and billed to no client."""

from typing import Final

from evpower import identity
from evpower.charging import store_technicians
from evpower.charging.model import Technician
from evpower.charging.tags import fold_tag
from evpower.foundation.db import Connection
from evpower.foundation.errors import Conflict, Invalid, NotFound
from evpower.foundation.text import checked

_TAG_MAX: Final = 200
_NAME_MAX: Final = 200


async def add_technician(
    connection: Connection, *, tag: str, name: str, actor: str, reason: str | None = None
) -> Technician:
    """Lets a card charge anywhere without a session.

    Raises Invalid("invalid_request"), Conflict("id_tag_taken") for a card that is a client's or
    stored already.
    """
    folded = fold_tag(tag)
    if not folded or len(folded) > _TAG_MAX or not folded.isprintable() or not name.strip():
        raise Invalid("invalid_request", "a card and whose it is are needed")
    checked(name, "name", most=_NAME_MAX)
    if await identity.resolve_id_tag(connection, tag) is not None:
        raise Conflict("id_tag_taken", "this card is a client's")
    if not await store_technicians.add(connection, folded, name.strip()):
        raise Conflict("id_tag_taken", "this card is a technician's already")
    await identity.record_act(
        connection, actor=actor, action="charging.technician_add", subject=folded, reason=reason,
        details={"name": name.strip()},
    )  # fmt: skip
    return next(
        item for item in await store_technicians.all_technicians(connection) if item.tag == folded
    )


async def remove_technician(
    connection: Connection, *, tag: str, actor: str, reason: str | None = None
) -> None:
    """Ends what a card may. Raises NotFound("technician_not_found")."""
    folded = fold_tag(tag)
    if not await store_technicians.remove(connection, folded):
        raise NotFound("technician_not_found", f"{tag!a:.80} is no technician's card")
    await identity.record_act(
        connection, actor=actor, action="charging.technician_remove", subject=folded, reason=reason
    )


async def list_technicians(connection: Connection) -> list[Technician]:
    """Returns the cards of technicians, by name."""
    return await store_technicians.all_technicians(connection)

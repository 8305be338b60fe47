"""Gives a client a tariff of its own for a time: a discount, a plan, or both."""

from collections.abc import Collection
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from evpower import identity
from evpower.foundation.db import Connection
from evpower.foundation.errors import Conflict, Invalid, NotFound
from evpower.tariffs import store, store_clients
from evpower.tariffs.document import RATE_DIGITS, decimal_text, scaled
from evpower.tariffs.model import PPM, ClientTariff, Dimension
from evpower.tariffs.save import refuse_past

DISCOUNTED: Final[tuple[Dimension, ...]] = ("energy", "time")  # where nothing else is named
_MAY_DISCOUNT: Final[frozenset[Dimension]] = frozenset({"energy", "time", "parking", "flat"})
LIST_LIMIT: Final = 1000


class NewClientTariff(NamedTuple):
    """What a client is to pay in place of what all pay: a discount, a plan of its own, or both."""

    client_id: UUID
    valid_from: datetime
    valid_until: datetime | None = None  # None: until it is ended
    plan: str | None = None
    discount_ppm: int | None = None
    discount_on: Collection[Dimension] = DISCOUNTED


async def add_client_tariff(
    connection: Connection,
    new: NewClientTariff,
    *,
    now: datetime,
    actor: str,
    reason: str | None = None,
) -> ClientTariff:
    """Stores what a client pays from a time on, until another one or its own end.

    Of several in force the one that was made last counts. Running sessions keep their price. Raises
    NotFound("client_not_found" | "tariff_not_found"), Conflict("tariff_not_in_force"),
    Invalid("tariff_discount_invalid" | "tariff_starts_in_past" | "tariff_range_empty").
    """
    _check(new, now)
    await identity.get_client(connection, new.client_id)
    plan_id = None
    if new.plan is not None:
        plan_id = await _plan_in_force(connection, new.plan, new.valid_from)
    number = await store_clients.insert(
        connection,
        new.client_id,
        plan_id,
        new.discount_ppm,
        sorted({*new.discount_on}) if new.discount_ppm is not None else (),
        new.valid_from,
        new.valid_until,
        actor,
    )
    await _audit(
        connection,
        "tariff.client_add",
        new.client_id,
        actor,
        reason,
        number=number,
        plan=new.plan,
        discount=discount_text(new.discount_ppm),
        valid_from=new.valid_from.isoformat(),
        valid_until=None if new.valid_until is None else new.valid_until.isoformat(),
    )
    return await _stored(connection, number)


def _check(new: NewClientTariff, now: datetime) -> None:
    if new.plan is None and new.discount_ppm is None:
        raise Invalid("tariff_discount_invalid", "a percentage, a plan or both are needed")
    on = {*new.discount_on}
    if new.discount_ppm is not None and (
        not 0 < new.discount_ppm <= PPM or not on or not on <= _MAY_DISCOUNT
    ):
        detail = f"a percentage above 0, up to 100, on some of {', '.join(sorted(_MAY_DISCOUNT))}"
        raise Invalid("tariff_discount_invalid", detail)
    refuse_past(new.valid_from, now)
    if new.valid_until is not None and new.valid_until <= new.valid_from:
        params = {"where": "valid_until"}
        raise Invalid("tariff_range_empty", "valid_until is not above its start", params=params)


async def end_client_tariff(
    connection: Connection,
    *,
    number: int,
    valid_until: datetime,
    now: datetime,
    actor: str,
    reason: str | None = None,
) -> ClientTariff:
    """Ends a client's tariff at a time from now on; one that has not begun never does.

    One that ends no later already stays as it is. Raises NotFound("tariff_not_found"),
    Invalid("tariff_starts_in_past").
    """
    refuse_past(valid_until, now)
    stored = await store_clients.lock(connection, number)
    if stored is None:
        raise NotFound("tariff_not_found", f"no client has a tariff {number}")
    ends_at = max(valid_until, stored.valid_from)
    if stored.valid_until is not None and stored.valid_until <= ends_at:
        return stored
    await store_clients.end(connection, number, ends_at)
    await _audit(
        connection,
        "tariff.client_end",
        stored.client_id,
        actor,
        reason,
        number=number,
        valid_until=ends_at.isoformat(),
    )
    return await _stored(connection, number)


async def list_client_tariffs(
    connection: Connection,
    *,
    client_id: UUID | None = None,
    after: datetime | None = None,
    limit: int = LIST_LIMIT,
) -> list[ClientTariff]:
    """Returns the tariffs of a client, or of all, the newest first; `after`: that end later."""
    return await store_clients.listed(connection, client_id, after, limit)


async def get_client_tariff(connection: Connection, number: int) -> ClientTariff | None:
    """Returns a client's tariff by its number; None: there is none."""
    return await store_clients.get(connection, number)


def read_discount(text: str) -> int:
    """Returns a percentage as text in parts per million. Raises Invalid."""
    discount_ppm = scaled(text, RATE_DIGITS)
    if discount_ppm is None or not 0 < discount_ppm <= PPM:
        raise Invalid(
            "tariff_discount_invalid", f"{text!a:.40} is no percentage above 0, up to 100"
        )
    return discount_ppm


def discount_text(discount_ppm: int | None) -> str | None:
    """Returns a discount as a percentage: "12.5"."""
    return None if discount_ppm is None else decimal_text(discount_ppm, RATE_DIGITS)


async def _plan_in_force(connection: Connection, plan: str, at: datetime) -> int:
    locked = await store.lock_plan(connection, plan)
    if locked is None:
        raise NotFound("tariff_not_found", f"there is no plan {plan!a:.70}")
    if await store.version_at(connection, plan, at) is None:
        detail = f"no version of {plan} is in force then: save one, or activate a draft"
        raise Conflict("tariff_not_in_force", detail)
    return locked.id


async def _stored(connection: Connection, number: int) -> ClientTariff:
    stored = await store_clients.get(connection, number)
    assert stored is not None, "tariffs of clients are never deleted"  # noqa: S101
    return stored


async def _audit(
    connection: Connection,
    action: str,
    client_id: UUID,
    actor: str,
    reason: str | None,
    **details: object,
) -> None:
    await identity.record_act(
        connection,
        actor=actor,
        action=action,
        subject=str(client_id),
        reason=reason,
        details=details,
    )

"""Saves a version of a tariff plan, and puts a draft in force."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from evpower import identity
from evpower.foundation.db import Connection
from evpower.foundation.errors import Conflict, Invalid, NotFound
from evpower.tariffs import store
from evpower.tariffs.check import check
from evpower.tariffs.document import write_tariff
from evpower.tariffs.model import Flaw, TariffVersion
from evpower.tariffs.reader import read_tariff
from evpower.tariffs.snapshot import NEWEST_FORMAT

_CODE: Final = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,62}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class SavedTariff:
    """A stored version, and what its operator should look at once more."""

    version: TariffVersion
    is_new: bool  # False: the newest version says the same already
    warnings: tuple[Flaw, ...]


async def save(
    connection: Connection,
    *,
    plan: str,
    document: Mapping[str, Any],
    valid_from: datetime | None,
    now: datetime,
    actor: str,
    reason: str | None = None,
) -> SavedTariff:
    """Stores a document as the plan's next version; a new code makes a new plan.

    `valid_from` None keeps it a draft. What the newest version says already is not stored again.
    Raises InvalidTariff, Invalid("tariff_code_invalid" | "tariff_starts_in_past").
    """
    if not _CODE.fullmatch(plan):
        detail = "a plan's code has 1 to 64 letters a-z, digits, - and _, none of these at an end"
        raise Invalid("tariff_code_invalid", detail)
    tariff = read_tariff(document)
    warnings = tuple(check(tariff))
    if valid_from is not None:
        refuse_past(valid_from, now)
    await store.insert_plan(connection, plan)
    locked = await store.lock_plan(connection, plan)
    assert locked is not None, "plans are never deleted"  # noqa: S101
    written = write_tariff(tariff)
    newest = await store.get_version(connection, plan, locked.last_version)
    if newest is not None and _says_the_same(newest, written, valid_from):
        return SavedTariff(newest, is_new=False, warnings=warnings)
    number = await store.insert_version(
        connection, locked, written, NEWEST_FORMAT, valid_from, actor
    )
    await identity.record_act(
        connection,
        actor=actor,
        action="tariff.save",
        subject=plan,
        reason=reason,
        details={"version": number, "valid_from": _text(valid_from)},
    )
    stored = await store.get_version(connection, plan, number)
    assert stored is not None, "it was inserted above"  # noqa: S101
    return SavedTariff(stored, is_new=True, warnings=warnings)


async def activate(
    connection: Connection,
    *,
    plan: str,
    number: int,
    valid_from: datetime,
    now: datetime,
    actor: str,
    reason: str | None = None,
) -> TariffVersion:
    """Puts a draft in force from a time on.

    Raises NotFound("tariff_not_found"), Conflict("tariff_already_active"),
    Invalid("tariff_starts_in_past").
    """
    refuse_past(valid_from, now)
    locked = await store.lock_plan(connection, plan)
    draft = await store.get_version(connection, plan, number)
    if locked is None or draft is None:
        raise NotFound("tariff_not_found", f"there is no version {number} of a plan {plan!a:.70}")
    if not await store.activate_version(connection, locked, number, valid_from):
        raise Conflict("tariff_already_active", f"version {number} is no draft")
    await identity.record_act(
        connection,
        actor=actor,
        action="tariff.activate",
        subject=plan,
        reason=reason,
        details={"version": number, "valid_from": _text(valid_from)},
    )
    active = await store.get_version(connection, plan, number)
    assert active is not None, "versions are never deleted"  # noqa: S101
    return active


def refuse_past(valid_from: datetime, now: datetime) -> None:
    """Raises Invalid("tariff_starts_in_past"): what was in force stays as it was."""
    if valid_from < now:
        raise Invalid("tariff_starts_in_past", "a price can't begin in the past")


def _says_the_same(
    newest: TariffVersion, document: Mapping[str, Any], valid_from: datetime | None
) -> bool:
    if newest.format != NEWEST_FORMAT or newest.document != document:
        return False
    if newest.valid_from is None or valid_from is None:
        return newest.valid_from is valid_from
    return newest.valid_from <= valid_from


def _text(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()

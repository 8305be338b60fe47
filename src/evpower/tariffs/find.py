"""Finds the tariff that prices a place or a plan at a time."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

import orjson

from evpower.foundation.db import Connection, Record
from evpower.foundation.errors import NotFound
from evpower.foundation.json_reader import read_object
from evpower.tariffs import store, store_clients
from evpower.tariffs.model import Assignment, Place, Scope, Snapshot, TariffVersion
from evpower.tariffs.snapshot import read_snapshot
from evpower.tariffs.store_clients import Chosen


async def find_tariff(connection: Connection, place: Place, at: datetime) -> Snapshot | None:
    """Returns what a session that begins at a place and time is billed by; None: nothing is.

    There is no default: without a tariff no session begins. One round trip.
    """
    version = await store.version_for(connection, place, at)
    return None if version is None else snapshot_of(version)


async def find_tariffs(
    connection: Connection, places: Sequence[Place], at: datetime
) -> list[Snapshot | None]:
    """Returns for each place, in order, what `find_tariff` would. One round trip for all."""
    versions = await store.versions_for(connection, places, at)
    distinct = {version.id: version for version in versions if version is not None}
    read = {number: snapshot_of(version) for number, version in distinct.items()}
    return [None if version is None else read[version.id] for version in versions]


async def freeze_tariff(
    connection: Connection, place: Place, at: datetime, *, client_id: UUID | None
) -> Snapshot | None:
    """Returns what a client's session that begins at a place and time is billed by, to the end.

    A plan of the client's own comes before that of the place, while one of its versions is in
    force; its discount is on either. None: nothing prices it, and no session begins. One round
    trip.
    """
    chosen = await store_clients.choose(connection, place, at, client_id)
    return None if chosen is None else _frozen(chosen)


def frozen_of(row: Record) -> Snapshot | None:
    """Returns what `freeze_tariff` would, of a row with the columns of SQL's `tariffs.choose`."""
    chosen = store_clients.chosen(row)
    return None if chosen is None else _frozen(chosen)


def without_parking(snapshot: Snapshot) -> Snapshot:
    """Returns a tariff for a station that does not show when a car is done."""
    return replace(snapshot, tariff=replace(snapshot.tariff, bills_parking=False))


async def get_plan(
    connection: Connection, plan: str, *, at: datetime, number: int | None = None
) -> Snapshot:
    """Returns the version of a plan that is in force at a time, or the one of this number.

    Raises NotFound("tariff_not_found").
    """
    if number is None:
        version = await store.version_at(connection, plan, at)
    else:
        version = await store.get_version(connection, plan, number)
    if version is None:
        which = "no version in force" if number is None else f"no version {number}"
        raise NotFound("tariff_not_found", f"there is {which} of a plan {plan!a:.70}")
    return snapshot_of(version)


async def list_plans(connection: Connection, at: datetime) -> list[TariffVersion]:
    """Returns of every plan the version in force at a time, all later ones, and newer drafts."""
    return await store.versions_from(connection, at)


async def list_versions(connection: Connection, plan: str) -> list[TariffVersion]:
    """Returns every version of a plan, the newest first. Raises NotFound("tariff_not_found")."""
    versions = await store.versions_of(connection, plan)
    if not versions:
        raise NotFound("tariff_not_found", f"there is no plan {plan!a:.70}")
    return versions


async def list_assignments(connection: Connection, at: datetime) -> list[Assignment]:
    """Returns the assignments in force at a time and all later ones, the widest scope first."""
    return await store.assignments_from(connection, at)


async def has_plan(connection: Connection, scope: Scope, scope_id: str, at: datetime) -> bool:
    """Returns whether a plan is assigned to exactly this id, at a time or later."""
    listed = await store.assignments_from(connection, at)
    return any((row.scope, row.scope_id) == (scope, scope_id) and row.plan for row in listed)


def snapshot_of(version: TariffVersion) -> Snapshot:
    """Returns a stored version as a session keeps it."""
    return _snapshot(version.plan, version.number, version.format, version.document)


def _frozen(chosen: Chosen) -> Snapshot:
    snapshot = _snapshot(chosen.plan, chosen.version, chosen.format, chosen.document)
    tariff = replace(snapshot.tariff, discount=chosen.discount)
    return replace(snapshot, tariff=tariff, client_tariff=chosen.number)


def _snapshot(plan: str, number: int, format_number: int, document: Mapping[str, Any]) -> Snapshot:
    head = {"format": format_number, "plan": plan, "version": number}
    return _read(orjson.dumps(head | dict(document)))


@lru_cache(maxsize=256)
def _read(text: bytes) -> Snapshot:
    """Reads a version; the same few are in force for every start."""
    return read_snapshot(read_object(text))

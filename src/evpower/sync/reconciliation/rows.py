"""Compares locations, stations, tariffs and payments with the tables of an older backend."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, cast
from uuid import UUID

import orjson

from evpower.foundation.clock import utc_now
from evpower.foundation.db import Database
from evpower.sync.errors import TargetUnavailable
from evpower.sync.outbound import store_rows
from evpower.sync.outbound.claimed_rows import read_all
from evpower.sync.outbound.old_row import OldRow
from evpower.sync.reconciliation.drift import Drift
from evpower.sync.supabase_rpc import Rpc

_FUNCTION: Final = "evpower_compare_rows"
_BATCH: Final = 100  # in one call: each is some milliseconds there


@dataclass(frozen=True, slots=True)
class RowDigest:
    """What a key stands for, and the tables that differ, or why they can't be compared."""

    topic: str
    id: str
    differs: str | None = None


async def differing(db: Database, rpc: Rpc, keys: Sequence[UUID]) -> dict[str, Drift]:
    """Returns what differs of these keys; nothing while the guard is disabled. Raises SyncError."""
    async with db.connection() as connection:
        rows = await read_all(connection, await store_rows.ids_of(connection, keys), utc_now())
    drift: dict[str, Drift] = {}
    for start in range(0, len(rows), _BATCH):
        page = {(row.topic, str(row.key)): row for row in rows[start : start + _BATCH]}
        body = orjson.dumps({"payload": {"rows": [row.compared() for row in page.values()]}})
        for topic, key, differs in _read(await rpc.call(_FUNCTION, body)):
            row = page.get((topic, key))
            if row is not None:
                drift[key] = _drift(row, differs)
    return drift


async def in_flight(db: Database, keys: Sequence[str]) -> set[str]:
    """Returns those of the keys whose change waits in the outbox."""
    async with db.connection() as connection:
        return await store_rows.pending(connection, [UUID(key) for key in keys])


def _drift(row: OldRow, differs: str) -> Drift:
    ours = RowDigest(row.topic, row.id)
    theirs = RowDigest(row.topic, row.id, differs)
    return Drift("row", str(row.key), "row", ours, theirs, ("id", "differs"))


def _read(raw: object) -> list[tuple[str, str, str]]:
    """Returns topic, key and what differs, of the keys that do."""
    if not isinstance(raw, Mapping):
        raise TargetUnavailable(f"{_FUNCTION} returned no object")
    keys = cast("Mapping[str, object]", raw).get("keys")
    if not isinstance(keys, list):
        raise TargetUnavailable(f"{_FUNCTION} returned no keys")
    try:
        answers = [
            (str(topic), str(key), outcome, str(reason))
            for topic, key, outcome, reason in cast(
                "list[tuple[object, object, str, object]]", keys
            )
        ]
    except (TypeError, ValueError) as error:
        raise TargetUnavailable(f"{_FUNCTION} returned a key in an unknown form") from error
    return [(topic, key, reason) for topic, key, outcome, reason in answers if outcome != "same"]

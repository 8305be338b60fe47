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
    """What one side has of a key, in the columns that differ."""

    topic: str
    id: str
    values: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class _Answer:
    """What differs of one key, a mapping for each row; `reason`: why it can't be compared."""

    rows: Sequence[Mapping[str, object]]
    reason: str = ""


async def differing(db: Database, rpc: Rpc, keys: Sequence[UUID]) -> dict[str, Drift]:
    """Returns what differs of these keys; nothing while the guard is disabled. Raises SyncError."""
    async with db.connection() as connection:
        rows = await read_all(connection, await store_rows.ids_of(connection, keys), utc_now())
    drift: dict[str, Drift] = {}
    for start in range(0, len(rows), _BATCH):
        page = {(row.topic, str(row.key)): row for row in rows[start : start + _BATCH]}
        body = orjson.dumps({"payload": {"rows": [row.compared() for row in page.values()]}})
        for entry, answer in _read(await rpc.call(_FUNCTION, body)).items():
            row = page.get(entry)
            if row is not None:
                drift[str(row.key)] = _drift(row, answer)
    return drift


async def in_flight(db: Database, keys: Sequence[str]) -> set[str]:
    """Returns those of the keys whose change waits in the outbox."""
    async with db.connection() as connection:
        return await store_rows.pending(connection, [UUID(key) for key in keys])


def _drift(row: OldRow, answer: _Answer) -> Drift:
    """Returns the difference; of several rows each column says of which."""
    tables = list(dict.fromkeys(str(row["table"]) for row in answer.rows))
    ours: dict[str, object] = {}
    theirs: dict[str, object] = {}
    for difference in answer.rows:
        prefix = f"{_row_name(difference)} " if len(answer.rows) > 1 else ""
        here = cast("Mapping[str, object]", difference.get("here") or {})
        there = cast("Mapping[str, object] | None", difference.get("there"))
        ours |= {prefix + name: value for name, value in here.items()}
        theirs |= {
            prefix + name: value if there is not None else "no row"
            for name, value in (here if there is None else there).items()
        }
    where = f"table {', '.join(tables)}" if tables else "table"
    if answer.reason:
        where = f"tables in a way that can't be compared: {answer.reason}"
    has_row = not answer.rows or any(facts["there"] is not None for facts in answer.rows)
    return Drift(
        "row", str(row.key), "row", RowDigest(row.topic, row.id, ours),
        RowDigest(row.topic, row.id, theirs) if has_row else None,
        tuple(ours), name=row.title, where=where,
    )  # fmt: skip


def _row_name(difference: Mapping[str, object]) -> str:
    """Returns the table, and what finds the row in it."""
    match = cast("Mapping[str, object]", difference.get("match") or {})
    return f"{difference['table']} {'/'.join(str(value) for value in match.values())}"


def _read(raw: object) -> dict[tuple[str, str], _Answer]:
    """Returns what differs, by topic and key."""
    if not isinstance(raw, Mapping):
        raise TargetUnavailable(f"{_FUNCTION} returned no object")
    answer = cast("Mapping[str, object]", raw)
    keys, differing = answer.get("keys"), answer.get("differing") or ()
    if not isinstance(keys, list):
        raise TargetUnavailable(f"{_FUNCTION} returned no keys")
    rows: dict[tuple[str, str], list[Mapping[str, object]]] = {}
    try:
        for topic, key, row in cast("Sequence[tuple[str, str, Mapping[str, object]]]", differing):
            rows.setdefault((topic, key), []).append(row)
        return {
            (topic, key): _Answer(
                rows.get((topic, key), ()), str(reason) if outcome == "refused" else ""
            )
            for topic, key, outcome, reason in cast("list[tuple[str, str, str, object]]", keys)
            if outcome != "same"
        }
    except (TypeError, ValueError) as error:
        raise TargetUnavailable(f"{_FUNCTION} returned a key in an unknown form") from error

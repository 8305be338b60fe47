"""Digests of both sides: ours by SQL, theirs by evpower_digest, in the same form.

Three levels: one hash for 50 keys, which is all that equal pages cost; the rows behind a hash; and
a fingerprint of each transaction of a client.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Final, Literal, cast
from uuid import UUID

import orjson

from evpower.foundation.clock import to_z
from evpower.foundation.db import Database, Record
from evpower.sync.errors import TargetRefuses, TargetUnavailable
from evpower.sync.inbound.remote_users import parse_id
from evpower.sync.model import INSTANTS, ClientDigest, ComparedTopic, SessionDigest
from evpower.sync.reconciliation import store_digests
from evpower.sync.supabase_rpc import Rpc

Digest = ClientDigest | SessionDigest
# What is compared; a row: of an older backend's tables.
Part = Literal["profile", "client", "session", "row"]
By = Literal["id", "time", "none"]  # what identifies a transaction in this project
_TransactionUnits = tuple[int | None, int | None]  # of event_at and created_at; None: not compared

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
CHUNK: Final = 50  # keys in one hash
_FUNCTION: Final = "evpower_digest"
_TOPIC: Final[Mapping[Part, str]] = {
    "profile": "people",
    "client": "clients",
    "session": "sessions",
}
_BATCH: Final = 100  # clients whose transactions are read in one call


@dataclass(frozen=True, slots=True)
class DigestKey:
    """A key of ours; `deletion_requested`: of an active client whose driver requested it.

    `client`: of a session from which the project may have taken its client, that client.
    `closed`: of a profile of which Supabase may have nothing; it has no hash.
    """

    id: UUID
    deletion_requested: bool
    client: UUID | None = None
    closed: bool = False


@dataclass(frozen=True, slots=True)
class TheirPage:
    """The ids of one page of Supabase; `foreign` counts rows EvPower never wrote."""

    ids: tuple[str, ...]
    foreign: int
    next: str | None


class Digests:
    """Reads both sides concurrently; remembers what this project has.

    That is what identifies a transaction, whether sessions have columns for their limits, to how
    many microseconds it rounds each of their times, and the same of a transaction's times: None is
    an older function, which compares neither these nor what a transaction is of.
    """

    def __init__(self, db: Database, rpc: Rpc) -> None:
        self._db = db
        self._rpc = rpc
        self._by: By = "id"
        self._limits = False
        self._units = (1,) * len(INSTANTS)
        self._whole: _TransactionUnits | None = None

    async def differing(self, part: Part, keys: Sequence[DigestKey]) -> list[UUID]:
        """Returns the keys of hashes that differ: some of these keys may differ."""
        if not keys:
            return []
        ids = [key.id for key in keys]
        known = (self._by, self._limits, self._units, self._whole)
        ours, theirs = await asyncio.gather(
            self._our_hashes(part, ids), self._their_hashes(part, keys)
        )
        if known != (self._by, self._limits, self._units, self._whole):
            ours = await self._our_hashes(part, ids)
        if len(theirs) != len(ours):
            raise TargetUnavailable(f"{_FUNCTION} returned another number of hashes")
        return [
            key
            for nr, (here, there) in enumerate(zip(ours, theirs, strict=True))
            if here != there
            for key in ids[nr * CHUNK : (nr + 1) * CHUNK]
        ]

    async def ours(self, topic: ComparedTopic, keys: Sequence[UUID]) -> dict[str, Digest]:
        """Returns EvPower's digests of these keys."""
        async with self._db.connection() as connection:
            if topic == "client":
                is_whole = self._whole is not None
                sql = store_digests.CLIENTS[is_whole][self._by]
                more = (self._whole,) if is_whole else ()
                rows: list[Record] = await connection.fetch(sql, keys, *more)
                return {row["id"]: _our_client(row, is_whole=is_whole) for row in rows}
            rows = await connection.fetch(store_digests.SESSIONS[self._limits], keys)
            return {row["id"]: _our_session(row, self._units) for row in rows}

    async def theirs(self, topic: ComparedTopic, ids: Sequence[str]) -> dict[str, Digest]:
        """Returns Supabase's digests of these keys."""
        request: dict[str, object] = {"topic": _TOPIC[topic], "ids": list(ids)}
        if topic == "session":
            request["unlinkable"] = await self._unlinkable(ids)
        response = await self._ask_of_keys(request)
        try:
            rows = cast("list[Mapping[str, object]]", response["rows"])
            if topic == "session":
                return {row.id: row for row in map(_their_session, rows)}
            is_whole = self._whole is not None
            return {row.id: row for row in (_their_client(r, is_whole=is_whole) for r in rows)}
        except (KeyError, TypeError, ValueError, InvalidOperation) as error:
            raise _unknown_form() from error

    async def page_of_theirs(
        self, topic: Literal["clients", "sessions", "users"], after: str | None, limit: int
    ) -> TheirPage:
        """Returns the next ids in Supabase's order, and where the page after them begins."""
        response = await self._ask({"topic": topic, "after": after, "limit": limit, "short": True})
        try:
            ids = tuple(str(key) for key in cast("list[object]", response["ids"]))
            return TheirPage(
                ids, int(str(response["foreign"])), cast("str | None", response["next"])
            )
        except (KeyError, TypeError, ValueError) as error:
            raise _unknown_form() from error

    async def divergences(self, keys: Sequence[str]) -> dict[str, int]:
        """Returns the first version at which the transactions differ, for clients that have one."""
        divergences: dict[str, int] = {}
        for start in range(0, len(keys), _BATCH):
            remaining: dict[str, int] = dict.fromkeys(keys[start : start + _BATCH], 0)
            more = self._by != "none"
            while more and remaining:
                rows, more = await self._their_transactions(remaining)
                if more and not rows:
                    raise _unknown_form()
                for key, version in await self._diverged(rows):
                    divergences[key] = min(version, divergences.get(key, version))
                if not more:
                    break
                last = rows[-1][0]  # the page ends within this client; those before it are complete
                position = list(remaining).index(last)
                remaining = {
                    key: at for nr, (key, at) in enumerate(remaining.items()) if nr >= position
                }
                remaining[last] = rows[-1][1]
                for key in divergences:
                    remaining.pop(key, None)
        return divergences

    async def _diverged(self, rows: Sequence[tuple[str, int, str]]) -> list[tuple[str, int]]:
        async with self._db.connection() as connection:
            diverged: list[Record] = await connection.fetch(
                store_digests.DIVERGED[self._by],
                [client for client, _, _ in rows],
                [version for _, version, _ in rows],
                [fingerprint for _, _, fingerprint in rows],
            )
        return [(row["id"], row["version"]) for row in diverged]

    async def _their_transactions(
        self, remaining: Mapping[str, int]
    ) -> tuple[list[tuple[str, int, str]], bool]:
        request = {"topic": "transactions", "clients": list(remaining.items()), "limit": 5000}
        response = await self._ask(request)
        try:
            rows = cast("list[tuple[str, int, str]]", response["rows"])
            return [(str(a), int(b), str(c)) for a, b, c in rows], bool(response["more"])
        except (KeyError, TypeError, ValueError) as error:
            raise _unknown_form() from error

    async def _our_hashes(self, part: Part, ids: Sequence[UUID]) -> list[str]:
        async with self._db.connection() as connection:
            rows: list[Record]
            if part == "session":
                sql = store_digests.SESSION_HASHES[self._limits]
                rows = await connection.fetch(sql, ids, CHUNK, self._units)
            elif part == "client" and self._whole is not None:
                sql = store_digests.CLIENT_HASHES[True][self._by]
                rows = await connection.fetch(sql, ids, CHUNK, self._whole)
            elif part == "client":
                sql = store_digests.CLIENT_HASHES[False][self._by]
                rows = await connection.fetch(sql, ids, CHUNK)
            else:
                rows = await connection.fetch(store_digests.PROFILE_HASHES, ids, CHUNK)
        return [row["hash"] for row in rows]

    async def _their_hashes(self, part: Part, keys: Sequence[DigestKey]) -> list[str]:
        request: dict[str, object] = {
            "topic": _TOPIC[part],
            "ids": [str(key.id) for key in keys],
            "chunk": CHUNK,
        }
        if part == "client":
            request["deletion_requested"] = [str(key.id) for key in keys if key.deletion_requested]
        if part == "session" and any(key.client for key in keys):
            request["unlinkable"] = [key.client and str(key.client) for key in keys]
        response = await self._ask_of_keys(request)
        if "hashes" not in response:
            raise TargetRefuses(f"{_FUNCTION} is an older version: apply supabase/migrations/")
        try:
            return [str(value) for value in cast("list[object]", response["hashes"])]
        except (KeyError, TypeError) as error:
            raise _unknown_form() from error

    async def _ask_of_keys(self, request: Mapping[str, object]) -> Mapping[str, object]:
        """Asks about the request's keys, and learns what this project has.

        Whether sessions have columns for their limits is said in the response: then it is asked
        again, with the sessions of which EvPower knows the limit.
        """
        payload = await self._with_limited(request)
        if request["topic"] == "clients":
            payload = {**payload, "whole": True}
        response = await self._ask(payload)
        if request["topic"] == "clients":
            self._whole = _read_transaction_units(response.get("whole"))
        self._by = cast("By", response.get("by") or self._by)
        self._units = _read_units(response.get("units")) or self._units
        if request["topic"] != "sessions" or self._limits == (response.get("limits") is True):
            return response
        self._limits = not self._limits
        return await self._ask(await self._with_limited(request))

    async def _with_limited(self, request: Mapping[str, object]) -> Mapping[str, object]:
        if request["topic"] != "sessions" or not self._limits:
            return request
        ids = cast("list[str]", request["ids"])
        keys = [key for key in map(parse_id, ids) if key is not None]
        async with self._db.connection() as connection:
            rows: list[Record] = await connection.fetch(store_digests.LIMITED, keys)
        limited = {row["id"] for row in rows}
        return {**request, "limited": [key in limited for key in ids]}

    async def _unlinkable(self, ids: Sequence[str]) -> list[str | None]:
        """Returns the client of each session from which the project may have taken it."""
        keys = [key for key in map(parse_id, ids) if key is not None]
        async with self._db.connection() as connection:
            rows: list[Record] = await connection.fetch(store_digests.UNLINKABLE, keys)
        clients = {row["id"]: row["client"] for row in rows}
        return [clients.get(key) for key in ids]

    async def _ask(self, payload: Mapping[str, object]) -> Mapping[str, object]:
        response = await self._rpc.call(_FUNCTION, orjson.dumps({"payload": payload}))
        if not isinstance(response, Mapping):
            raise _unknown_form()
        return cast("Mapping[str, object]", response)


def _unknown_form() -> TargetUnavailable:
    return TargetUnavailable(f"{_FUNCTION} returned an unknown form")


def _our_client(row: Record, *, is_whole: bool) -> ClientDigest:
    return ClientDigest(
        row["id"],
        row["balance_minor"],
        row["version"],
        row["status"],
        row["count"],
        row["sum_minor"],
        row["last"],
        int(row["moment"]),
        row["held_minor"],
        row["history"],
        row["currency"] if is_whole else None,
    )


def _our_session(row: Record, units: Sequence[int]) -> SessionDigest:
    return SessionDigest(
        row["id"],
        row["client_id"],
        row["revision"],
        row["status"],
        row["energy_wh"],
        row["cost_minor"],
        row["details"],
        facts={
            "station_id": row["station_id"],
            "connector_id": row["connector_id"],
            **{
                name: row[name] and to_z(_rounded(row[name], unit))
                for name, unit in zip(INSTANTS, units, strict=True)
            },
        },
    )


def _their_client(row: Mapping[str, object], *, is_whole: bool) -> ClientDigest:
    history = row["history"]
    return ClientDigest(
        str(row["id"]),
        _scaled(row["balance"], 2),
        int(str(row["version"])),
        str(row["status"]),
        int(str(row["count"])),
        _scaled(row["sum"], 2),
        int(str(row["last"])),
        _scaled(row["moment"], 2),
        _scaled(row["held"], 2),
        str(history) if history is not None else None,
        str(row["currency"]) if is_whole else None,
        int(str(row["foreign"])),
        bool(row["written"]),
    )


def _their_session(row: Mapping[str, object]) -> SessionDigest:
    return SessionDigest(
        str(row["id"]),
        str(row["client_id"]),
        int(str(row["revision"])) if row["revision"] is not None else None,
        str(row["status"]),
        _scaled(row["energy"], 3),
        _scaled(row["cost"], 2),
        cast("Mapping[str, str]", row["details"]),
        bool(row["same"]),
        {
            name: _time(value) if name in INSTANTS else cast("str | None", value)
            for name, value in cast("Mapping[str, object]", row.get("facts") or {}).items()
        },
    )


def _read_units(raw: object) -> tuple[int, ...]:
    """Returns what Supabase rounds times to; nothing if it is an older function."""
    if raw is None:
        return ()
    try:
        units = tuple(int(str(unit)) for unit in cast("list[object]", raw))
    except (TypeError, ValueError) as error:
        raise _unknown_form() from error
    if len(units) != len(INSTANTS) or min(units) < 1:
        raise _unknown_form()
    return units


def _read_transaction_units(raw: object) -> _TransactionUnits | None:
    """Returns what Supabase rounds a transaction's times to; None: it does not compare them."""
    if raw is None:
        return None
    try:
        event, created = (
            None if unit is None else int(str(unit)) for unit in cast("list[object]", raw)
        )
    except (TypeError, ValueError) as error:
        raise _unknown_form() from error
    if min(event or 1, created or 1) < 1:
        raise _unknown_form()
    return event, created


def _rounded(at: datetime, unit: int) -> datetime:
    microseconds = (at - EPOCH) // timedelta(microseconds=1)
    return EPOCH + timedelta(microseconds=(microseconds + unit // 2) // unit * unit)


def _time(microseconds: object) -> str | None:
    """Returns a time of Supabase as text; one beyond the calendar as its number."""
    if microseconds is None:
        return None
    try:
        return to_z(EPOCH + timedelta(microseconds=int(str(microseconds))))
    except OverflowError:
        return str(microseconds)


def _scaled(value: object, places: int) -> int | float:
    """Returns som as tyiyn, kWh as Wh; a remaining fraction counts as a difference."""
    number = Decimal(str(value if value is not None else 0)).scaleb(places)
    whole = number.is_finite() and number == number.to_integral_value()
    return int(number) if whole else float(number)

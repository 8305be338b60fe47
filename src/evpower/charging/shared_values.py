"""Takes meter values of several stations in one transaction.

Each frame is taken by the code that takes one alone (`take_values`). What it writes is collected,
and written for all at once; a frame that does anything else needs a transaction of its own.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final, cast

from evpower.charging import bind
from evpower.charging import store_shared as store
from evpower.charging.events import Changes, StationReadings
from evpower.charging.meter_values import take_values
from evpower.charging.rules import Rules
from evpower.charging.running import RunningTransaction
from evpower.charging.shared_writes import NeedsOwnTransaction, SharedWrites
from evpower.charging.store_shared import OpenTransaction, RowVersions
from evpower.foundation.db import Connection
from evpower.foundation.failpoints import Failpoint, hit
from evpower.foundation.value import Value

_MOST_KNOWN: Final = 4_096


class ValuesDraft(Value, frozen=True):
    """What a frame is going to write, and what it changes."""

    running: RunningTransaction  # after it
    versions: RowVersions  # of what it was computed from
    values: list[tuple[object, ...]]
    changes: Changes


class SharedValues:
    """Meter values of several stations; remembers running transactions by their row versions.

    What is remembered is used only while the rows in the database are those that it was read from,
    or written to: it saves reading them, and decides nothing.
    """

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._known: dict[int, tuple[RowVersions, RunningTransaction]] = {}

    async def draft(
        self,
        connection: Connection,
        events: Sequence[StationReadings],
        *,
        paid_only: Sequence[bool],
        now: datetime,
    ) -> list[ValuesDraft | None]:
        """Returns what each frame writes; None: it needs a transaction of its own.

        The caller has locked the stations, each of which has one frame; `paid_only`: whether they
        charge for money only. Nothing is written yet.
        """
        places = [place for place, event in enumerate(events) if _is_usual(event)]
        named = [events[place] for place in places]
        wanted = [(event.station_id, event.transaction_id or 0, event.connector) for event in named]
        drafts: list[ValuesDraft | None] = [None] * len(events)
        listed = await store.find_open(connection, wanted) if wanted else []
        running = await self._load(connection, [stored for stored in listed if stored is not None])
        for place, stored in zip(places, listed, strict=True):
            if stored is not None and stored.id in running:
                drafts[place] = await self._draft(
                    running[stored.id],
                    stored.versions,
                    events[place],
                    is_paid_only=paid_only[place],
                    now=now,
                )
        return drafts

    async def write(self, connection: Connection, drafts: Sequence[ValuesDraft]) -> None:
        """Writes the drafts of this transaction."""
        values = [row for draft in drafts for row in draft.values]
        version = await store.write(connection, values, [draft.running for draft in drafts])
        for draft in drafts:
            read = draft.versions
            versions = RowVersions(read.transaction, version, read.session)
            self._known[draft.running.transaction.id] = versions, draft.running
        while len(self._known) > _MOST_KNOWN:
            del self._known[next(iter(self._known))]
        hit(Failpoint.PROGRESS_UNCOMMITTED)

    async def _load(
        self, connection: Connection, listed: Sequence[OpenTransaction]
    ) -> dict[int, RunningTransaction]:
        running: dict[int, RunningTransaction] = {}
        unknown: list[int] = []
        for stored in listed:
            versions, known = self._known.pop(stored.id, (None, None))
            if known is not None and versions == stored.versions:
                running[stored.id] = _as_now(known, stored)
            else:
                unknown.append(stored.id)
        if unknown:
            running |= await store.load_all(connection, unknown)
        return running

    async def _draft(
        self,
        running: RunningTransaction,
        versions: RowVersions,
        event: StationReadings,
        *,
        is_paid_only: bool,
        now: datetime,
    ) -> ValuesDraft | None:
        writes = SharedWrites()
        try:
            changes = await take_values(
                cast("Connection", writes), running, event,
                is_paid_only=is_paid_only, now=now, rules=self._rules,
            )  # fmt: skip
            if writes.progress is None:
                return None
        except NeedsOwnTransaction:
            return None
        except Exception:  # noqa: BLE001 - alone it fails again, and only itself
            return None
        after = running.replace(progress=writes.progress)
        return ValuesDraft(after, versions, writes.values, changes)


def _is_usual(event: StationReadings) -> bool:
    number = bind.known_id(event.transaction_id)
    return number is not None and number <= bind.MAX_ID and bind.known_name(event.text_id) is None


def _as_now(known: RunningTransaction, stored: OpenTransaction) -> RunningTransaction:
    """Returns a remembered transaction with what is not in its versioned rows."""
    session = known.session
    if session is not None and (session.held_minor, session.available_minor) != (
        stored.held_minor, stored.available_minor,
    ):  # fmt: skip
        session = replace(
            session, held_minor=stored.held_minor, available_minor=stored.available_minor
        )
    elif (known.rated_power_w, known.skew_s) == (stored.rated_power_w, stored.skew_s):
        return known
    return known.replace(session=session, rated_power_w=stored.rated_power_w, skew_s=stored.skew_s)

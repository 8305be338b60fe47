"""What Supabase answers about changes, read into our words."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, cast
from uuid import UUID

from evpower.sync.errors import TargetUnavailable
from evpower.sync.inbound.remote_users import RemoteUser, parse_all, parse_id, parse_time

_WORDS: Final = frozenset(
    {f"{table}.{op}" for table in ("clients", "users") for op in ("insert", "update", "delete")}
    | {"clients.blocked_before"}
)


@dataclass(frozen=True, slots=True)
class Pulled:
    """What one page, or several, brought. `error`: what Supabase said instead of answering.

    `discarded` pages were applied elsewhere first; `contact_released`: a contact became free;
    `held`: a transaction that runs in Supabase holds some changes back.
    """

    changes: int = 0
    walked: int = 0
    accepted: int = 0
    created: int = 0
    closed: int = 0
    failed: int = 0
    discarded: int = 0
    reset: bool = False
    contact_released: bool = False
    more: bool = False
    held: bool = False
    error: str | None = None

    def __add__(self, other: "Pulled") -> "Pulled":
        return Pulled(
            changes=self.changes + other.changes,
            walked=self.walked + other.walked,
            accepted=self.accepted + other.accepted,
            created=self.created + other.created,
            closed=self.closed + other.closed,
            failed=self.failed + other.failed,
            discarded=self.discarded + other.discarded,
            reset=self.reset or other.reset,
            contact_released=self.contact_released or other.contact_released,
            more=other.more,
            held=self.held or other.held,
            error=other.error or self.error,
        )


@dataclass(frozen=True, slots=True)
class Change:
    """One row of the change log: who, not what. `id` is None for an id that is not ours."""

    xid: str
    seq: int
    table: str
    op: str
    id: UUID | None
    at: datetime | None

    @property
    def word(self) -> str:
        """What it is counted as."""
        word = f"{self.table}.{self.op}"
        return word if word in _WORDS else "other"


@dataclass(frozen=True, slots=True)
class Changes:
    """A page of the log in its order, and the people it names as they are now."""

    changes: tuple[Change, ...]
    people: tuple[RemoteUser, ...]
    more: bool
    reset: bool
    held: bool = False

    @property
    def everyone(self) -> tuple[RemoteUser, ...]:
        """Each one named; Supabase has nothing of those it did not tell of."""
        told = {person.id for person in self.people}
        named = {change.id for change in self.changes if change.id is not None}
        return (*self.people, *(RemoteUser(one) for one in named - told))

    @property
    def gone(self) -> set[UUID]:
        """Whose auth user was deleted."""
        return self._named("users", "delete")

    @property
    def blocked_before(self) -> set[UUID]:
        """Whose block from before EvPower was kept."""
        return self._named("clients", "blocked_before")

    @property
    def foreign(self) -> int:
        """How many changes were of ids that are not ours."""
        return sum(change.id is None for change in self.changes)

    def _named(self, table: str, op: str) -> set[UUID]:
        return {
            one.id
            for one in self.changes
            if one.id is not None and (one.table, one.op) == (table, op)
        }


@dataclass(frozen=True, slots=True)
class RemoteUsersPage:
    """A page of everybody; `size` counts those whose ids are not ours too."""

    people: tuple[RemoteUser, ...]
    size: int
    next: str | None


def read_changes(raw: object) -> Changes:
    """Read the answer of evpower_changes; raises TargetUnavailable for any other."""
    try:
        answer = cast("Mapping[str, object]", raw)
        return Changes(
            changes=tuple(_change(one) for one in cast("list[object]", answer["changes"] or [])),
            people=tuple(parse_all(answer["people"] or [])),
            more=answer["more"] is True,
            reset=answer.get("reset") is True,
            held=answer.get("held") is True,
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise TargetUnavailable("evpower_changes answered in an unknown form") from error


def read_people(raw: object) -> RemoteUsersPage:
    """Read the answer of evpower_people; raises TargetUnavailable for any other."""
    try:
        answer = cast("Mapping[str, object]", raw)
        listed = cast("list[object]", answer["people"] or [])
        after = answer.get("next")
        return RemoteUsersPage(
            tuple(parse_all(listed)), len(listed), str(after) if after is not None else None
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise TargetUnavailable("evpower_people answered in an unknown form") from error


def _change(raw: object) -> Change:
    fields = cast("Mapping[str, object]", raw)
    xid, seq = fields["xid"], fields["seq"]
    if not isinstance(xid, str | int) or isinstance(xid, bool):
        raise TypeError("xid")
    return Change(
        xid=str(xid),
        seq=int(str(seq)),
        table=str(fields["table"]),
        op=str(fields["op"]),
        id=parse_id(fields["id"]),
        at=parse_time(fields.get("at")),
    )

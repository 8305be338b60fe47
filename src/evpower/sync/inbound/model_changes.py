"""Types of the change log, and parsers of the responses of evpower_changes and evpower_people."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, cast
from uuid import UUID

from evpower.sync.errors import TargetUnavailable
from evpower.sync.inbound.remote_users import RemoteUser, parse_all, parse_id, parse_time

_LABELS: Final = frozenset(
    {f"{table}.{op}" for table in ("clients", "users") for op in ("insert", "update", "delete")}
    | {"clients.blocked_before"}
)


@dataclass(frozen=True, slots=True)
class PullResult:
    """The counts of one page, or of several. `error`: why Supabase could not be read.

    `discarded` pages had been applied by another puller; `contact_released`: a contact became free;
    `is_blocked`: a transaction that runs in Supabase blocks some changes.
    """

    changes: int = 0
    scanned: int = 0
    applied: int = 0
    created: int = 0
    closed: int = 0
    failed: int = 0
    discarded: int = 0
    reset: bool = False
    contact_released: bool = False
    more: bool = False
    is_blocked: bool = False
    error: str | None = None

    def __add__(self, other: "PullResult") -> "PullResult":
        return PullResult(
            changes=self.changes + other.changes,
            scanned=self.scanned + other.scanned,
            applied=self.applied + other.applied,
            created=self.created + other.created,
            closed=self.closed + other.closed,
            failed=self.failed + other.failed,
            discarded=self.discarded + other.discarded,
            reset=self.reset or other.reset,
            contact_released=self.contact_released or other.contact_released,
            more=other.more,
            is_blocked=self.is_blocked or other.is_blocked,
            error=other.error or self.error,
        )


@dataclass(frozen=True, slots=True)
class Change:
    """One row of the change log: whose row changed, not how. `id` None: no client can have it."""

    xid: str
    seq: int
    table: str
    op: str
    id: UUID | None
    at: datetime | None

    @property
    def label(self) -> str:
        """The label it is counted by."""
        label = f"{self.table}.{self.op}"
        return label if label in _LABELS else "other"


@dataclass(frozen=True, slots=True)
class ChangePage:
    """A page of the log in its order, and the users it names as they are now."""

    changes: tuple[Change, ...]
    users: tuple[RemoteUser, ...]
    more: bool
    reset: bool
    is_blocked: bool = False

    @property
    def is_end(self) -> bool:
        """Whether nothing is behind this page, neither more of the log nor changes held back."""
        return not self.more and not self.is_blocked

    @property
    def all_users(self) -> tuple[RemoteUser, ...]:
        """Every user named in the page; one without a record does not exist in Supabase."""
        known = {user.id for user in self.users}
        named = {change.id for change in self.changes if change.id is not None}
        return (*self.users, *(RemoteUser(user_id) for user_id in named - known))

    @property
    def deleted_users(self) -> set[UUID]:
        """Ids whose auth user was deleted."""
        return self._named("users", "delete")

    @property
    def blocked_before(self) -> set[UUID]:
        """Ids whose block from before EvPower was preserved."""
        return self._named("clients", "blocked_before")

    @property
    def foreign(self) -> int:
        """How many changes were of ids that can't be clients'."""
        return sum(change.id is None for change in self.changes)

    def _named(self, table: str, op: str) -> set[UUID]:
        return {
            change.id
            for change in self.changes
            if change.id is not None and (change.table, change.op) == (table, op)
        }


@dataclass(frozen=True, slots=True)
class RemoteUsersPage:
    """A page of all users; `size` also counts ids that can't be clients'."""

    users: tuple[RemoteUser, ...]
    size: int
    next: str | None


def read_changes(raw: object) -> ChangePage:
    """Parses a response of evpower_changes. Raises TargetUnavailable for any other."""
    try:
        response = cast("Mapping[str, object]", raw)
        return ChangePage(
            changes=tuple(
                _change(entry) for entry in cast("list[object]", response["changes"] or [])
            ),
            users=tuple(parse_all(response["people"] or [])),
            more=response["more"] is True,
            reset=response.get("reset") is True,
            is_blocked=response.get("held") is True,
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise TargetUnavailable("evpower_changes returned an unknown form") from error


def read_users(raw: object) -> RemoteUsersPage:
    """Parses a response of evpower_people. Raises TargetUnavailable for any other."""
    try:
        response = cast("Mapping[str, object]", raw)
        listed = cast("list[object]", response["people"] or [])
        after = response.get("next")
        return RemoteUsersPage(
            tuple(parse_all(listed)), len(listed), str(after) if after is not None else None
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise TargetUnavailable("evpower_people returned an unknown form") from error


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

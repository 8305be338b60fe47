"""Types of the client migration: rows of the source, plans, runs, results."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Literal
from uuid import UUID

from evpower.foundation.db import Connection
from evpower.foundation.errors import EvPowerError

# Whether the old system had confirmed a contact; assumed: it has no column for it.
OldConfirmation = Literal["yes", "assumed", "no"]
Password = Literal["none", "carried", "unknown"]
RunState = Literal["running", "done", "confirmed", "reverting", "reverted"]


class RowRefused(EvPowerError):
    """A command can't be carried out; `detail` is the line it prints."""

    status = 409


class SourceError(Exception):
    """The source as a whole can't be read; the text says why."""


class RunStopped(Exception):
    """A run was stopped before its end and can be resumed; the text says why."""


class NotMoved(Exception):
    """A row was not moved: an operator decides a conflict, --resume tries any other again."""

    def __init__(self, reason: str, detail: str = "", *, conflict: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail
        self.conflict = conflict


@dataclass(frozen=True, slots=True)
class SourceRow:
    """A client of the old system in our form; `invalid` is the reason why it can't be moved."""

    line: int
    old_id: str
    email: str | None
    phone: str | None
    name: str | None
    email_confirmed: OldConfirmation
    phone_confirmed: OldConfirmation
    id_tags: tuple[str, ...]
    password: Password
    password_hash: str | None = field(repr=False)
    balance_minor: int  # tyiyn, rounded half up
    invalid: str | None
    detail: str | None
    digest: bytes


@dataclass(frozen=True, slots=True)
class PlanCounts:
    """Rows by plan, and the balances to be moved, in tyiyn."""

    read: int = 0
    link: int = 0
    create: int = 0
    add: int = 0  # to clients who were moved before
    skip: int = 0
    conflict: int = 0
    invalid: int = 0
    id_tags: int = 0
    passwords: int = 0  # moved
    passwords_unknown: int = 0  # with a hash Auth can't check: to be reset
    balances: int = 0
    balance_minor: int = 0


@dataclass(frozen=True, slots=True)
class Trouble:
    """A row that was not moved, and why."""

    line: int
    old_id: str
    plan: str
    reason: str
    detail: str | None


@dataclass(frozen=True, slots=True)
class TroubleCount:
    """How many rows were not moved for one reason."""

    plan: str
    reason: str
    rows: int


@dataclass(frozen=True, slots=True)
class PlanResult:
    """The plan of a run; `run` is None for a dry run, and when no row is to be moved."""

    run: "Run | None"
    counts: PlanCounts
    troubles: tuple[Trouble, ...]  # the first rows
    kinds: tuple[TroubleCount, ...]  # of all rows


@dataclass(frozen=True, slots=True)
class Run:
    """One run; users it created have `run_key` in their app_metadata."""

    id: int
    run_key: UUID
    source: str
    state: RunState


@dataclass(frozen=True, slots=True)
class RowWork:
    """A row to execute."""

    run: int
    line: int
    old_id: str
    plan: Literal["link", "create", "add"]
    client_id: UUID
    matched_by: str | None
    email: str | None
    phone: str | None
    name: str | None
    email_confirmed: OldConfirmation
    phone_confirmed: OldConfirmation
    balance_minor: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class RunSummary:
    """The counts of a run: rows moved by this call, moved in all, not moved."""

    run: int
    moved: int
    done: int
    failed: int
    conflicts: int
    invalid: int
    skipped: int


@dataclass(frozen=True, slots=True)
class RevertResult:
    """What a revert did: aliases removed, users deleted, users retained because they are in use."""

    run: int
    aliases: int
    users: int
    retained: int


# Credits the balance (tyiyn) of an old id to a client's wallet, in the transaction of its alias.
# Returns false when it was credited before.
CreditBalance = Callable[[Connection, UUID, str, int], Awaitable[bool]]
MigrationProgress = Callable[[int, int | None], None]


def no_progress(done: int, total: int | None) -> None:
    """No-op progress callback."""

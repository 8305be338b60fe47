"""What moving clients to one id speaks of: rows of the source, plans, runs, what was done."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Literal
from uuid import UUID

from evpower.foundation.db import Connection
from evpower.foundation.errors import EvPowerError

Plan = Literal["adopt", "create", "add", "skip", "conflict", "invalid"]
# Whether the old system had the contact confirmed: it said yes or no, or it has no word for it.
Proof = Literal["yes", "assumed", "no"]
Password = Literal["none", "carried", "unknown"]
RunState = Literal["running", "done", "confirmed", "reverting", "reverted"]


class RowRefused(EvPowerError):
    """What an operator asked for can't be done; only commands raise it, `detail` is their line."""

    status = 409


class SourceError(Exception):
    """The source as a whole can't be read; the text says why."""


class Stopped(Exception):
    """A run ended before its end and can be resumed; the text says why."""


class NotMoved(Exception):
    """This row stays: a conflict is for a person, anything else is tried again by --resume."""

    def __init__(self, reason: str, detail: str = "", *, conflict: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail
        self.conflict = conflict


@dataclass(frozen=True, slots=True)
class SourceRow:
    """A client as the old system has it, in our form; `wrong` says why it can't be moved."""

    line: int
    old_id: str
    email: str | None
    phone: str | None
    name: str | None
    email_proof: Proof
    phone_proof: Proof
    id_tags: tuple[str, ...]
    password: Password
    password_hash: str | None = field(repr=False)
    balance_minor: int  # tyiyn, rounded half up
    wrong: str | None
    detail: str | None
    digest: bytes


@dataclass(frozen=True, slots=True)
class PlanCounts:
    """Rows by what is to become of them, and the money they carry, in tyiyn."""

    read: int = 0
    adopt: int = 0
    create: int = 0
    add: int = 0  # to clients who were moved before
    skip: int = 0
    conflict: int = 0
    invalid: int = 0
    id_tags: int = 0
    passwords: int = 0  # carried over
    passwords_unknown: int = 0  # hashed in a way Auth can't check: to be reset
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
class Planned:
    """What a run would do; `run` is None for a dry one, and when there is nothing to keep."""

    run: "Run | None"
    counts: PlanCounts
    troubles: tuple[Trouble, ...]  # the first ones
    kinds: tuple[TroubleCount, ...]  # all of them


@dataclass(frozen=True, slots=True)
class Run:
    """One run."""

    id: int
    mark: UUID
    source: str
    state: RunState


@dataclass(frozen=True, slots=True)
class RowWork:
    """A row to execute."""

    run: int
    line: int
    old_id: str
    plan: Literal["adopt", "create", "add"]
    client_id: UUID
    matched_by: str | None
    email: str | None
    phone: str | None
    name: str | None
    email_proof: Proof
    phone_proof: Proof
    balance_minor: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class Done:
    """How a run stands: rows moved now, moved in all, not moved."""

    run: int
    moved: int
    done: int
    failed: int
    conflicts: int
    invalid: int
    skipped: int


@dataclass(frozen=True, slots=True)
class Reverted:
    """What was taken back: aliases alone, users too, and what stays because it was used."""

    run: int
    aliases: int
    users: int
    kept: int


# Puts the old balance (tyiyn) of an old id into a client's wallet, in the transaction of its alias;
# false: it was there before. Payments does it, whom identity does not know.
Carry = Callable[[Connection, UUID, str, int], Awaitable[bool]]
MigrationProgress = Callable[[int, int | None], None]


def no_progress(done: int, total: int | None) -> None:
    """Tell nobody."""

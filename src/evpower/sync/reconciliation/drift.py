"""Kinds of drift: which side is right about each, and what a repair may do."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import timedelta
from types import MappingProxyType
from typing import Any, Final, Literal, cast

from evpower.sync.inbound.remote_users import parse_time
from evpower.sync.model import DELETION_STATUSES, INSTANTS, ClientDigest, SessionDigest, Side
from evpower.sync.reconciliation.digests import Digest, Part

DriftKind = Literal[
    # EvPower is right: it is sent again.
    "missing",
    "balance",
    "transactions",
    "status",
    "session",
    "row",
    "closed_contact",
    # Supabase is right: it is applied.
    "unseen",
    "profile",
    "deletion",
    "block",
    # Money, or the only record of it: an operator must decide.
    "opening",
    "only_there",
    "ahead",
    "diverged",
    # Neither side is wrong.
    "userless",
    "contact_taken",
    "email_apart",
]
Repair = Literal["send", "apply", "overwrite", "none"]

# What a repair does. `overwrite` only at an operator's request, after Supabase's rows were
# archived.
REPAIRS: Final[Mapping[DriftKind, Repair]] = MappingProxyType(
    {
        "missing": "send",
        "balance": "send",
        "transactions": "send",
        "status": "send",
        "session": "send",
        "row": "send",
        "closed_contact": "send",
        "unseen": "apply",
        "profile": "apply",
        "deletion": "apply",
        "block": "apply",
        "opening": "none",
        "only_there": "none",
        "ahead": "overwrite",
        "diverged": "overwrite",
        "userless": "none",
        "contact_taken": "none",
        "email_apart": "none",
    }
)
NOTICES: Final[frozenset[DriftKind]] = frozenset({"userless", "contact_taken", "email_apart"})

_ACTIONS: Final[Mapping[DriftKind, str]] = MappingProxyType(
    {
        "missing": "missing in Supabase",
        "balance": "balance differs",
        "transactions": "transactions differ",
        "status": "status differs",
        "session": "differs",
        "row": "differs in an older backend's {where}",
        "closed_contact": "a closed client has a contact or name",
        "unseen": "in Supabase, unknown here",
        "profile": "profile differs",
        "deletion": "deletion differs",
        "block": "blocked in Supabase before EvPower",
        "opening": "reported: opening balance, see evpower sync import-balances",
        "only_there": "reported: only in Supabase",
        "ahead": "reported: Supabase is ahead, restore or decide by hand",
        "diverged": "reported: the histories diverge at version {version}, decide by hand",
        "userless": "reported: no user in Supabase Auth",
        "contact_taken": "reported: another client has this contact",
        "email_apart": "reported: the row and the user have different emails",
    }
)
_FACTS: Final = frozenset({"details", "facts"})
# A column that rounds its times, and whatever is written within it, is no difference.
_SAME_TIME: Final = timedelta(seconds=1)
_MONEY: Final = ("balance_minor", "held_minor", "currency", "version")


@dataclass(frozen=True, slots=True)
class Drift:
    """One difference: what each side has, the fields that differ, and what a repair did.

    `diverged` is the first version at which both sides have different transactions. Of an older
    backend's row: `name` is what operators know it by, `where` the table.
    """

    topic: Part
    key: str
    kind: DriftKind
    ours: object | None
    theirs: object | None
    fields: tuple[str, ...] = ()
    diverged: int | None = None
    done: str = field(default="", compare=False)
    name: str = ""
    where: str = "table"

    @property
    def title(self) -> str:
        """Returns what differs, as an operator may look for it."""
        return self.name or f"{self.topic} {self.key}"

    @property
    def notice(self) -> bool:
        """Whether neither side is wrong, so that it is only reported."""
        return self.kind in NOTICES

    @property
    def right_side(self) -> Side:
        """The side that is right."""
        return "supabase" if REPAIRS[self.kind] == "apply" else "evpower"

    @property
    def action(self) -> str:
        """What differs, and what a repair did, for operators."""
        text = _ACTIONS[self.kind].format(version=self.diverged, where=self.where)
        return f"{text.removeprefix('reported: ')}; {self.done}" if self.done else text

    @property
    def repaired(self) -> bool:
        """Whether a repair was made."""
        return bool(self.done)

    def with_done(self, repair: str) -> "Drift":
        """Returns the same drift with what a repair did."""
        return replace(self, done=repair)


def agree(ours: Digest | None, theirs: Digest | None) -> bool:
    """Returns whether two digests are equal, as far as each side is right."""
    if isinstance(ours, ClientDigest) and (theirs is None or isinstance(theirs, ClientDigest)):
        if theirs is None:  # the row was deleted with its user; the money stays here
            return ours.status == "inactive"
        return _same_status(ours, theirs) and replace(theirs, status=ours.status) == ours
    if isinstance(ours, SessionDigest) and isinstance(theirs, SessionDigest):
        return not _facts_apart(ours, theirs) and replace(theirs, facts=ours.facts) == ours
    return ours == theirs


def judge(
    topic: Part, key: str, ours: Digest | None, theirs: Digest | None, diverged: int | None
) -> Drift:
    """Returns the difference with its kind."""
    differing = _differing(ours, theirs)
    kind = _kind(ours, theirs, diverged, differing)
    return Drift(topic, key, kind, ours, theirs, differing, diverged)


def has_money(there: Digest) -> bool:
    """Returns whether a row that only Supabase has may be the only record of money."""
    return isinstance(there, SessionDigest) or bool(there.balance_minor or there.count)


def as_facts(side: object | None) -> dict[str, object] | None:
    """Returns one side of a difference as it is stored in sync.drift."""
    return asdict(cast("Any", side)) if side is not None else None


def _kind(
    ours: Digest | None, theirs: Digest | None, diverged: int | None, differing: tuple[str, ...]
) -> DriftKind:
    if theirs is None:
        return "missing"
    if isinstance(theirs, ClientDigest) and not theirs.written and theirs.balance_minor != 0:
        return "opening"
    if ours is None:
        return "only_there"
    if isinstance(ours, ClientDigest) and isinstance(theirs, ClientDigest):
        return _kind_of_client(ours, theirs, diverged, differing)
    return _kind_of_session(ours, theirs)


def _kind_of_client(
    ours: ClientDigest, theirs: ClientDigest, diverged: int | None, differing: tuple[str, ...]
) -> DriftKind:
    if max(theirs.last, theirs.version) > ours.version:
        return "ahead"
    if diverged is not None:
        return "diverged"
    if "transactions" in differing:
        return "transactions"
    return "balance" if set(differing) & set(_MONEY) else "status"


def _kind_of_session(ours: Digest, theirs: Digest) -> DriftKind:
    assert isinstance(ours, SessionDigest)  # noqa: S101 - both sides are of one topic
    assert isinstance(theirs, SessionDigest)  # noqa: S101
    return "ahead" if (theirs.revision or 0) > (ours.revision or 0) else "session"


def _same_status(ours: ClientDigest, theirs: ClientDigest) -> bool:
    """Returns whether the statuses agree; Supabase may have one of deletion or an old block."""
    if ours.status == theirs.status:
        return True
    if theirs.status in DELETION_STATUSES:
        return ours.status in {"active", "inactive"}
    return ours.status == "active" and theirs.status == "blocked" and not theirs.written


def _facts_apart(ours: SessionDigest, theirs: SessionDigest) -> list[str]:
    """Returns the facts that differ; the project may fill one that EvPower does not have."""
    return [
        name
        for name, value in theirs.facts.items()
        if (here := ours.facts.get(name)) not in {None, value}
        and not (name in INSTANTS and _is_same_time(here, value))
    ]


def _is_same_time(ours: str | None, theirs: str | None) -> bool:
    here, there = parse_time(ours), parse_time(theirs)
    return here is not None and there is not None and abs(here - there) < _SAME_TIME


def _differing(ours: Digest | None, theirs: Digest | None) -> tuple[str, ...]:
    if isinstance(ours, ClientDigest) and isinstance(theirs, ClientDigest):
        differing = [name for name in _MONEY if getattr(ours, name) != getattr(theirs, name)]
        facts = ("count", "sum_minor", "last", "moment", "history")
        if any(getattr(ours, name) != getattr(theirs, name) for name in facts):
            differing.append("transactions")
        if not _same_status(ours, theirs):
            differing.append("status")
        return tuple(differing)
    if isinstance(ours, SessionDigest) and isinstance(theirs, SessionDigest):
        names = [column.name for column in fields(SessionDigest) if column.name not in _FACTS]
        differing = [name for name in names if getattr(ours, name) != getattr(theirs, name)]
        details = sorted(ours.details.items() ^ theirs.details.items())
        differing += _facts_apart(ours, theirs)
        return (*differing, *dict.fromkeys(name for name, _ in details))
    return ()

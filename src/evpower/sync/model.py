"""The words of the sync: who is right about what, what waits, what a call brought."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Final, Literal
from uuid import UUID

from evpower.foundation.bus import Topic as BusTopic

# Something changed in Supabase: pull. The key is always EVERYTHING.
SUPABASE_CHANGED: Final = BusTopic("supabase", b"b")
OutboxTopic = Literal["client", "session"]
Side = Literal["evpower", "supabase"]
TOPICS: Final[tuple[OutboxTopic, ...]] = ("client", "session")

# On a conflict: whose word counts.
AUTHORITY: Final[Mapping[str, Side]] = MappingProxyType(
    {
        "client.balance": "evpower",
        "client.held": "evpower",
        "client.transactions": "evpower",
        "client.status": "evpower",
        "client.email": "supabase",
        "client.phone": "supabase",
        "client.name": "supabase",
        "client.reachable": "evpower",  # whether a contact is one, and in what form it is kept
        "client.holder": "evpower",  # who has a contact that two claim
        "client.deletion": "supabase",
        "client.ban": "supabase",  # Auth's; the operator's block is EvPower's
        "client.closed_contacts": "evpower",  # that a closed client has none in Supabase
        "client.row": "evpower",  # that there is one in Supabase
        "client.blocked_before": "supabase",  # a block from before EvPower
        "client.status_before": "supabase",  # what the project's own word meant
        "client.unknown": "evpower",  # that a client exists: nobody is ever deleted
        "client.id": "evpower",
        "session": "evpower",
    }
)

# EvPower's word for a client, as the apps know it.
CLIENT_STATUS: Final[Mapping[str, str]] = MappingProxyType(
    {"active": "active", "blocked": "blocked", "closed": "inactive"}
)
# What Supabase may say of a client that is active here: deletion is Supabase's business.
ON_THE_WAY_OUT: Final = frozenset({"inactive", "pending_deletion"})

# What a status may say that EvPower knows by itself.
STATUS_WORDS: Final = frozenset(CLIENT_STATUS.values()) | ON_THE_WAY_OUT
MAX_STATUS_WORD: Final = 200  # characters that count


def is_project_word(status: str) -> bool:
    """Whether a status says something, in a word that EvPower does not know by itself."""
    return bool(status.strip()) and status not in STATUS_WORDS


# EvPower's word for a session, as the apps know it.
SESSION_STATUS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "requested": "started",
        "starting": "started",
        "charging": "started",
        "stopping": "started",
        "finished": "stopped",
        "settled": "stopped",
        "expired": "error",
        "refused": "error",
        "cancelled": "error",
        "failed": "error",
    }
)


@dataclass(frozen=True, slots=True)
class Claim:
    """A pending key this relay may send now; `number` orders it among all claims.

    `alone`: Supabase waited for something because of it, so it goes in a call of its own.
    """

    topic: OutboxTopic
    key: UUID
    seq: int
    since: datetime
    attempts: int
    force: bool
    number: int
    claimed_at: datetime
    alone: bool = False


@dataclass(frozen=True, slots=True)
class ClientPart:
    """How far a call carries one client: transactions after `from_version` up to `to_version`."""

    key: UUID
    from_version: int
    to_version: int
    complete: bool
    number: int


@dataclass(frozen=True, slots=True)
class Outgoing:
    """The JSON of one call's parts, built by the database, and what is in them."""

    clients: str
    transactions: str
    sessions: str
    parts: Mapping[UUID, ClientPart]
    transaction_count: int

    def body(self) -> bytes:
        """The request's bytes; nothing is parsed or formatted on the way."""
        return (
            f'{{"payload":{{"clients":{self.clients},"transactions":{self.transactions},'
            f'"sessions":{self.sessions}}}}}'
        ).encode()


ApplyOutcome = Literal["applied", "stale", "gap", "orphan", "busy", "refused"]


@dataclass(frozen=True, slots=True)
class Answer:
    """What Supabase did with one key: `why` is the reason; of a gap, the last version it has.

    An orphan is a session whose client Supabase does not have. Of a busy key another transaction
    holds the row. A stale one with the reason "status" has an older number and another status.
    """

    topic: OutboxTopic
    key: UUID
    outcome: ApplyOutcome
    why: str | int | None = None


# What becomes of a mark: gone, due again at once (and to be written whatever is there), due after
# a pause (in a call of its own), waiting for an operator.
Verdict = Literal["sent", "more", "force", "retry", "alone", "park"]


@dataclass(frozen=True, slots=True)
class Finish:
    """The end of one claim. `acknowledge` is (was, is, number): what Supabase has now."""

    claim: Claim
    verdict: Verdict
    error: str | None = None
    delay_s: float = 0.0
    acknowledge: tuple[int, int, int] | None = None


@dataclass(frozen=True, slots=True)
class Delivered:
    """What one call, or several, brought."""

    keys: int = 0
    transactions: int = 0
    applied: int = 0
    stale: int = 0
    refused: int = 0
    retried: int = 0
    calls: int = 0

    def __add__(self, other: "Delivered") -> "Delivered":
        return Delivered(
            self.keys + other.keys,
            self.transactions + other.transactions,
            self.applied + other.applied,
            self.stale + other.stale,
            self.refused + other.refused,
            self.retried + other.retried,
            self.calls + other.calls,
        )


@dataclass(frozen=True, slots=True)
class ClientDigest:
    """A client in short, money in tyiyn; equal digests mean equal rows.

    `history` is a hash of all its transactions with their ids; `foreign` counts those EvPower never
    wrote; `written`: EvPower wrote the client's row.
    """

    id: str
    balance_minor: int | float
    version: int
    status: str
    count: int
    sum_minor: int | float
    last: int
    moment: int | float
    held_minor: int | float = 0
    history: str | None = None
    foreign: int = field(default=0, compare=False)
    written: bool = field(default=True, compare=False)


@dataclass(frozen=True, slots=True)
class SessionDigest:
    """A session in short: energy in Wh, cost in tyiyn; revision None: not written by EvPower."""

    id: str
    client_id: str
    revision: int | None
    status: str
    energy_wh: int | float
    cost_minor: int | float
    same: bool = True

"""Types of the sync: authority by field, status maps, outbox claims, results of calls, digests."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Final, Literal, get_args
from uuid import UUID

from evpower.foundation.bus import Topic as BusTopic

# Published when Supabase reports a change, so that pullers read it. The key is always EVERYTHING.
SUPABASE_CHANGED: Final = BusTopic("supabase", b"b")
# Of a key that stands for a text id, in the tables of an older backend.
PaymentTopic = Literal["payment", "transaction"]
RowTopic = Literal["location", "station", "tariff", "client_tariff", "payment", "transaction"]
OutboxTopic = Literal[
    "client",
    "session",
    "location",
    "station",
    "tariff",
    "client_tariff",
    "payment",
    "transaction",
]
ComparedTopic = Literal["client", "session"]
Side = Literal["evpower", "supabase"]
TOPICS: Final[tuple[ComparedTopic, ...]] = ("client", "session")
ROW_TOPICS: Final[frozenset[str]] = frozenset(get_args(RowTopic))
PAYMENT_TOPICS: Final[frozenset[str]] = frozenset(get_args(PaymentTopic))

# Which side is right when the two differ.
AUTHORITY: Final[Mapping[str, Side]] = MappingProxyType(
    {
        "client.balance": "evpower",
        "client.held": "evpower",
        "client.transactions": "evpower",
        "client.status": "evpower",
        "client.email": "supabase",
        "client.phone": "supabase",
        "client.name": "supabase",
        "client.reachable": "evpower",  # whether a contact is valid, and its normal form
        "client.holder": "evpower",  # which of two clients has a contact
        "client.deletion": "supabase",
        "client.ban": "supabase",  # of Supabase Auth; an operator's block is EvPower's
        "client.closed_contacts": "evpower",  # a closed client has no contacts in Supabase
        "client.row": "evpower",  # that the row exists in Supabase
        "client.blocked_before": "supabase",  # a block from before EvPower
        "client.status_before": "supabase",  # the meaning of the project's own status word
        "client.unknown": "evpower",  # that a client exists: clients are never deleted
        "client.id": "evpower",
        "session": "evpower",
        "station": "evpower",  # with its location and connectors, in an older backend's tables
        "tariff": "evpower",
        "client_tariff": "evpower",
        "payment": "evpower",  # with its transactions, in an older backend's tables
    }
)

# A client's status in EvPower -> the status the apps read in Supabase.
CLIENT_STATUS: Final[Mapping[str, str]] = MappingProxyType(
    {"active": "active", "blocked": "blocked", "closed": "inactive"}
)
# Statuses Supabase may have for a client that is active here: Supabase is right about deletion.
DELETION_STATUSES: Final = frozenset({"inactive", "pending_deletion"})

# Statuses EvPower knows without a mapping by an operator.
STATUS_WORDS: Final = frozenset(CLIENT_STATUS.values()) | DELETION_STATUSES
MAX_STATUS_WORD: Final = 200  # characters; the rest is cut


def is_project_word(status: str) -> bool:
    """Returns whether a status is not empty and not one that EvPower knows."""
    return bool(status.strip()) and status not in STATUS_WORDS


@dataclass(frozen=True, slots=True)
class Claim:
    """An outbox entry leased by this relay; `number` orders it among all claims.

    `generation` is the entry's when it was claimed; `since`: when its oldest unsent change was due
    at first. `alone`: an earlier call with this key made Supabase wait, so it is sent in a call of
    its own.
    """

    topic: OutboxTopic
    key: UUID
    generation: int
    since: datetime
    attempts: int
    force: bool
    number: int
    claimed_at: datetime
    alone: bool = False


@dataclass(frozen=True, slots=True)
class ClientPart:
    """What a call has of a client: its transactions after `from_version` up to `to_version`."""

    key: UUID
    from_version: int
    to_version: int
    complete: bool
    number: int


@dataclass(frozen=True, slots=True)
class Outgoing:
    """The body of one call to evpower_apply, as JSON texts built by the database."""

    clients: str
    transactions: str
    sessions: str
    parts: Mapping[UUID, ClientPart]
    transaction_count: int
    rows: str = "[]"
    payments: str = "[]"

    def body(self) -> bytes:
        """Returns the request's bytes, joined without parsing the parts."""
        return (
            f'{{"payload":{{"clients":{self.clients},"transactions":{self.transactions},'
            f'"sessions":{self.sessions},"rows":{self.rows},"payments":{self.payments}}}}}'
        ).encode()


ApplyOutcome = Literal["applied", "stale", "gap", "orphan", "busy", "refused"]


@dataclass(frozen=True, slots=True)
class ApplyResult:
    """What Supabase did with one key. `reason` of a gap is the last version Supabase has.

    `orphan`: a session whose client or station Supabase lacks, or a payment that misses something.
    `busy`: another transaction holds the row's lock. `stale`: Supabase has a newer number; with the
    reason "status", and another status.
    """

    topic: OutboxTopic
    key: UUID
    outcome: ApplyOutcome
    reason: str | int | None = None


# What becomes of an outbox entry. sent: deleted. more: due again at once. force: the same, and
# Supabase is to store it whatever it has. retry: due after a pause. alone: the same, in a call of
# its own. park: it waits for an operator.
Verdict = Literal["sent", "more", "force", "retry", "alone", "park"]


@dataclass(frozen=True, slots=True)
class Finish:
    """The end of one claim. `acknowledge` is (old version, new version, number) in Supabase."""

    claim: Claim
    verdict: Verdict
    error: str | None = None
    delay_s: float = 0.0
    acknowledge: tuple[int, int, int] | None = None


@dataclass(frozen=True, slots=True)
class DeliveryResult:
    """The counts of one relay call, or the sum of several."""

    keys: int = 0
    transactions: int = 0
    applied: int = 0
    stale: int = 0
    refused: int = 0
    retried: int = 0
    calls: int = 0

    def __add__(self, other: "DeliveryResult") -> "DeliveryResult":
        return DeliveryResult(
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
    """A digest of a client, money in tyiyn; equal digests mean equal rows.

    `history` is a hash of all its transactions with their ids, payments, sessions and times;
    `foreign` counts the transactions EvPower never wrote; `written`: EvPower wrote the client's
    row.
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
    currency: str | None = None  # None: an older evpower_digest, which does not compare it
    foreign: int = field(default=0, compare=False)
    written: bool = field(default=True, compare=False)


# Of the facts of a session those that are times.
INSTANTS: Final = ("start_time", "stop_time", "created_at")


@dataclass(frozen=True, slots=True)
class SessionDigest:
    """A digest of a session, energy in Wh, cost in tyiyn; revision None: not written by EvPower.

    `details` are the optional facts that are known, by their names; `facts` the station, the
    connector and the times, of Supabase those that can be compared there.
    """

    id: str
    client_id: str
    revision: int | None
    status: str
    energy_wh: int | float
    cost_minor: int | float
    details: Mapping[str, str]
    same: bool = True
    facts: Mapping[str, str | None] = field(default_factory=dict[str, "str | None"])

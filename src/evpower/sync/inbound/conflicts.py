"""The conflict table: where the two sides disagree, who is right, and what is done.

docs/sync.md shows the same rows to people; a test compares them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal, get_args

from evpower.sync import metrics
from evpower.sync.model import AUTHORITY, Side

ConflictKind = Literal[
    "balance_by_hand",
    "balance_by_driver",
    "profile_differs",
    "contact_taken",
    "contact_unusable",
    "status_differs",
    "blocked_before",
    "ban_changed",
    "status_unmapped",
    "deletion_requested",
    "deletion_withdrawn",
    "user_deleted",
    "contacts_of_a_closed_client",
    "closed_but_alive",
    "row_gone",
    "row_alone",
    "user_unknown",
    "born_twice",
    "foreign_id",
]


@dataclass(frozen=True, slots=True)
class ConflictRule:
    """One row: `field` is what AUTHORITY calls it, `counted` the metric that shows it."""

    kind: ConflictKind
    when: str
    field: str
    done: str
    counted: str

    @property
    def right(self) -> Side:
        """Whose word counts."""
        return AUTHORITY[self.field]


def _row(kind: ConflictKind, when: str, field: str, done: str, counted: str = "") -> ConflictRule:
    label = f'evpower_sync_conflicts_total{{kind="{kind}"}}'
    return ConflictRule(kind, when, field, done, counted or label)


_ROWS: Final = (
    _row(
        "balance_by_hand",
        "A balance in Supabase was changed by hand, past the triggers",
        "client.balance",
        "The check finds it; with repair, EvPower's balance is written again",
        "evpower_sync_drift",
    ),
    _row(
        "balance_by_driver",
        "An app or a server writes a balance in Supabase",
        "client.balance",
        "Supabase refuses the write: column grants, then a trigger",
        "nothing: it never happened",
    ),
    _row(
        "profile_differs",
        "Email, phone or name say something else on each side, whoever changed them",
        "client.email",
        "Supabase's values are stored, in EvPower's form",
    ),
    _row(
        "contact_taken",
        "Another open client has verified the email or phone",
        "client.holder",
        "It is left empty, the rest is stored; it is given over once the holder lets go",
    ),
    _row(
        "contact_unusable",
        "An email or phone in Supabase is none",
        "client.reachable",
        "It counts as empty here and stays as it is there",
    ),
    _row(
        "status_differs",
        "Supabase says another status than EvPower's, be it a word EvPower does not know or none,"
        " and it is no requested deletion",
        "client.status",
        "EvPower's status is written over it; a deletion requested before stands",
    ),
    _row(
        "blocked_before",
        "A row EvPower never wrote says blocked",
        "client.blocked_before",
        "The client is blocked in EvPower too, once, with a line in the audit",
    ),
    _row(
        "status_unmapped",
        "A row EvPower never wrote has a status word of the project's own, and no operator has said"
        " what it means",
        "client.status_before",
        "It is not written over, and the client may not spend, 403 `client_blocked`, until"
        " `evpower sync words map`",
    ),
    _row(
        "ban_changed",
        "Supabase Auth bans a user, or lifts a ban",
        "client.ban",
        "No new charge and no new top-up while the ban runs, 403 `client_blocked`; reading stays,"
        " and so does an operator's block",
    ),
    _row(
        "deletion_requested",
        "The driver asked for deletion: inactive, pending_deletion or delete_requested_at",
        "client.deletion",
        "No new charge and no new top-up, 403 `client_deleted`; reading stays, and so does"
        " what Supabase says",
    ),
    _row(
        "deletion_withdrawn",
        "The driver took the deletion back",
        "client.deletion",
        "Everything is allowed again",
    ),
    _row(
        "user_deleted",
        "The auth user was deleted, a session may be running here",
        "client.deletion",
        "The client is closed, one EvPower did not know too: email and phone become free, money and"
        " history stay, what runs is settled, what was paid is credited",
    ),
    _row(
        "contacts_of_a_closed_client",
        "The row of a closed client still has an email, phone or name, which another may need",
        "client.closed_contacts",
        "They are emptied with the next write; where the project refuses that, they become unique"
        " by the client's id. A new client whom the old row keeps out is sent after it",
        "evpower_sync_keys_total",
    ),
    _row(
        "closed_but_alive",
        "A client closed in EvPower can still sign in, or was made again under the same id",
        "client.status",
        "Closed stays closed; `inactive` is sent again",
    ),
    _row(
        "row_gone",
        "The row of clients is gone, the auth user is there",
        "client.row",
        "The row is sent again, with the auth user's contacts, or EvPower's where it has none",
    ),
    _row(
        "row_alone",
        "A row of clients has no auth user, and EvPower saw neither the client nor a deletion: the"
        " user was deleted before EvPower, or the row was put there by hand",
        "client.holder",
        "An open client, so that money in the row can be adopted; nobody can sign in as them. Email"
        " and phone are taken once there is a user: until then a person who lives may have them."
        " The check reports it",
    ),
    _row(
        "user_unknown",
        "EvPower's client is unknown in Supabase, and no deletion was ever seen",
        "client.unknown",
        "Nothing is closed: Supabase may have been restored empty. The check reports it",
        "evpower_sync_notices",
    ),
    _row(
        "born_twice",
        "Supabase and EvPower made the same client at the same moment",
        "client.unknown",
        "One client, one wallet: the id is the same on both sides",
    ),
    _row(
        "foreign_id",
        "An id in Supabase is no UUID",
        "client.id",
        "It is left alone until it is moved to one id",
    ),
)
CONFLICTS: Final[Mapping[ConflictKind, ConflictRule]] = MappingProxyType(
    {one.kind: one for one in _ROWS}
)
assert set(CONFLICTS) == set(get_args(ConflictKind))  # noqa: S101 - a kind without its row is our mistake


def count(kinds: Iterable[ConflictKind]) -> None:
    """Count what was met, after the transaction that dealt with it."""
    for kind in kinds:
        metrics.CONFLICTS.labels(kind).inc()

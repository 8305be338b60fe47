"""The conflict table: where the two sides differ, which is right, and what the sync does.

docs/sync.md has the same rows; a test compares them.
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
    "vehicle_plate_by_hand",
    "limit_by_hand",
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
    "concurrent_create",
    "foreign_id",
]


@dataclass(frozen=True, slots=True)
class ConflictRule:
    """One row: `field` is its key in AUTHORITY, `counted` the metric that counts it."""

    kind: ConflictKind
    when: str
    field: str
    done: str
    counted: str

    @property
    def right_side(self) -> Side:
        """The side that is right."""
        return AUTHORITY[self.field]


def _row(kind: ConflictKind, when: str, field: str, done: str, counted: str = "") -> ConflictRule:
    label = f'evpower_sync_conflicts_total{{kind="{kind}"}}'
    return ConflictRule(kind, when, field, done, counted or label)


_ROWS: Final = (
    _row(
        "balance_by_hand",
        "A balance in Supabase was changed by hand, bypassing the triggers",
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
        "vehicle_plate_by_hand",
        "The `vehicle_plate` of a session was changed in Supabase by hand",
        "session",
        "The check finds it; with repair, EvPower's plate is written again, or null if it has none",
        "evpower_sync_drift",
    ),
    _row(
        "limit_by_hand",
        "`limit_type` or `limit_value` of a session begun here was changed in Supabase by hand",
        "session",
        "The check finds it; with repair, EvPower's limit is written again",
        "evpower_sync_drift",
    ),
    _row(
        "profile_differs",
        "Email, phone or name differ, whichever side changed them",
        "client.email",
        "Supabase's values are stored, in EvPower's form",
    ),
    _row(
        "contact_taken",
        "Another open client has verified the email or phone",
        "client.holder",
        "It is left empty, the rest is stored; the client gets it once the holder releases it",
    ),
    _row(
        "contact_unusable",
        "An email or phone in Supabase is invalid",
        "client.reachable",
        "It counts as empty here; Supabase's value stays",
    ),
    _row(
        "status_differs",
        "Supabase has another status than EvPower, even a word EvPower does not know or an empty"
        " one, and it is no request for deletion",
        "client.status",
        "EvPower's status is written over it; an earlier request for deletion stands",
    ),
    _row(
        "blocked_before",
        "A row EvPower never wrote has the status `blocked`",
        "client.blocked_before",
        "The client is blocked in EvPower too, once, with a line in the audit",
    ),
    _row(
        "status_unmapped",
        "A row EvPower never wrote has a status word of the project's own, and no operator has said"
        " what it means",
        "client.status_before",
        "It is not overwritten, and the client may not spend, 403 `client_blocked`, until"
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
        "The driver withdrew the request for deletion",
        "client.deletion",
        "Everything is allowed again",
    ),
    _row(
        "user_deleted",
        "The auth user was deleted, a session may be running here",
        "client.deletion",
        "The client is closed, one EvPower did not know too: email and phone become free, money and"
        " history stay, a running session is settled, a payment made is credited",
    ),
    _row(
        "contacts_of_a_closed_client",
        "The row of a closed client still has an email, phone or name, which another client may"
        " need",
        "client.closed_contacts",
        "They are emptied with the next write, and by a reconciliation; where the project refuses"
        " that, they become unique by the client's id. A new client that the old row excludes is"
        " sent after it",
        "evpower_sync_keys_total",
    ),
    _row(
        "closed_but_alive",
        "A client closed in EvPower can still sign in, or was created again with the same id",
        "client.status",
        "Closed stays closed; `inactive` is sent again",
    ),
    _row(
        "row_gone",
        "The row of clients is missing, the auth user exists",
        "client.row",
        "The row is sent again, with the auth user's contacts, or EvPower's where it has none",
    ),
    _row(
        "row_alone",
        "A row of clients has no auth user, and EvPower saw neither the client nor a deletion: the"
        " user was deleted before EvPower, or the row was put there by hand",
        "client.holder",
        "An open client, so that money in the row can be imported; it has no sign-in. Email and"
        " phone are stored once there is a user: until then another user may have them. The check"
        " reports it",
    ),
    _row(
        "user_unknown",
        "EvPower's client is unknown in Supabase, and no deletion was ever seen",
        "client.unknown",
        "Nothing is closed: Supabase may have been restored empty. The check reports it",
        "evpower_sync_notices",
    ),
    _row(
        "concurrent_create",
        "Supabase and EvPower created the same client at the same moment",
        "client.unknown",
        "One client, one wallet: the id is the same on both sides",
    ),
    _row(
        "foreign_id",
        "An id in Supabase is no UUID",
        "client.id",
        "The sync ignores it until the client is moved to one id",
    ),
)
CONFLICTS: Final[Mapping[ConflictKind, ConflictRule]] = MappingProxyType(
    {row.kind: row for row in _ROWS}
)
assert set(CONFLICTS) == set(get_args(ConflictKind))  # noqa: S101 - a kind without its row is a mistake in this file


def count(kinds: Iterable[ConflictKind]) -> None:
    """Counts conflicts; called after the transaction that handled them."""
    for kind in kinds:
        metrics.CONFLICTS.labels(kind).inc()

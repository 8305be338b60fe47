"""Keeps Supabase and EvPower equal: what changes here is carried there, and compared."""

from evpower.sync.compare.check import Checked, check
from evpower.sync.compare.drift import Drift
from evpower.sync.compare.mapped import apply_word
from evpower.sync.compare.reconcile import Reconciler
from evpower.sync.errors import SyncError, TargetRefuses, TargetUnavailable, TooLarge
from evpower.sync.incoming.accept import Accepted, accept, give_free_contacts
from evpower.sync.incoming.conflicts import CONFLICTS, Conflict
from evpower.sync.incoming.model_changes import Pulled
from evpower.sync.incoming.people import Person
from evpower.sync.incoming.pull import Puller
from evpower.sync.incoming.store_words import Meaning, StatusWord
from evpower.sync.incoming.words import FoundWord, find_words, map_word
from evpower.sync.model import AUTHORITY, CLIENT_STATUS, SESSION_STATUS, Delivered
from evpower.sync.outgoing.adopt import Adopted, Left, adopt
from evpower.sync.outgoing.backfill import Backfilled, backfill
from evpower.sync.outgoing.relay import Relay
from evpower.sync.outgoing.replay import replay, replay_parked
from evpower.sync.status import Incoming, Lag, Parked, Status, Unaccepted, status
from evpower.sync.supabase_rpc import Rpc, SupabaseRpc, read_answer, secret_key_headers
from evpower.sync.webhooks.endpoints import webhook_router
from evpower.sync.webhooks.model_inbox import Inbox
from evpower.sync.webhooks.notification import NotificationResult, send_notification
from evpower.sync.webhooks.secrets import (
    WEBHOOK_PATH,
    Doorbell,
    Rotated,
    doorbell,
    rotate_secret,
    silence,
)
from evpower.sync.webhooks.store_inbox import look as look_into_inbox
from evpower.sync.webhooks.webhook import SupabaseWebhooks

__all__ = [
    "AUTHORITY",
    "CLIENT_STATUS",
    "CONFLICTS",
    "SESSION_STATUS",
    "WEBHOOK_PATH",
    "Accepted",
    "Adopted",
    "Backfilled",
    "Checked",
    "Conflict",
    "Delivered",
    "Doorbell",
    "Drift",
    "FoundWord",
    "Inbox",
    "Incoming",
    "Lag",
    "Left",
    "Meaning",
    "NotificationResult",
    "Parked",
    "Person",
    "Pulled",
    "Puller",
    "Reconciler",
    "Relay",
    "Rotated",
    "Rpc",
    "Status",
    "StatusWord",
    "SupabaseRpc",
    "SupabaseWebhooks",
    "SyncError",
    "TargetRefuses",
    "TargetUnavailable",
    "TooLarge",
    "Unaccepted",
    "accept",
    "adopt",
    "apply_word",
    "backfill",
    "check",
    "doorbell",
    "find_words",
    "give_free_contacts",
    "look_into_inbox",
    "map_word",
    "read_answer",
    "replay",
    "replay_parked",
    "rotate_secret",
    "secret_key_headers",
    "send_notification",
    "silence",
    "status",
    "webhook_router",
]

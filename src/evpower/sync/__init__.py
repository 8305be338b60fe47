"""Keeps Supabase and EvPower equal: what changes here is carried there, and compared."""

from evpower.sync.accept import Accepted, accept, give_free_contacts
from evpower.sync.adopt import Adopted, Left, adopt
from evpower.sync.backfill import Backfilled, backfill
from evpower.sync.check import Checked, check
from evpower.sync.conflicts import CONFLICTS, Conflict
from evpower.sync.drift import Drift
from evpower.sync.endpoints import webhook_router
from evpower.sync.errors import SyncError, TargetRefuses, TargetUnavailable, TooLarge
from evpower.sync.model import AUTHORITY, CLIENT_STATUS, SESSION_STATUS, Delivered
from evpower.sync.model_changes import Pulled
from evpower.sync.model_inbox import Inbox
from evpower.sync.people import Person
from evpower.sync.pull import Puller
from evpower.sync.reconcile import Reconciler
from evpower.sync.relay import Relay
from evpower.sync.replay import replay, replay_parked
from evpower.sync.secrets import (
    WEBHOOK_PATH,
    Doorbell,
    Rotated,
    doorbell,
    rotate_secret,
    silence,
)
from evpower.sync.status import Incoming, Lag, Parked, Status, Unaccepted, status
from evpower.sync.store_inbox import look as look_into_inbox
from evpower.sync.supabase_rpc import Rpc, SupabaseRpc
from evpower.sync.webhook import SupabaseWebhooks

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
    "Inbox",
    "Incoming",
    "Lag",
    "Left",
    "Parked",
    "Person",
    "Pulled",
    "Puller",
    "Reconciler",
    "Relay",
    "Rotated",
    "Rpc",
    "Status",
    "SupabaseRpc",
    "SupabaseWebhooks",
    "SyncError",
    "TargetRefuses",
    "TargetUnavailable",
    "TooLarge",
    "Unaccepted",
    "accept",
    "adopt",
    "backfill",
    "check",
    "doorbell",
    "give_free_contacts",
    "look_into_inbox",
    "replay",
    "replay_parked",
    "rotate_secret",
    "silence",
    "status",
    "webhook_router",
]

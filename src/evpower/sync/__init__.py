"""Keeps Supabase and EvPower equal: what changes here is carried there, and compared."""

from evpower.sync.errors import SyncError, TargetRefuses, TargetUnavailable, TooLarge
from evpower.sync.inbound.apply_user import Accepted, accept, give_free_contacts
from evpower.sync.inbound.conflicts import CONFLICTS, ConflictRule
from evpower.sync.inbound.model_changes import Pulled
from evpower.sync.inbound.pull import Puller
from evpower.sync.inbound.remote_users import RemoteUser
from evpower.sync.inbound.status_words import FoundWord, find_words, map_word
from evpower.sync.inbound.store_status_words import Meaning, StatusWord
from evpower.sync.model import AUTHORITY, CLIENT_STATUS, SESSION_STATUS, Delivered, OutboxTopic
from evpower.sync.module import module, supabase_answers
from evpower.sync.outbound.backfill import Backfilled, backfill
from evpower.sync.outbound.relay import Relay
from evpower.sync.outbound.replay import replay, replay_parked
from evpower.sync.reconciliation.apply_status_word import apply_word
from evpower.sync.reconciliation.drift import Drift
from evpower.sync.reconciliation.run import Checked, check
from evpower.sync.reconciliation.scheduler import ReconciliationScheduler
from evpower.sync.status import Incoming, Lag, Parked, SyncStatus, Unaccepted, status
from evpower.sync.supabase_rpc import Rpc, SupabaseRpc, read_answer, secret_key_headers
from evpower.sync.webhook.endpoints import webhook_router
from evpower.sync.webhook.model_inbox import Inbox
from evpower.sync.webhook.notification import NotificationResult, send_notification
from evpower.sync.webhook.receive import SupabaseWebhooks
from evpower.sync.webhook.secrets import (
    WEBHOOK_PATH,
    Rotated,
    WebhookStatus,
    disable_webhook,
    rotate_secret,
    webhook_status,
)
from evpower.sync.webhook.store_inbox import look as look_into_inbox

__all__ = [
    "AUTHORITY",
    "CLIENT_STATUS",
    "CONFLICTS",
    "SESSION_STATUS",
    "WEBHOOK_PATH",
    "Accepted",
    "Backfilled",
    "Checked",
    "ConflictRule",
    "Delivered",
    "Drift",
    "FoundWord",
    "Inbox",
    "Incoming",
    "Lag",
    "Meaning",
    "NotificationResult",
    "OutboxTopic",
    "Parked",
    "Pulled",
    "Puller",
    "ReconciliationScheduler",
    "Relay",
    "RemoteUser",
    "Rotated",
    "Rpc",
    "StatusWord",
    "SupabaseRpc",
    "SupabaseWebhooks",
    "SyncError",
    "SyncStatus",
    "TargetRefuses",
    "TargetUnavailable",
    "TooLarge",
    "Unaccepted",
    "WebhookStatus",
    "accept",
    "apply_word",
    "backfill",
    "check",
    "disable_webhook",
    "find_words",
    "give_free_contacts",
    "look_into_inbox",
    "map_word",
    "module",
    "read_answer",
    "replay",
    "replay_parked",
    "rotate_secret",
    "secret_key_headers",
    "send_notification",
    "status",
    "supabase_answers",
    "webhook_router",
    "webhook_status",
]

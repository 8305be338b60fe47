"""Keeps Supabase and EvPower equal: outbound and inbound sync, webhooks, reconciliation."""

from evpower.sync.errors import SyncError, TargetRefuses, TargetUnavailable, TooLarge
from evpower.sync.inbound.apply_user import UserResult, apply_user
from evpower.sync.inbound.assign_contacts import assign_free_contacts
from evpower.sync.inbound.conflicts import CONFLICTS, ConflictRule
from evpower.sync.inbound.model_changes import PullResult
from evpower.sync.inbound.pull import Puller
from evpower.sync.inbound.remote_users import RemoteUser
from evpower.sync.inbound.status_words import FoundWord, find_words, map_word
from evpower.sync.inbound.status_words import handle as handle_status_word
from evpower.sync.inbound.store_status_words import Meaning, StatusWord
from evpower.sync.inbound.store_status_words import words as mapped_words
from evpower.sync.model import (
    AUTHORITY,
    CLIENT_STATUS,
    MAX_STATUS_WORD,
    DeliveryResult,
    OutboxTopic,
    is_project_word,
)
from evpower.sync.module import module, supabase_answers
from evpower.sync.outbound.backfill import BackfillResult, backfill, replay, replay_parked
from evpower.sync.outbound.relay import Relay
from evpower.sync.outbound.store import OPENING, enqueue
from evpower.sync.reconciliation.drift import Drift
from evpower.sync.reconciliation.profiles import apply_status_word
from evpower.sync.reconciliation.run import RunResult, check
from evpower.sync.reconciliation.scheduler import ReconciliationScheduler
from evpower.sync.status import InboundStatus, Lag, ParkedEntry, SyncStatus, UserFailure, status
from evpower.sync.supabase_rpc import Rpc, SupabaseRpc, read_response, secret_key_headers
from evpower.sync.webhook.endpoints import webhook_router
from evpower.sync.webhook.model_inbox import Inbox
from evpower.sync.webhook.notification import NotificationResult, send_notification
from evpower.sync.webhook.receive import SupabaseWebhooks
from evpower.sync.webhook.secrets import (
    WEBHOOK_PATH,
    RotationResult,
    WebhookStatus,
    disable_webhook,
    rotate_secret,
    webhook_status,
)
from evpower.sync.webhook.store_inbox import inbox_summary

__all__ = [
    "AUTHORITY",
    "CLIENT_STATUS",
    "CONFLICTS",
    "MAX_STATUS_WORD",
    "OPENING",
    "WEBHOOK_PATH",
    "BackfillResult",
    "ConflictRule",
    "DeliveryResult",
    "Drift",
    "FoundWord",
    "InboundStatus",
    "Inbox",
    "Lag",
    "Meaning",
    "NotificationResult",
    "OutboxTopic",
    "ParkedEntry",
    "PullResult",
    "Puller",
    "ReconciliationScheduler",
    "Relay",
    "RemoteUser",
    "RotationResult",
    "Rpc",
    "RunResult",
    "StatusWord",
    "SupabaseRpc",
    "SupabaseWebhooks",
    "SyncError",
    "SyncStatus",
    "TargetRefuses",
    "TargetUnavailable",
    "TooLarge",
    "UserFailure",
    "UserResult",
    "WebhookStatus",
    "apply_status_word",
    "apply_user",
    "assign_free_contacts",
    "backfill",
    "check",
    "disable_webhook",
    "enqueue",
    "find_words",
    "handle_status_word",
    "inbox_summary",
    "is_project_word",
    "map_word",
    "mapped_words",
    "module",
    "read_response",
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

"""Keeps Supabase and EvPower equal: outbound and inbound sync, webhooks, reconciliation."""

from evpower.sync.errors import SyncError, TargetRefuses, TargetUnavailable
from evpower.sync.guard import GuardStatus, guard_status, not_mirrored, set_guard
from evpower.sync.inbound.model_changes import PullResult
from evpower.sync.inbound.pull import Puller
from evpower.sync.inbound.status_words import FoundWord, find_words, map_word
from evpower.sync.inbound.status_words import handle as handle_status_word
from evpower.sync.inbound.store_status_words import Meaning
from evpower.sync.inbound.store_status_words import words as mapped_words
from evpower.sync.model import MAX_STATUS_WORD, ComparedTopic, is_project_word
from evpower.sync.module import module
from evpower.sync.outbound.backfill import BackfillResult, backfill, replay, replay_parked
from evpower.sync.outbound.relay import Relay
from evpower.sync.outbound.store import enqueue
from evpower.sync.reconciliation.profiles import apply_status_word
from evpower.sync.reconciliation.run import RunResult, check
from evpower.sync.status import InboundStatus, SyncStatus, status
from evpower.sync.supabase_rpc import Rpc, SupabaseRpc, read_response, secret_key_headers
from evpower.sync.webhook.notification import NotificationResult, send_notification
from evpower.sync.webhook.secrets import (
    WEBHOOK_PATH,
    RotationResult,
    WebhookStatus,
    disable_webhook,
    rotate_secret,
    webhook_status,
)

__all__ = [
    "MAX_STATUS_WORD",
    "WEBHOOK_PATH",
    "BackfillResult",
    "ComparedTopic",
    "FoundWord",
    "GuardStatus",
    "InboundStatus",
    "Meaning",
    "NotificationResult",
    "PullResult",
    "Puller",
    "Relay",
    "RotationResult",
    "Rpc",
    "RunResult",
    "SupabaseRpc",
    "SyncError",
    "SyncStatus",
    "TargetRefuses",
    "TargetUnavailable",
    "WebhookStatus",
    "apply_status_word",
    "backfill",
    "check",
    "disable_webhook",
    "enqueue",
    "find_words",
    "guard_status",
    "handle_status_word",
    "is_project_word",
    "map_word",
    "mapped_words",
    "module",
    "not_mirrored",
    "read_response",
    "replay",
    "replay_parked",
    "rotate_secret",
    "secret_key_headers",
    "send_notification",
    "set_guard",
    "status",
    "webhook_status",
]

"""Keeps Supabase and EvPower equal: what changes here is carried there, and compared."""

from evpower.sync.adopt import Adopted, Left, adopt
from evpower.sync.backfill import Backfilled, backfill
from evpower.sync.check import Checked, Drift, check
from evpower.sync.errors import SyncError, TargetRefuses, TargetUnavailable, TooLarge
from evpower.sync.model import AUTHORITY, CLIENT_STATUS, SESSION_STATUS, Delivered
from evpower.sync.relay import Relay
from evpower.sync.replay import replay, replay_parked
from evpower.sync.status import Lag, Parked, Status, status
from evpower.sync.supabase_rpc import Rpc, SupabaseRpc

__all__ = [
    "AUTHORITY",
    "CLIENT_STATUS",
    "SESSION_STATUS",
    "Adopted",
    "Backfilled",
    "Checked",
    "Delivered",
    "Drift",
    "Lag",
    "Left",
    "Parked",
    "Relay",
    "Rpc",
    "Status",
    "SupabaseRpc",
    "SyncError",
    "TargetRefuses",
    "TargetUnavailable",
    "TooLarge",
    "adopt",
    "backfill",
    "check",
    "replay",
    "replay_parked",
    "status",
]

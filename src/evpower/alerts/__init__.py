"""What an operator should look at: stored facts, open until their cause is gone, and sent."""

from evpower.alerts.channels import channel_problems, configured_channels
from evpower.alerts.kinds import LANGUAGES, AlertKind, facts_of
from evpower.alerts.model import Alert, CallGuard, ChannelName, ChannelState
from evpower.alerts.module import module
from evpower.alerts.open_close import (
    acknowledge_alert,
    check_kind,
    close_alert,
    find_alert,
    list_alerts,
    open_alert,
    set_alerts,
    set_level,
)
from evpower.alerts.probe import send_test
from evpower.alerts.store_messages import channel_states

PUBLIC_VIEWS = ("alerts.alerts_public",)

__all__ = [
    "LANGUAGES",
    "PUBLIC_VIEWS",
    "Alert",
    "AlertKind",
    "CallGuard",
    "ChannelName",
    "ChannelState",
    "acknowledge_alert",
    "channel_problems",
    "channel_states",
    "check_kind",
    "close_alert",
    "configured_channels",
    "facts_of",
    "find_alert",
    "list_alerts",
    "module",
    "open_alert",
    "send_test",
    "set_alerts",
    "set_level",
]

"""What an operator should look at: stored facts, open until their cause is gone."""

from evpower.alerts.model import Alert
from evpower.alerts.module import module
from evpower.alerts.open_close import close_alert, list_alerts, open_alert

__all__ = ["Alert", "close_alert", "list_alerts", "module", "open_alert"]

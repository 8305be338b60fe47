"""Until when a transaction may wait for its station, where a person asked for its stop."""

from datetime import datetime

from evpower.charging.rules import Rules
from evpower.charging.running import Progress, RunningTransaction


def answer_due_at(running: RunningTransaction, rules: Rules) -> datetime | None:
    """Returns when a transaction ends whose stop is not carried out; None: only limits asked."""
    session = running.session
    if session is None or session.asked_to_end_at is None:
        return None
    return session.asked_to_end_at + rules.close_after_stop


def without_wait(running: RunningTransaction, rules: Rules) -> Progress:
    """Returns the progress without its wait; the one for a person's stop takes its place."""
    due_at = answer_due_at(running, rules)
    reason = None if due_at is None else "stop_unanswered"
    return running.progress.replace(close_due_at=due_at, close_reason=reason)

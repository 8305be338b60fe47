"""Named points on the paths of money, where a test can kill the process.

`hit(failpoint)` does nothing unless a test wrote that failpoint into the file given to `watch`:
then the process it names is killed, as a power cut would. The file is read in development only.
"""

import os
import signal
from enum import StrEnum
from pathlib import Path


class Failpoint(StrEnum):
    """Every place where a crash must lose nothing and repeat nothing, in order."""

    WEBHOOK_VERIFIED = "webhook.verified"  # the signature is good, nothing is written
    QUESTION_CLAIMED = "question.claimed"  # a notice is stored as a question, nothing is asked
    CANCEL_CALLED = "cancel.called"  # the bank canceled a bill, not stored so
    RETURN_ORDERED = "return.ordered"  # a refund at the bank is stored, the bank is not called
    RETURN_CALLED = "return.called"  # the bank returned money, the wallet has it still
    RETURN_UNCOMMITTED = "return.uncommitted"  # taken from the wallet, not committed
    BILL_CREATED = "bill.created"  # the bank has a bill, its reference is not stored
    CONFIRM_UNCOMMITTED = "confirm.uncommitted"  # written, not committed
    CONFIRM_COMMITTED = "confirm.committed"  # committed, the provider has no answer yet
    WEBHOOK_ANSWERED = "webhook.answered"  # the bus was notified
    RELAY_CLAIMED = "relay.claimed"  # outbox entries are leased
    RELAY_READ = "relay.read"  # what Supabase lacks is read
    RELAY_APPLIED = "relay.applied"  # Supabase has it, EvPower has not stored so
    RELAY_UNCOMMITTED = "relay.uncommitted"  # stored, not committed
    RELAY_ACKNOWLEDGED = "relay.acknowledged"  # stored and committed
    NOTIFICATION_VERIFIED = "notification.verified"  # Supabase called, nothing is stored
    NOTIFICATION_STORED = "notification.stored"  # committed, no puller was woken
    PULL_READ = "pull.read"  # changes from Supabase are read, nothing is written
    PULL_UNCOMMITTED = "pull.uncommitted"  # clients and the cursor are written, not committed
    START_UNCOMMITTED = "start.uncommitted"  # session, hold and command are written, not committed
    OUTCOME_UNCOMMITTED = "outcome.uncommitted"  # a command's, and what it means for its session
    BEGIN_UNCOMMITTED = "begin.uncommitted"  # a station's start is written, not committed
    CHANGES_COMMITTED = "changes.committed"  # committed, no listener was notified
    PULL_COMMITTED = "pull.committed"  # committed, no listener was notified
    PROGRESS_UNCOMMITTED = "session.progress"  # meter values are written, not committed
    STOP_UNCOMMITTED = "session.stop"  # a transaction has ended and is billed, not committed
    SETTLE_UNCOMMITTED = "session.settle"  # a session is charged, its record is not written
    CORRECT_UNCOMMITTED = "session.correct"  # the next bill is written, not committed
    ALERT_CLAIMED = "alert.claimed"  # messages are leased, none is sent
    ALERT_SENT = "alert.sent"  # accepted by the receiver, not stored so
    PUSH_UNCOMMITTED = "message.uncommitted"  # messages of sessions are written, not committed
    PUSH_CLAIMED = "message.claimed"  # messages are leased, no request has begun
    PUSH_BEGUN = "message.begun"  # stored that a request begins, nothing is sent
    PUSH_SENT = "message.sent"  # accepted by the push service, not stored so
    STEP_UNCOMMITTED = "step.uncommitted"  # a step of the watch is written, not committed
    STEP_COMMITTED = "step.committed"  # what was due is committed, no node was notified


_failpoint_file: Path | None = None


def watch(path: Path) -> None:
    """Makes each failpoint look for the file `path`, which holds a failpoint and a pid."""
    global _failpoint_file  # noqa: PLW0603 - one file a process
    _failpoint_file = path


def watching() -> bool:
    """Return whether this process looks for a failpoint file."""
    return _failpoint_file is not None


def hit(failpoint: Failpoint) -> None:
    """Kills the process that the file names, if the file names this failpoint."""
    if _failpoint_file is not None:
        _kill(_failpoint_file, failpoint)


def _kill(path: Path, failpoint: Failpoint) -> None:
    """Removes the file, so that it happens once, and kills the process."""
    try:
        at, pid = path.read_text().split()
    except FileNotFoundError:
        return
    if at == failpoint.value:
        path.unlink()
        os.kill(int(pid), signal.SIGKILL)

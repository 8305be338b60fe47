"""The steps between a provider's webhook and Supabase, named: a test can die at each of them.

`reached(step)` does nothing unless a test armed that step; then the process it names is killed,
as a power cut would. Arming is refused outside development.
"""

import os
import signal
from enum import StrEnum


class Step(StrEnum):
    """Every place where a crash must lose nothing and repeat nothing, in order."""

    WEBHOOK_VERIFIED = "webhook.verified"  # the signature is good, nothing is written
    CONFIRM_UNCOMMITTED = "confirm.uncommitted"  # written, not committed
    CONFIRM_COMMITTED = "confirm.committed"  # committed, the provider has no answer yet
    WEBHOOK_ANSWERED = "webhook.answered"  # the bus was told
    RELAY_CLAIMED = "relay.claimed"  # marks are leased
    RELAY_READ = "relay.read"  # what Supabase lacks is read
    RELAY_APPLIED = "relay.applied"  # Supabase has it, we have not noted so
    RELAY_UNCOMMITTED = "relay.uncommitted"  # noted, not committed
    RELAY_ACKNOWLEDGED = "relay.acknowledged"  # noted and committed


_armed: tuple[Step, int, int] | None = None


def arm(step: Step, *, victim_pid: int | None = None, skip: int = 0) -> None:
    """Kill `victim_pid` (this process by default) when `step` is reached after `skip` passes."""
    global _armed  # noqa: PLW0603 - one fuse a process
    _armed = (step, victim_pid or os.getpid(), skip)


def reached(step: Step) -> None:
    """Say that this step was reached."""
    if _armed is not None and _armed[0] is step:
        _fire(*_armed)


def _fire(step: Step, victim_pid: int, skip: int) -> None:
    global _armed  # noqa: PLW0603
    if skip:
        _armed = (step, victim_pid, skip - 1)
        return
    _armed = None
    os.kill(victim_pid, signal.SIGKILL)

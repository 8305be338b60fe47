"""The steps on the way to Supabase and from it, named: a test can die at each of them.

`reached(step)` does nothing unless a test laid a fuse for that step; then the process it names is
killed, as a power cut would. Fuses are looked for in development only.
"""

import os
import signal
from enum import StrEnum
from pathlib import Path


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
    DOORBELL_VERIFIED = "doorbell.verified"  # Supabase rang, nothing is noted
    DOORBELL_NOTED = "doorbell.noted"  # committed, no puller was woken
    PULL_READ = "pull.read"  # changes from Supabase are read, nothing is written
    PULL_UNCOMMITTED = "pull.uncommitted"  # clients and the cursor are written, not committed
    PULL_COMMITTED = "pull.committed"  # committed, nobody was told


_fuse: Path | None = None


def watch(fuse: Path) -> None:
    """From now on the file `fuse`, when it is there, says "step pid": who dies at which step."""
    global _fuse  # noqa: PLW0603 - one fuse a process
    _fuse = fuse


def watching() -> bool:
    """Tell whether this process looks for a fuse."""
    return _fuse is not None


def reached(step: Step) -> None:
    """Say that this step was reached."""
    if _fuse is not None:
        _burn(_fuse, step)


def _burn(fuse: Path, step: Step) -> None:
    """Kill once: the fuse is gone before the victim is."""
    try:
        at, pid = fuse.read_text().split()
    except FileNotFoundError:
        return
    if at == step.value:
        fuse.unlink()
        os.kill(int(pid), signal.SIGKILL)

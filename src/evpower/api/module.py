"""The HTTP edge as a slice."""

from typing import Final

from evpower.foundation import idempotency
from evpower.foundation.loops import every
from evpower.foundation.module import Job, Module, Shared
from evpower.foundation.purge import purging

_PURGE_S: Final = 600.0


def module(shared: Shared) -> Module:
    """Returns it, with the job that deletes old responses of repeated requests."""
    purge = purging(shared.db, shared.clock, idempotency.purge)
    return Module("api", jobs=[Job(lambda: every(_PURGE_S, "purge_idempotency_keys", purge))])

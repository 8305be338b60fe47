"""The guard in Supabase: whether EvPower or an older backend writes money, stations and tariffs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, cast

from evpower import identity
from evpower.foundation.db import Database
from evpower.sync.outbound import store, store_payment_rows
from evpower.sync.supabase_rpc import Rpc
from evpower.sync.webhook.secrets import call_function

_GUARD: Final = "evpower_guard"
_LONG_INVOICE_ID: Final = 64


@dataclass(frozen=True, slots=True)
class GuardStatus:
    """The switch as Supabase has it. While it is disabled EvPower writes nothing there."""

    is_enabled: bool
    changed_at: datetime
    has_changed: bool  # by this call
    tables: tuple[str, ...]  # of an older backend, that EvPower writes
    invoice_id: str | None  # the type of balance_topups.invoice_id; None: there is no such table

    @property
    def longest_invoice_id(self) -> int | None:
        """Returns the length of the column in characters; None: there is no limit, or no table."""
        head, _, tail = (self.invoice_id or "").partition("(")
        length = tail.rstrip(")")
        if head.startswith("character varying") and length.isdigit():
            return int(length)
        return None

    @property
    def is_invoice_id_short(self) -> bool:
        """Returns whether a bill's second payment has an id that is too long for the table."""
        longest = self.longest_invoice_id
        return longest is not None and longest < _LONG_INVOICE_ID


async def guard_status(rpc: Rpc) -> GuardStatus:
    """Returns the switch. Raises SyncError."""
    return _read(await call_function(rpc, _GUARD, {}))


async def set_guard(
    db: Database, rpc: Rpc, *, enable: bool, actor: str, reason: str | None = None
) -> GuardStatus:
    """Enables or disables the guard. The audit has the act before it is done.

    Enabling waits for writers that have begun, and makes what waited in the outbox due. Raises
    SyncError; a lock that was not granted is TargetBusy, and may be tried again.
    """
    async with db.transaction() as connection:
        await identity.record_act(
            connection,
            actor=actor,
            action="supabase.guard_enable" if enable else "supabase.guard_disable",
            subject="supabase",
            reason=reason,
        )
    status = _read(await call_function(rpc, _GUARD, {"enable": enable}))
    if status.is_enabled:
        async with db.transaction() as connection:
            await store.release_waiting(connection)
    return status


async def not_mirrored(db: Database, status: GuardStatus, limit: int = 20) -> list[str]:
    """Returns the newest payments that Supabase's table lacks: their ids are too long for it."""
    if status.longest_invoice_id is None:
        return []
    async with db.connection() as connection:
        return await store_payment_rows.longer_ids(connection, status.longest_invoice_id, limit)


def _read(answer: Mapping[str, object]) -> GuardStatus:
    invoice_id = answer.get("invoice_id")
    return GuardStatus(
        is_enabled=answer.get("is_enabled") is True,
        changed_at=datetime.fromisoformat(str(answer["changed_at"])),
        has_changed=answer.get("has_changed") is True,
        tables=tuple(str(name) for name in cast("Sequence[object]", answer.get("tables") or ())),
        invoice_id=None if invoice_id is None else str(invoice_id),
    )

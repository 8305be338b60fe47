"""Corrects a settled session: replaces its facts and writes the next bill in one transaction."""

from typing import Final

from evpower import wallet
from evpower.charging.facts import MAX_ENERGY_KWH
from evpower.charging.model import Correction, CorrectionResult
from evpower.foundation.db import Connection
from evpower.foundation.errors import Invalid
from evpower.foundation.money import MAX_MINOR

_MAX_ACTOR: Final = 200
_MAX_REASON: Final = 500


async def correct(connection: Connection, correction: Correction) -> CorrectionResult:
    """Bill a settled session by corrected facts; facts equal to the stored ones change nothing.

    A higher cost is charged. A lower one first forgives the session's open debts, then refunds its
    charges. One round trip; the caller publishes SESSION_CHANGED and CLIENT_CHANGED after the
    commit. Raises NotFound("session_not_found"), Conflict("session_not_settled"),
    Invalid("invalid_energy" | "implausible_energy" | "invalid_amount" | "end_before_start" |
    "reason_missing").
    """
    _check(correction)
    posting = await wallet.correct(
        connection,
        correction.session_id,
        cost_minor=correction.cost_minor,
        energy_wh=correction.energy_wh,
        ended_at=correction.ended_at,
        actor=correction.actor,
        reason=correction.reason,
    )
    assert posting.cause_id is not None, "a settled session has a bill"  # noqa: S101
    return CorrectionResult(
        session_id=correction.session_id,
        client_id=posting.client_id,
        bill_id=posting.cause_id,
        changed=posting.new,
        moved_minor=posting.amount_minor or 0 if posting.new else 0,
        balance_minor=posting.balance_minor,
        debt_minor=posting.debt_minor,
    )


def _check(correction: Correction) -> None:
    if correction.energy_wh < 0:
        raise Invalid("invalid_energy", "the energy is negative")
    if correction.energy_wh > MAX_ENERGY_KWH * 1000:
        raise Invalid(
            "implausible_energy",
            f"more than {MAX_ENERGY_KWH} kWh",
            params={"limit_kwh": MAX_ENERGY_KWH},
        )
    if not 0 <= correction.cost_minor <= MAX_MINOR:
        raise Invalid("invalid_amount", "the cost is negative or too large")
    for name, text, max_length in (
        ("actor", correction.actor, _MAX_ACTOR),
        ("reason", correction.reason, _MAX_REASON),
    ):
        if not text.strip() or not text.isprintable() or len(text) > max_length:
            raise Invalid("reason_missing", f"{name} must be 1 to {max_length} characters")

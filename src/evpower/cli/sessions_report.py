"""How sessions and their bills are printed, as lines and as JSON."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING
from uuid import UUID

from evpower.foundation.clock import to_z
from evpower.foundation.money import to_text

if TYPE_CHECKING:
    from evpower.charging import BillRow, SessionRow, StepRow, UnattributedRow, UnmatchedStop


def session_row(row: "SessionRow") -> dict[str, object]:
    """Returns a session as JSON: energy in kWh and Wh as named, money in som, times in UTC."""
    return {
        "id": str(row.id),
        "client_id": str(row.client_id),
        "station": row.station_id,
        "connector": row.connector,
        "state": row.state,
        "started_by": row.started_by,
        "started_at": _at(row.started_at),
        "ended_at": _at(row.ended_at),
        "energy_kwh": _kwh(row.energy_wh),
        "cost": to_text(row.cost_minor),
        "start_failure": row.start_failure,
        "stop_requested_at": _at(row.stop_requested_at),
        "stop_requested_by": row.stop_requested_by,
        "stop_reason": row.stop_reason,
        "end_reason": row.end_reason,
        "is_estimated": row.is_estimated,
        "quarantined_at": _at(row.quarantined_at),
        "quarantine_reason": row.quarantine_reason,
        "free_reason": row.free_reason,
        "limit_energy_kwh": None if row.limit_energy_wh is None else _kwh(row.limit_energy_wh),
        "limit_amount": None if row.limit_amount_minor is None else to_text(row.limit_amount_minor),
        "limit_soc_percent": row.limit_soc_percent,
        "created_at": _at(row.created_at),
        "transaction_id": row.transaction_id,
        "ended_by": row.end_kind,
        "meter_start_wh": _wh(row.meter_start_wh),
        "meter_stop_wh": _wh(row.meter_stop_wh),
        "register_wh": _wh(row.register_wh),
        "power_w": row.power_w,
        "soc_percent": row.soc_percent,
        "last_value_at": _at(row.last_value_at),
        "stop_due_at": _at(row.stop_due_at),
        "close_due_at": _at(row.close_due_at),
        "close_reason": row.close_reason,
        "unbilled_tail_wh": _wh(row.tail_wh),
    }


def unattributed_row(row: "UnattributedRow") -> dict[str, object]:
    """Returns a transaction of no client as JSON."""
    return {
        "transaction_id": row.transaction_id,
        "station": row.station_id,
        "connector": row.connector,
        "id_tag": row.id_tag,
        "started_at": _at(row.started_at),
        "ended_at": _at(row.ended_at),
        "meter_start_wh": _wh(row.meter_start_wh),
        "meter_stop_wh": _wh(row.meter_stop_wh),
        "energy_kwh": _kwh(row.energy_wh),
    }


def unattributed_line(row: "UnattributedRow") -> str:
    """Returns a transaction of no client in one line."""
    ended = _at(row.ended_at) or "now"
    return (
        f"transaction {row.transaction_id}  {row.station_id}/{row.connector}"
        f"  tag {row.id_tag or '-'}"
        f"  {_kwh(row.energy_wh)} kWh  {_at(row.started_at)} to {ended}"
    )


def unmatched_row(row: "UnmatchedStop") -> dict[str, object]:
    """Returns a stop that fitted no transaction as JSON."""
    return {
        "id": row.id,
        "station": row.station_id,
        "id_as_sent": row.id_as_sent,
        "id_tag": row.id_tag,
        "meter_stop_wh": _wh(row.meter_stop_wh),
        "station_time": row.station_time,
        "reason": row.reason,
        "received_at": _at(row.received_at),
    }


def unmatched_line(row: "UnmatchedStop") -> str:
    """Returns a stop that fitted no transaction in one line."""
    return (
        f"stop {row.id}  {row.station_id}  transaction {row.id_as_sent or '-'}"
        f"  tag {row.id_tag or '-'}  {_wh(row.meter_stop_wh) or '-'} Wh"
        f"  {row.reason or '-'}  received {_at(row.received_at)}, stamped {row.station_time or '-'}"
    )


def bill_row(bill: "BillRow") -> dict[str, object]:
    """Returns a bill as JSON."""
    return {
        "number": bill.bill_number,
        "total": to_text(bill.total_minor),
        "due": to_text(bill.due_minor),
        "energy_kwh": _kwh(bill.energy_wh),
        "ended_at": _at(bill.ended_at),
        "is_estimated": bill.is_estimated,
        "actor": bill.actor,
        "reason": bill.reason,
        "created_at": _at(bill.created_at),
        "record_id": _id(bill.record_id),
        "station_owner": bill.station_owner,
        "tariff_owner": bill.tariff_owner,
        "parts": bill.parts,
        "periods": bill.periods,
    }


def session_line(row: "SessionRow") -> str:
    """Returns a session in one line."""
    words = [
        str(row.id),
        row.state,
        f"{row.station_id}/{row.connector}",
        f"{_kwh(row.energy_wh)} kWh",
        f"{to_text(row.cost_minor)} som",
        _at(row.started_at or row.created_at),
    ]
    if row.is_estimated:
        words.append("estimated")
    if row.quarantine_reason is not None:
        words.append(f"quarantined: {row.quarantine_reason}")
    return "  ".join(str(word) for word in words)


def session_lines(row: "SessionRow") -> Iterator[str]:
    """Yields a session line by line; what is not known is left out."""
    for name, value in session_row(row).items():
        if value is not None and value is not False:
            yield f"{name:18} {value}"


def step_row(step: "StepRow") -> dict[str, object]:
    """Returns a step to end a session as JSON; no outcome: it is not known yet."""
    return {
        "step": step.step,
        "cause": step.cause,
        "taken_at": _at(step.taken_at),
        "outcome": step.outcome,
        "ended_at": _at(step.ended_at),
        "command_id": step.command_id,
        "energy_kwh": _kwh(int(step.base_wh)),
    }


def step_line(step: "StepRow") -> str:
    """Returns a step to end a session in one line."""
    outcome = "open" if step.outcome is None else f"{step.outcome} {_at(step.ended_at)}"
    return f"step               {_at(step.taken_at)} {step.step} ({step.cause}): {outcome}"


def moved_line(bills: "Sequence[BillRow]") -> str:
    """Returns what the newest bill changed."""
    newest, before = bills[-1], bills[-2] if len(bills) > 1 else None
    if before is None or newest.total_minor == before.total_minor:
        return "no money moved"
    verb = "charged" if newest.total_minor > before.total_minor else "forgiven or refunded"
    amount = to_text(abs(newest.total_minor - before.total_minor))
    return f"{verb}: {amount} som, {to_text(before.total_minor)} before"


def bill_lines(bills: "Sequence[BillRow]") -> Iterator[str]:
    """Yields a line for each bill."""
    for bill in bills:
        estimated = "  estimated" if bill.is_estimated else ""
        reason = f"  {bill.actor}: {bill.reason}" if bill.reason else ""
        yield (
            f"bill {bill.bill_number}  {to_text(bill.total_minor)} som for"
            f" {_kwh(bill.energy_wh)} kWh until {_at(bill.ended_at)}{estimated}{reason}"
        )


def _at(at: datetime | None) -> str | None:
    return None if at is None else to_z(at)


def _kwh(energy_wh: int) -> str:
    return f"{Decimal(energy_wh) / 1000:.3f}"


def _wh(register: Decimal | None) -> str | None:
    return None if register is None else f"{register:f}"


def _id(number: UUID | None) -> str | None:
    return None if number is None else str(number)

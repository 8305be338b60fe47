"""The frames of a simulator's persona: what it writes of the facts, and as the edge reads it.

What it does on its socket means nothing here: `tests/flows/test_personas.py` has that.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from ocpp.v16.enums import ReadingContext

from evpower.charging.rules import Rules
from evpower.ocpp import messages
from evpower.ocpp.model import Frame
from evpower.ocpp.times import BEFORE_BOOT
from evpower.simulator import PERSONAS, Faults
from evpower.simulator.faults import ENERGY
from evpower.simulator.frames import CallFrame, encode_call
from evpower.simulator.values import MeterReading, write_meter_value, write_stamp
from tests.charging.fleet_model import Charge, Socket

_KWH_DECIMALS: Final = 3
# The switches that change a frame here; a persona with none of them is as one by the book.
_SWITCHES: Final = (
    "repeat", "malformed", "bend", "status_before_stop", "replay_on_reconnect",
    "reconnects_every_s", "clock_without_zone", "transaction_id", "start_on_reconnect",
    "stops_full_car", "values_after_stop", "stale_transaction", "stop_offset_wh", "register",
    "missing", "blank", "kwh_samples", "two_registers", "current_max", "values_as_object",
)  # fmt: skip
# What stations do that no persona does, by the simulator's other switches.
_OTHERS: Final[Mapping[str, Callable[[], Faults]]] = {
    "counts per boot": lambda: Faults(register="boot"),
    "counts per transaction": lambda: Faults(register="transaction"),
    "whole kWh": lambda: Faults(kwh_samples=True, kwh_decimals=0),
    "first sample is 0": lambda: Faults(zero_samples=1),
    "bare numbers": lambda: Faults(without_unit=True, values_as_numbers=True),
    "starts anew": lambda: Faults(repeat={"StartTransaction": 1}, new_stamp_on_repeat=True),
    "longer tag in the stop": lambda: Faults(id_tag_tail="-0001"),
}


def _differs(faults: Faults) -> bool:
    usual = Faults()
    return any(getattr(faults, switch) != getattr(usual, switch) for switch in _SWITCHES)


# By name: "plain", and those that differ from it in their frames.
STATIONS: Final[Mapping[str, Callable[[], Faults]]] = {
    name: persona.faults
    for name, persona in PERSONAS.items()
    if name == "plain" or _differs(persona.faults())
} | _OTHERS


@dataclass(frozen=True)
class FrameFacts:
    """What a station says in place of what is so."""

    faults: Faults
    clock_ahead: timedelta

    @property
    def step_wh(self) -> int:
        """The step of the energy in its samples."""
        return 10 ** (_KWH_DECIMALS - self.faults.kwh_decimals) if self.faults.kwh_samples else 1

    @property
    def has_right_clock(self) -> bool:
        return not self.clock_ahead

    def reset(self, socket: Socket, when: str) -> None:
        """Lets the register of a socket begin at 0, if the station's does so then."""
        if self.faults.register == when:
            socket.reset()

    def start(self, connector: int, charge: Charge, at: datetime) -> dict[str, Any]:
        return {
            "connectorId": connector,
            "idTag": charge.tag,
            "meterStart": charge.shown_wh,
            "timestamp": self._stamp(at),
        }

    def values(self, socket: Socket, at: datetime) -> dict[str, Any] | None:
        """Meter values; None: the station leaves all of them out."""
        reading = MeterReading(socket.shown_wh, 0, None)
        value = write_meter_value(
            reading, self._stamp(at), ReadingContext.sample_periodic, [ENERGY, "Voltage"],
            self.faults,
        )  # fmt: skip
        if value is None:
            return None
        listed = value if self.faults.values_as_object else [value]
        return {"connectorId": socket.number, "meterValue": listed}

    @property
    def shows_energy(self) -> bool:
        """Whether the next sample has what the meter shows."""
        faults = self.faults
        return not faults.zero_samples and ENERGY not in faults.missing | faults.blank

    def stop_wh(self, charge: Charge) -> int:
        return charge.shown_end_wh + self.faults.stop_offset_wh

    def stop(self, charge: Charge, reason: str) -> dict[str, Any]:
        assert charge.ended_at is not None
        return {
            "idTag": charge.tag + self.faults.id_tag_tail,
            "meterStop": self.stop_wh(charge),
            "timestamp": self._stamp(charge.ended_at),
            "reason": reason,
        }

    def with_id(self, payload: Mapping[str, Any], number: int | None) -> dict[str, Any]:
        """A message with a transaction's number, or with what the station sends in its place."""
        if number is None:
            return {**payload, "transactionId": 0} if self.faults.malformed else dict(payload)
        sent = self.faults.transaction_id
        return {**payload, "transactionId": number if sent is None else sent}

    def frame(self, action: str, payload: dict[str, Any], now: datetime, rules: Rules) -> Frame:
        """A message as it is written, and read."""
        bend = self.faults.bend.get(action)
        sent = payload if bend is None else bend(payload)
        text = encode_call(CallFrame("1", action, sent), self.faults.malformed.get(action))
        call = messages.read(text.encode())
        assert isinstance(call, messages.Call), call
        return Frame("EVP-001", call.id, call.action, call.payload, now, now - BEFORE_BOOT, rules)

    def _stamp(self, at: datetime) -> str:
        return write_stamp(at, self.clock_ahead.total_seconds(), self.faults)

"""What the switches of a simulator's persona mean for the facts in a station's frames.

Those of the socket and of the JSON mean nothing here: `tests/flows/test_personas.py` has them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from evpower.charging.events import Reading
from evpower.simulator import PERSONAS, Faults
from evpower.simulator.faults import ENERGY
from tests.charging.fleet_model import Charge
from tests.charging.place import read

_KWH_DECIMALS = 3
# The switches that the machine knows; a persona with none of them is to it as one by the book.
_SWITCHES = (
    "repeat", "bend", "status_before_stop", "replay_on_reconnect", "reconnects_every_s",
    "transaction_id", "start_on_reconnect", "stops_full_car", "values_after_stop",
    "stale_transaction", "stop_offset_wh", "register", "missing", "blank", "kwh_decimals",
)  # fmt: skip


def differing(groups: int) -> list[Sequence[str]]:
    """Returns the personas that differ in the facts of their frames, and "plain", in groups."""
    usual = Faults()
    names = [
        name
        for name, persona in PERSONAS.items()
        if name == "plain"
        or any(getattr(persona.faults(), switch) != getattr(usual, switch) for switch in _SWITCHES)
    ]
    return [names[number::groups] for number in range(groups)]


@dataclass(frozen=True)
class FrameFacts:
    """What a station says in place of what is so."""

    faults: Faults
    clock_ahead: timedelta

    @property
    def step_wh(self) -> int:
        """The step of the energy in its samples."""
        return 10 ** (_KWH_DECIMALS - self.faults.kwh_decimals) if self.faults.kwh_samples else 1

    def stamp(self, at: datetime) -> datetime:
        return at + self.clock_ahead

    def base_wh(self, register_wh: int) -> int:
        """Where the register of a charge begins that begins now, of one that counts for life."""
        return register_wh if self.faults.register == "transaction" else 0

    def number(self, number: int | None) -> int | None:
        sent = self.faults.transaction_id
        return number if sent is None else sent

    def reading(self, register_wh: int, charge: Charge | None, at: datetime) -> Reading:
        """A sample; without energy where the station leaves it out or blank."""
        if ENERGY in self.faults.missing | self.faults.blank:
            return read(None, self.stamp(at))
        wh = register_wh - (0 if charge is None else charge.base_wh)
        sent = round(Decimal(wh) / self.step_wh) * self.step_wh
        return read(sent, self.stamp(at), step=self.step_wh)

    def stop_wh(self, charge: Charge) -> Decimal:
        return Decimal((charge.end_wh or 0) - charge.base_wh + self.faults.stop_offset_wh)

    def stop_tag(self, tag: str) -> str:
        bend = self.faults.bend.get("StopTransaction")
        return tag if bend is None else bend({"idTag": tag})["idTag"]

"""Stations in the field, by name: for tests, demos and `evpower station simulate --persona`.

A persona is a value. To add one, append it to the file of its kind: `sockets` (how it connects),
`transactions` (what it says of starts and stops), `meters` (what it measures).
"""

from collections.abc import Mapping
from typing import Final

from evpower.simulator.personas.meters import METERS
from evpower.simulator.personas.model import Persona
from evpower.simulator.personas.sockets import SOCKETS
from evpower.simulator.personas.transactions import TRANSACTIONS

PLAIN: Final = Persona("plain", "by the book")
PERSONAS: Final[Mapping[str, Persona]] = {
    persona.name: persona for persona in (PLAIN, *SOCKETS, *TRANSACTIONS, *METERS)
}

__all__ = ["PERSONAS", "PLAIN", "Persona"]

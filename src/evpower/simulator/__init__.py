"""Charging stations of OCPP 1.6J for tests and demos, over a real WebSocket against any CSMS.

A leaf: it shares nothing with the server's side but the `ocpp` package. See docs/simulator.md.
"""

from evpower.simulator.faults import PERSONAS, Faults, persona_faults
from evpower.simulator.fleet import Fleet, make_fleet
from evpower.simulator.link import (
    CallRefused,
    ConnectFailed,
    NoReply,
    NotPossible,
    SimulatorError,
    StationOffline,
)
from evpower.simulator.model import (
    Car,
    SimulatedConnector,
    SimulatedTransaction,
    StationConfig,
    StationEvent,
)
from evpower.simulator.station import SimulatedStation

__all__ = [
    "PERSONAS",
    "CallRefused",
    "Car",
    "ConnectFailed",
    "Faults",
    "Fleet",
    "NoReply",
    "NotPossible",
    "SimulatedConnector",
    "SimulatedStation",
    "SimulatedTransaction",
    "SimulatorError",
    "StationConfig",
    "StationEvent",
    "StationOffline",
    "make_fleet",
    "persona_faults",
]

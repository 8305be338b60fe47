"""Charging stations of OCPP 1.6J for tests and demos, over a real WebSocket against any CSMS.

A leaf: it shares nothing with the server's side but the `ocpp` package. See docs/simulator.md.
"""

from evpower.simulator.faults import Faults
from evpower.simulator.fleet import Fleet, make_fleet, make_station
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
from evpower.simulator.personas import PERSONAS, Persona
from evpower.simulator.plan import ACTS, PlannedAct, read_act
from evpower.simulator.station import SimulatedStation

__all__ = [
    "ACTS",
    "PERSONAS",
    "CallRefused",
    "Car",
    "ConnectFailed",
    "Faults",
    "Fleet",
    "NoReply",
    "NotPossible",
    "Persona",
    "PlannedAct",
    "SimulatedConnector",
    "SimulatedStation",
    "SimulatedTransaction",
    "SimulatorError",
    "StationConfig",
    "StationEvent",
    "StationOffline",
    "make_fleet",
    "make_station",
    "read_act",
]

"""The stations' side of OCPP 1.6: their sockets, messages, and the commands sent to them."""

from evpower.ocpp.frames import FramePage, StoredFrame, list_frames
from evpower.ocpp.handshake import STATION_PATHS
from evpower.ocpp.model import Direction
from evpower.ocpp.module import build, message_log, module
from evpower.ocpp.schemas import known_actions
from evpower.ocpp.store_forwards import ForwardedCharge
from evpower.ocpp.switch_forward import forward_station, list_forwarded_charges

__all__ = [
    "STATION_PATHS",
    "Direction",
    "ForwardedCharge",
    "FramePage",
    "StoredFrame",
    "build",
    "forward_station",
    "known_actions",
    "list_forwarded_charges",
    "list_frames",
    "message_log",
    "module",
]

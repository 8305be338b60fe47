"""The stations' side of OCPP 1.6: their sockets, messages, and the commands sent to them."""

from evpower.ocpp.endpoint import MESSAGE_BYTES
from evpower.ocpp.frames import FramePage, StoredFrame, list_frames
from evpower.ocpp.model import Direction
from evpower.ocpp.module import module

__all__ = ["MESSAGE_BYTES", "Direction", "FramePage", "StoredFrame", "list_frames", "module"]

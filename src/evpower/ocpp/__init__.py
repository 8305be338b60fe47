"""The stations' side of OCPP 1.6: their sockets, messages, and the commands sent to them."""

from evpower.ocpp.endpoint import MESSAGE_BYTES
from evpower.ocpp.module import module

__all__ = ["MESSAGE_BYTES", "module"]

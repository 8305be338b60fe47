"""DataTransfer: a vendor's own message. None is known yet; the log has it."""

from datetime import datetime

from evpower.ocpp.model import Frame, OcppPayload


def reply(_frame: Frame, _now: datetime) -> OcppPayload:
    """Returns that the vendor is not known here, which every station takes."""
    return {"status": "UnknownVendorId"}

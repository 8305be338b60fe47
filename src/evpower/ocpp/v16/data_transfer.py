"""DataTransfer: a vendor's own message. None is known yet; the log has it."""

from datetime import datetime

from evpower.ocpp.model import Frame, OcppPayload


def reply(frame: Frame, _now: datetime) -> OcppPayload:
    """Returns that the vendor is not known here; Accepted where its make needs to hear that."""
    return {"status": "Accepted" if frame.profile.accept_data_transfer else "UnknownVendorId"}

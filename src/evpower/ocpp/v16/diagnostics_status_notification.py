"""DiagnosticsStatusNotification: how far an upload of its diagnostics is. The log has it."""

from datetime import datetime

from evpower.ocpp.model import Frame, OcppPayload


def reply(_frame: Frame, _now: datetime) -> OcppPayload:
    """Returns that it was received."""
    return {}

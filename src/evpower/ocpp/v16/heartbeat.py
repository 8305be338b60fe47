"""Heartbeat: the station lives, and sets its clock."""

from datetime import datetime

from evpower.ocpp.model import Frame, OcppPayload


def clock_text(now: datetime) -> str:
    """Returns a time as stations read it: UTC, milliseconds, Z."""
    return f"{now:%Y-%m-%dT%H:%M:%S}.{now.microsecond // 1000:03d}Z"


def reply(_frame: Frame, now: datetime) -> OcppPayload:
    """Returns our time."""
    return {"currentTime": clock_text(now)}

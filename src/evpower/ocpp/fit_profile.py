"""What becomes of a command at a station of this make, by its vendor profile."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from evpower import stations
from evpower.ocpp.calls import CommandPayload
from evpower.stations import VendorProfile

_NOT_ALLOWED: Final = "not_allowed_by_profile"


class FittedCommand(NamedTuple):
    """A command as its station takes it; `refusal`: it is not sent, and why."""

    payload: CommandPayload
    refusal: Mapping[str, Any] | None = None


def fit(command: stations.Command, profile: VendorProfile) -> FittedCommand:
    """Returns the command in the form that this make takes, or why it is not sent."""
    payload = command.payload
    if command.action == "trigger" and not profile.trigger_allowed:
        return _refused(payload, profile, "trigger_allowed")
    if command.action == "change_availability" and not profile.change_availability_allowed:
        return _refused(payload, profile, "change_availability_allowed")
    if command.action == "remote_start" and profile.fixed_tag is not None:
        return FittedCommand({**payload, "id_tag": profile.fixed_tag})
    if command.action == "set_charging_profile":
        changed = {"stack_level": profile.stack_level} | dict(payload)
        if payload.get("limit") == 0:
            changed["unit"] = profile.rate_unit  # no power is none in any unit
        return FittedCommand(changed)
    return FittedCommand(payload)


def _refused(payload: CommandPayload, profile: VendorProfile, member: str) -> FittedCommand:
    text = f"the vendor profile {profile.name} has {member} = false"
    return FittedCommand(payload, {"error": _NOT_ALLOWED, "description": text})

"""An operator's command to a station: its arguments are read and checked, the audit has it."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Final, Literal
from uuid import UUID

from evpower import identity
from evpower.foundation.db import Connection
from evpower.foundation.errors import Conflict, Invalid
from evpower.foundation.text import flaw
from evpower.stations import store
from evpower.stations.commands import queue_command
from evpower.stations.find import lock_station
from evpower.stations.model import AVAILABILITIES, Command, CommandAction

_TEXT_MAX: Final = 2500  # data of DataTransfer; 1.6 has no longer text
_NUMBER_MAX: Final = 2**31 - 1
_TRIGGERS: Final = (
    "boot_notification", "diagnostics_status_notification", "firmware_status_notification",
    "heartbeat", "meter_values", "status_notification",
)  # fmt: skip
_OF_CONNECTORS: Final = frozenset({"meter_values", "status_notification"})

# Refuses what a slice above knows to be wrong now: connection, station, action, arguments.
CommandCheck = Callable[[Connection, str, CommandAction, Mapping[str, str]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Parameter:
    """One argument of a command; `words` are the only values it may have."""

    kind: Literal["text", "number", "connector", "list"]
    is_needed: bool = True
    words: tuple[str, ...] = ()


_CONNECTOR: Final = Parameter("connector")
_TEXT: Final = Parameter("text")
_NUMBER: Final = Parameter("number")
_MAYBE_TEXT: Final = Parameter("text", is_needed=False)

PARAMETERS: Final[Mapping[CommandAction, Mapping[str, Parameter]]] = MappingProxyType({
    "remote_start": {"connector": _CONNECTOR, "id_tag": _TEXT},
    "remote_stop": {"transaction_id": _NUMBER},
    "reset": {"kind": Parameter("text", words=("soft", "hard"))},
    "unlock": {"connector": _CONNECTOR},
    "change_availability": {
        "connector": Parameter("number"), "availability": Parameter("text", words=AVAILABILITIES),
    },
    "get_configuration": {"keys": Parameter("list", is_needed=False)},
    "change_configuration": {"key": _TEXT, "value": _TEXT},
    "clear_cache": {},
    "trigger": {
        "message": Parameter("text", words=_TRIGGERS),
        "connector": Parameter("connector", is_needed=False),
    },
    "data_transfer": {"vendor_id": _TEXT, "message_id": _MAYBE_TEXT, "data": _MAYBE_TEXT},
    "set_charging_profile": {
        "connector": _CONNECTOR, "transaction_id": _NUMBER, "limit": _NUMBER,
        "unit": Parameter("text", words=("A", "W")),
    },
    "clear_charging_profile": {"connector": Parameter("number")},
})  # fmt: skip


async def request_command(  # noqa: PLR0913 - the facts of a command, and who asks why
    connection: Connection,
    *,
    station: str,
    action: CommandAction,
    arguments: Mapping[str, str],
    expires_in: timedelta,
    now: datetime,
    actor: str,
    reason: str | None = None,
    bulk_id: UUID | None = None,
) -> Command:
    """Queues an operator's command, its arguments given as texts.

    Raises NotFound("station_not_found"), Conflict("station_retired" | "station_forwarded"),
    Invalid("command_invalid").
    """
    payload = read_arguments(action, arguments)
    stored = await lock_station(connection, station)
    if stored.forward_url is not None:
        raise Conflict("station_forwarded", f"another CSMS answers station {stored.id!a:.80}")
    connector = payload.get("connector")
    connectors = (await store.connectors_of(connection, [stored.id])).get(stored.id, [])
    if isinstance(connector, int) and connector not in {0, *(row.number for row in connectors)}:
        raise Invalid("command_invalid", f"station {stored.id} has no connector {connector}")
    if action == "trigger" and connector is None and payload["message"] in _OF_CONNECTORS:
        # Asked without a number, a station says it of itself as a whole, or refuses.
        payload["connectors"] = [row.number for row in connectors]
    command = await queue_command(
        connection,
        stored.id,
        action,
        payload,
        actor=actor,
        connector=connector if isinstance(connector, int) else None,
        expires_in=expires_in,
        now=now,
        bulk_id=bulk_id,
    )
    await identity.record_act(
        connection,
        actor=actor,
        action="station.command",
        subject=stored.id,
        reason=reason,
        details={"command": command.id, "action": action, "arguments": sorted(arguments)}
        | ({} if bulk_id is None else {"bulk": str(bulk_id)}),
    )
    return command


def read_arguments(action: CommandAction, arguments: Mapping[str, str]) -> dict[str, object]:
    """Returns the payload of a command. Raises Invalid("command_invalid") with what is wrong."""
    parameters = PARAMETERS.get(action)
    if parameters is None:
        known = ", ".join(PARAMETERS)
        raise Invalid("command_invalid", f"there is no command {action!a:.80}: {known}")
    if unknown := sorted(arguments.keys() - parameters.keys()):
        names = ", ".join(parameters) or "none"
        raise Invalid("command_invalid", f"{action} has no {unknown[0]!a:.80}; it has: {names}")
    payload: dict[str, object] = {}
    for name, parameter in parameters.items():
        if name in arguments:
            payload[name] = _read(name, parameter, arguments[name])
        elif parameter.is_needed:
            raise Invalid("command_invalid", f"{action} needs {name}=...")
    if action == "remote_stop":
        payload["aliases"] = []
    return payload


def _read(name: str, parameter: Parameter, text: str) -> object:
    if wrong := flaw(text, most=_TEXT_MAX, lines=True):
        raise Invalid("command_invalid", f"{name} {wrong}")
    if parameter.words and text not in parameter.words:
        raise Invalid("command_invalid", f"{name} is one of {', '.join(parameter.words)}")
    if parameter.kind == "list":
        return [part.strip() for part in text.split(",") if part.strip()]
    if parameter.kind == "text":
        return text
    least = 1 if parameter.kind == "connector" else 0
    is_number = text.isascii() and text.isdigit() and len(text) <= len(str(_NUMBER_MAX))
    number = int(text) if is_number else -1
    if not least <= number <= _NUMBER_MAX:
        raise Invalid("command_invalid", f"{name} must be a whole number from {least} on")
    return number

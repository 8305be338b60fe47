"""Commands as calls of OCPP, exactly by its schemas, and what a station's reply means."""

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from evpower.ocpp.v16 import charging_profiles, remote_stop

CommandPayload = Mapping[str, Any]  # of a command, as `stations.queue_command` stores it
_ID_TAG_LENGTH: Final = 20
_KEY_LENGTH: Final = 50
_VALUE_LENGTH: Final = 500
_VENDOR_LENGTH: Final = 255
_RESET_TYPES: Final = {"soft": "Soft", "hard": "Hard"}
_AVAILABILITY_TYPES: Final = {"operative": "Operative", "inoperative": "Inoperative"}
_MESSAGES: Final = {
    "boot_notification": "BootNotification",
    "diagnostics_status_notification": "DiagnosticsStatusNotification",
    "firmware_status_notification": "FirmwareStatusNotification",
    "heartbeat": "Heartbeat",
    "meter_values": "MeterValues",
    "status_notification": "StatusNotification",
}


class OutgoingCall(NamedTuple):
    """A request to a station."""

    action: str
    payload: dict[str, Any]


class InvalidCommand(ValueError):
    """A command's payload can't be written as a call; the text says why."""


def write_calls(action: str, payload: CommandPayload) -> tuple[OutgoingCall, ...]:
    """Returns a command's calls of OCPP 1.6, to be tried in order until one is accepted.

    Only remote_stop has more than one, a call for each id of the transaction, and trigger, a call
    for each connector: those are all sent. Raises InvalidCommand.
    """
    try:
        call_action, write = _WRITERS[action]
        return tuple(OutgoingCall(call_action, request) for request in write(payload))
    except KeyError as error:
        raise InvalidCommand(f"{action}: no {error.args[0]}") from error
    except ValueError as error:
        raise InvalidCommand(f"{action}: {error}") from error


def is_accepted(call_action: str, reply: CommandPayload) -> bool:
    """Returns whether a station's reply says that it does what was asked.

    A word counts in any case, with or without spaces; an empty or unknown one is a refusal.
    """
    accepting = _ACCEPTING.get(call_action)
    if accepting is None:
        return True  # GetConfiguration has no status
    return str(reply.get("status", "")).strip().casefold() in accepting


def _remote_start(payload: CommandPayload) -> list[dict[str, Any]]:
    # The connector is always named: some stations refuse a start without one.
    return [
        {
            "connectorId": _number(payload, "connector", least=1),
            "idTag": _text(payload, "id_tag", _ID_TAG_LENGTH),
        }
    ]


def _reset(payload: CommandPayload) -> list[dict[str, Any]]:
    return [{"type": _word(payload, "kind", _RESET_TYPES)}]


def _unlock(payload: CommandPayload) -> list[dict[str, Any]]:
    return [{"connectorId": _number(payload, "connector", least=1)}]


def _change_availability(payload: CommandPayload) -> list[dict[str, Any]]:
    return [
        {
            "connectorId": _number(payload, "connector", least=0),
            "type": _word(payload, "availability", _AVAILABILITY_TYPES),
        }
    ]


def _get_configuration(payload: CommandPayload) -> list[dict[str, Any]]:
    keys: list[object] = payload.get("keys") or []
    return [{"key": [_bounded("keys", key, _KEY_LENGTH) for key in keys]} if keys else {}]


def _change_configuration(payload: CommandPayload) -> list[dict[str, Any]]:
    return [
        {
            "key": _text(payload, "key", _KEY_LENGTH),
            "value": _bounded("value", payload["value"], _VALUE_LENGTH),
        }
    ]


def _clear_cache(_: CommandPayload) -> list[dict[str, Any]]:
    return [{}]


def _trigger(payload: CommandPayload) -> list[dict[str, Any]]:
    request: dict[str, Any] = {"requestedMessage": _word(payload, "message", _MESSAGES)}
    # Stations with one connector refuse 0, and without a number only 0 is reported.
    if payload.get("connector") is not None:
        return [request | {"connectorId": _number(payload, "connector", least=1)}]
    numbers: list[object] = payload.get("connectors") or []
    named = [{"connector": number} for number in numbers]
    requests = [request | {"connectorId": _number(each, "connector", least=1)} for each in named]
    return requests or [request]


def _data_transfer(payload: CommandPayload) -> list[dict[str, Any]]:
    request: dict[str, Any] = {"vendorId": _text(payload, "vendor_id", _VENDOR_LENGTH)}
    if payload.get("message_id") is not None:
        request["messageId"] = _text(payload, "message_id", _KEY_LENGTH)
    if payload.get("data") is not None:
        request["data"] = str(payload["data"])
    return [request]


def _number(payload: CommandPayload, name: str, *, least: int) -> int:
    value: object = payload[name]
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name} is no number from {least}")
    return value


def _text(payload: CommandPayload, name: str, length: int) -> str:
    value = _bounded(name, payload[name], length)
    if not value:
        raise ValueError(f"{name} is empty")
    return value


def _bounded(name: str, value: object, length: int) -> str:
    if not isinstance(value, str) or len(value) > length:
        raise ValueError(f"{name} is no text of at most {length} characters")
    return value


def _word(payload: CommandPayload, name: str, words: Mapping[str, str]) -> str:
    word = words.get(str(payload[name]))
    if word is None:
        raise ValueError(f"{name} is none of {', '.join(words)}")
    return word


_Writer = Callable[[CommandPayload], list[dict[str, Any]]]
_WRITERS: Final[Mapping[str, tuple[str, _Writer]]] = {
    "remote_start": ("RemoteStartTransaction", _remote_start),
    "remote_stop": ("RemoteStopTransaction", remote_stop.write),
    "reset": ("Reset", _reset),
    "unlock": ("UnlockConnector", _unlock),
    "change_availability": ("ChangeAvailability", _change_availability),
    "get_configuration": ("GetConfiguration", _get_configuration),
    "change_configuration": ("ChangeConfiguration", _change_configuration),
    "clear_cache": ("ClearCache", _clear_cache),
    "trigger": ("TriggerMessage", _trigger),
    "data_transfer": ("DataTransfer", _data_transfer),
    "set_charging_profile": ("SetChargingProfile", charging_profiles.write_set),
    "clear_charging_profile": ("ClearChargingProfile", charging_profiles.write_clear),
}
_ACCEPTED: Final = frozenset({"accepted"})
_ACCEPTING: Final[Mapping[str, frozenset[str]]] = {
    "RemoteStartTransaction": _ACCEPTED,
    "RemoteStopTransaction": _ACCEPTED,
    "Reset": _ACCEPTED,
    "UnlockConnector": frozenset({"unlocked"}),
    "ChangeAvailability": frozenset({"accepted", "scheduled"}),
    "ChangeConfiguration": frozenset({"accepted", "rebootrequired"}),
    "ClearCache": _ACCEPTED,
    "TriggerMessage": _ACCEPTED,
    "DataTransfer": _ACCEPTED,
    "SetChargingProfile": _ACCEPTED,
    "ClearChargingProfile": _ACCEPTED,
}

"""OCPP-J frames: [2, id, action, payload], [3, id, payload], [4, id, code, text, details]."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Final, cast

import orjson
from ocpp.messages import get_validator  # pyright: ignore[reportUnknownVariableType]

from evpower.foundation.json_reader import NotJson, read_exact_object, read_json
from evpower.simulator.faults import Malformed, Payload

CALL: Final = 2
CALL_RESULT: Final = 3
CALL_ERROR: Final = 4


@dataclass(frozen=True, slots=True)
class CallFrame:
    """A request."""

    id: str
    action: str
    payload: Payload


@dataclass(frozen=True, slots=True)
class ResultFrame:
    """The good reply to a request."""

    id: str
    payload: Payload


@dataclass(frozen=True, slots=True)
class ErrorFrame:
    """The error reply to a request."""

    id: str
    code: str
    text: str


class InvalidFrame(ValueError):
    """The text is no frame of OCPP-J."""


def encode_call(call: CallFrame, malformed: Malformed | None = None) -> str:
    """Returns the text of a request, broken in one way if wanted."""
    text = orjson.dumps([CALL, call.id, call.action, call.payload]).decode()
    match malformed:
        case None:
            return text
        case "empty_member":
            payload = call.payload or {"transactionId": 0}
            name = "transactionId" if "transactionId" in payload else next(iter(payload))
            member = f'"{name}":'
            return text.replace(member + orjson.dumps(payload[name]).decode(), member, 1)
        case "unclosed":
            return text.removesuffix("}]")
        case "backslash":
            return text.replace('":"', '":"\\x', 1)


def encode_result(message_id: str, payload: Payload) -> str:
    """Returns the text of a good reply."""
    return orjson.dumps([CALL_RESULT, message_id, payload]).decode()


def encode_error(message_id: str, code: str, text: str) -> str:
    """Returns the text of an error reply."""
    return orjson.dumps([CALL_ERROR, message_id, code, text, {}]).decode()


def decode(text: str | bytes) -> CallFrame | ResultFrame | ErrorFrame:
    """Parses a frame. Raises InvalidFrame."""
    try:
        parts = read_json(text)
    except NotJson as error:
        raise InvalidFrame(str(error)) from error
    match parts:
        case [2, str(message_id), str(action), dict()]:
            return CallFrame(message_id, action, cast("list[Payload]", parts)[3])
        case [3, str(message_id), dict()]:
            return ResultFrame(message_id, cast("list[Payload]", parts)[2])
        case [4, str(message_id), str(code), str(message), dict()]:
            return ErrorFrame(message_id, code, message)
        case _:
            raise InvalidFrame("is no frame of OCPP-J")


def find_violation(message_type: int, action: str, payload: Payload) -> str:
    """Returns what the 1.6 schema refuses in a payload, "" when it is valid."""
    try:
        # Steps of 0.1 are no floats.
        validator = get_validator(message_type, action, "1.6", parse_float=Decimal)
    except OSError:
        return f"1.6 has no {action}"
    exact = read_exact_object(orjson.dumps(payload), _exact)
    error = next(validator.iter_errors(exact), None)  # pyright: ignore[reportUnknownMemberType]
    return "" if error is None else f"{action}: {error.message}"


def _exact(number: str) -> int | Decimal:
    return int(number) if number.lstrip("-").isdigit() else Decimal(number)

"""OCPP-J messages: [2, id, action, payload], [3, id, payload], [4, id, code, text, details].

What a station sends is read as far as its meaning is plain; what we send is exact.
"""

import re
from typing import Any, Final, NamedTuple, cast

import orjson

from evpower.foundation.json_reader import NotJson, read_json
from evpower.ocpp.model import CALL, CALL_ERROR, CALL_RESULT, MessageId, OcppPayload
from evpower.ocpp.repair import clean, repair

UNREADABLE_ID: Final = "-1"  # for an answer to a request whose id can't be used
_MOST_REPAIRED: Final = 64 * 1024  # bytes: a repair takes a second of CPU for a megabyte
_MAX_ID: Final = 36
_LONGEST_ID: Final = 255
_LARGEST: Final = 2**63
_ID: Final = re.compile(rb'\s*\[\s*"?2"?\s*,\s*"([^"\\\x00-\x1f]{1,255})"')
_REPLY: Final = re.compile(rb'\s*\[\s*"?[34]')
_REQUEST: Final = b"[2"
_SHORT: Final = 126
_MEDIUM: Final = 65_536


class Call(NamedTuple):
    """A request; `notes`: the kinds of its deviations so far."""

    id: MessageId
    action: str
    payload: OcppPayload
    notes: set[str]


class StationReply(NamedTuple):
    """A reply to a call of ours, good or not."""

    id: MessageId
    payload: OcppPayload | None
    error: OcppPayload | None
    notes: set[str]


class Unreadable(NamedTuple):
    """No message of OCPP-J; `id` is the request's if it can be match."""

    id: MessageId | None
    reason: str


def read(raw: bytes) -> Call | StationReply | Unreadable:
    """Reads a message."""
    notes: set[str] = set()
    try:
        value = read_json(raw)
        if b"\\u0000" in raw:
            value = clean(value)
    except NotJson:
        if len(raw) > _MOST_REPAIRED:
            return _unreadable(raw, "is not JSON, and too long to be repaired")
        try:
            value = repair(raw, notes)
        except ValueError as error:
            return _unreadable(raw, str(error))
    if isinstance(value, list):
        parts = cast("list[Any]", value)
        # The usual form first: most messages are it.
        if len(parts) == 4 and parts[0] == CALL:  # noqa: PLR2004
            _, message_id, action, payload = parts
            if (
                type(message_id) is str
                and 0 < len(message_id) <= _MAX_ID
                and type(action) is str
                and type(payload) is dict
            ):
                return Call(message_id, action, cast("OcppPayload", payload), notes)
        return _read_odd(parts, notes)
    return Unreadable(None, "is no list")


def _unreadable(raw: bytes, reason: str) -> Unreadable:
    match = _ID.match(raw)
    return Unreadable(match and match[1].decode("latin-1"), reason)


def is_reply(raw: bytes) -> bool:
    """Returns whether the message begins as a reply to a call of ours."""
    return raw[:2] != _REQUEST and _REPLY.match(raw) is not None


def result(message_id: MessageId, payload: OcppPayload) -> bytes:
    """Returns the text of a good answer."""
    return orjson.dumps([CALL_RESULT, message_id, payload])


def refusal(message_id: MessageId, code: str, text: str = "") -> bytes:
    """Returns the text of a CALLERROR."""
    return orjson.dumps([CALL_ERROR, message_id, code, text[:_LONGEST_ID], {}])


def request(message_id: str, action: str, payload: object) -> bytes:
    """Returns the text of a call."""
    return orjson.dumps([CALL, message_id, action, payload])


def text_frame(message: bytes) -> bytes:
    """Returns a WebSocket text frame as a server sends it: without a mask (RFC 6455 5.2)."""
    size = len(message)
    if size < _SHORT:
        return bytes((0x81, size)) + message
    if size < _MEDIUM:
        return b"\x81\x7e" + size.to_bytes(2, "big") + message
    return b"\x81\x7f" + size.to_bytes(8, "big") + message


def _read_odd(parts: list[Any], notes: set[str]) -> Call | StationReply | Unreadable:
    kind = parts[0] if parts else None
    if kind not in (CALL, CALL_RESULT, CALL_ERROR):
        kind = {"2": CALL, "3": CALL_RESULT, "4": CALL_ERROR}.get(kind if type(kind) is str else "")
        if kind is None:
            return Unreadable(None, "has no known message type")
        notes.add("message_type")
    message_id = _message_id(parts[1] if len(parts) > 1 else None, notes)
    rest = parts[2:]
    if kind == CALL_RESULT:
        return StationReply(message_id, _payload(rest, notes), None, notes)
    if kind == CALL_ERROR:
        code, text, details = [*rest, None, None, None][:3]
        return StationReply(
            message_id, None, {"error": code, "description": text, "details": details}, notes
        )
    if not rest or type(rest[0]) is not str:
        return Unreadable(message_id, "names no action")
    return Call(message_id, rest[0], _payload(rest[1:], notes), notes)


def _message_id(value: object, notes: set[str]) -> MessageId:
    if type(value) is str and len(value) <= _LONGEST_ID:
        if not 0 < len(value) <= _MAX_ID:
            notes.add("message_id")
        return value
    notes.add("message_id")
    # A number is repeated as it came, so that the station finds its request.
    return value if type(value) is int and abs(value) < _LARGEST else UNREADABLE_ID


def _payload(rest: list[Any], notes: set[str]) -> OcppPayload:
    value = rest[0] if rest else None
    if len(rest) != 1:
        notes.add("payload_count")
    if isinstance(value, dict):
        return cast("OcppPayload", value)
    notes.add("payload_type")
    if isinstance(value, str):
        try:
            value = read_json(value)
        except NotJson:
            return {}
    if isinstance(value, list) and len(cast("list[Any]", value)) == 1:
        value = cast("list[Any]", value)[0]
    return cast("OcppPayload", value) if isinstance(value, dict) else {}

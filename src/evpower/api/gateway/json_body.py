"""Checks that every route can read a JSON body, and names what is wrong and where."""

import json
import re
from collections.abc import Sequence
from typing import Any, Final

from evpower.foundation.errors import Invalid

_MAX_DEPTH: Final = 32
_MAX_DIGITS: Final = 1000  # Python parses no integer of more than 4,300
# A NUL in JSON: no text column can store it. After an even number of backslashes it is plain text.
_NUL_ESCAPE: Final = b"\\u0000"
_NUL: Final = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_BOM: Final = b"\xef\xbb\xbf"


def check(raw: bytes) -> None:
    """Accepts UTF-8 JSON without NUL, duplicate members, deep nesting or endless numbers.

    Numbers are not parsed here: the routes decide which are valid. Raises
    Invalid("invalid_request").
    """
    if _holds_nul(raw):
        raise Invalid("invalid_request", "a text holds a NUL character")
    try:
        text = raw.removeprefix(_BOM).decode()
    except UnicodeDecodeError as error:
        raise Invalid("invalid_request", f"the body is not UTF-8 at byte {error.start}") from None
    if text.count("[") + text.count("{") > _MAX_DEPTH and _depth(text) > _MAX_DEPTH:
        raise Invalid("invalid_request", f"the body is nested deeper than {_MAX_DEPTH}")
    try:
        json.loads(
            text, object_pairs_hook=_object, parse_int=_number, parse_float=_number,
            parse_constant=_number,
        )  # fmt: skip
    except json.JSONDecodeError as error:
        raise Invalid(
            "invalid_request",
            f"the body is not JSON: {error.msg.removesuffix(' at')} at line {error.lineno},"
            f" column {error.colno}",
        ) from None


def _holds_nul(body: bytes) -> bool:
    """Returns whether JSON holds a NUL in any string."""
    return _NUL_ESCAPE in body and _NUL.search(body) is not None


def _object(pairs: Sequence[tuple[str, Any]]) -> None:
    names: set[str] = set()
    for name, _ in pairs:
        if name in names:
            raise Invalid("invalid_request", f"the member {name[:60]!r} stands twice")
        names.add(name)


def _number(text: str) -> None:
    if len(text) > _MAX_DIGITS:
        raise Invalid("invalid_request", f"a number has {len(text)} characters")


def _depth(text: str) -> int:
    """Returns the deepest nesting of brackets outside of strings."""
    deepest = depth = 0
    in_string = escaped = False
    for character in text:
        if in_string:
            if escaped:
                escaped = False
            elif character == "\\":
                escaped = True
            elif character == '"':
                in_string = False
        elif character == '"':
            in_string = True
        elif character in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif character in "]}":
            depth -= 1
    return deepest

"""Repairs texts of stations that are almost JSON, as far as their meaning is plain."""

import json
import re
from collections.abc import Callable
from typing import Any, Final, cast

from evpower.foundation.json_reader import NotJson, read_json

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
# A string, to its end or the text's: if one without an end were no match, the search would begin
# anew at each quote behind it, which takes minutes for one message.
_STRING: Final = r'"(?s:[^"\\]|\\.)*+(?:"|\\?\Z)'
# Outside of strings: a member without a value, a comma before a bracket, a word that is no JSON.
_EMPTY: Final = re.compile(rf"({_STRING})|:\s*(?=[,}}\]])")
_TRAILING: Final = re.compile(rf"({_STRING})|,\s*(?=[}}\]])")
_WORD: Final = re.compile(rf"({_STRING})|-?\b(?:NaN|nan|Infinity|inf|None|undefined)\b")
_BACKSLASH: Final = re.compile(r'\\(?:(["\\/bfnrt]|u[0-9A-Fa-f]{4})|)')
_OPEN_QUOTE: Final = re.compile(r'\\"(?=\s*[,}\]])')
_CLOSING: Final = {"[": "]", "{": "}"}


def repair(raw: bytes, notes: set[str]) -> object:
    """Returns the value of a broken text, and notes what was done. Raises ValueError."""
    text = _decode(raw, notes)
    notes.add("json_repaired")
    steps: tuple[Callable[[str], str], ...] = (
        lambda text: _CONTROL.sub(" ", text).strip().removeprefix("\ufeff"),
        _fill,
        lambda text: _BACKSLASH.sub(_escape, text),
        _close,
        lambda text: _close(_OPEN_QUOTE.sub(r'\\\\"', text)),
    )
    for step in steps:
        text = step(text)
        try:
            return read_json(text)
        except NotJson:
            pass
        try:
            # Half of a character, or bytes behind the end: the standard library reads it.
            return clean(json.JSONDecoder(parse_constant=_nothing).raw_decode(text)[0])
        except (ValueError, RecursionError):
            continue
    raise ValueError("is not JSON")


def clean(value: object) -> object:
    """Returns the value without characters that no database stores."""
    if isinstance(value, str):
        return value.replace("\x00", "").encode("utf-8", "replace").decode()
    if isinstance(value, list):
        return [clean(item) for item in cast("list[Any]", value)]
    if isinstance(value, dict):
        members = cast("dict[str, Any]", value)
        return {str(clean(name)): clean(item) for name, item in members.items()}
    return value


def _decode(raw: bytes, notes: set[str]) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        notes.add("not_utf8")
    try:
        return raw.decode("gb18030")  # what many stations write in
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _fill(text: str) -> str:
    text = _EMPTY.sub(lambda match: match[1] or ":null", text)
    text = _TRAILING.sub(lambda match: match[1] or "", text)
    return _WORD.sub(lambda match: match[1] or "null", text)


def _escape(match: re.Match[str]) -> str:
    return match[0] if match[1] else "\\\\"


def _close(text: str) -> str:
    """Closes what is open at the end."""
    closing: list[str] = []
    in_string = is_escaped = False
    for char in text:
        if in_string:
            in_string = is_escaped or char != '"'
            is_escaped = char == "\\" and not is_escaped
        elif char == '"':
            in_string = True
        elif char in _CLOSING:
            closing.append(_CLOSING[char])
        elif closing and char == closing[-1]:
            closing.pop()
    return _fill(text + ('"' if in_string else "") + "".join(reversed(closing)))


def _nothing(_: str) -> None:
    return None

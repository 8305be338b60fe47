"""Reads JSON from outside the process: bounded, and refused with a reason.

What a whole page holds is one value to its reader: a value that orjson refuses and the standard
library reads (a number beyond all floats, half of a character) may not hide the rest of the page.
"""

import json
from collections.abc import Callable
from typing import Any, Final, NoReturn, cast

import orjson

MAX_BYTES: Final = 16 * 1024 * 1024


class NotJson(ValueError):
    """The text is no JSON, or too large: says which."""


class NotAnObject(NotJson):
    """The text is JSON, and another value than an object."""


def read_json(raw: bytes | str, *, max_bytes: int = MAX_BYTES) -> object:
    """Returns the value of a JSON text (RFC 8259). Raises NotJson."""
    _check_size(raw, max_bytes)
    try:
        return cast("object", orjson.loads(raw))
    except orjson.JSONDecodeError as error:
        raise NotJson(f"is not JSON: {error}") from error


def read_object(raw: bytes | str, *, max_bytes: int = MAX_BYTES) -> dict[str, Any]:
    """Returns the members of a JSON object. Raises NotJson, NotAnObject."""
    return as_object(read_json(raw, max_bytes=max_bytes))


def read_stored_json(raw: bytes | str, *, max_bytes: int = MAX_BYTES) -> object:
    """Returns a value that PostgreSQL wrote: numbers beyond all floats are infinite in it.

    Raises NotJson.
    """
    _check_size(raw, max_bytes)
    try:
        return cast("object", orjson.loads(raw))
    except orjson.JSONDecodeError:
        return _read_slowly(raw)


def read_exact_object(
    raw: bytes | str,
    number: Callable[[str], object],
    *,
    constant: Callable[[str], object] | None = None,
    max_bytes: int = MAX_BYTES,
) -> dict[str, Any]:
    """Returns the members of a JSON object, each number as `number` reads its text.

    `constant` reads NaN and the infinities of JavaScript, which are refused without it. Raises
    NotJson, NotAnObject.
    """
    _check_size(raw, max_bytes)
    refusing = _refuse if constant is None else constant
    return as_object(
        _read_slowly(raw, parse_int=number, parse_float=number, parse_constant=refusing)
    )


def as_object(value: object) -> dict[str, Any]:
    """Returns the value if it is an object. Raises NotAnObject."""
    if not isinstance(value, dict):
        raise NotAnObject("is not a JSON object")
    return cast("dict[str, Any]", value)


def _check_size(raw: bytes | str, max_bytes: int) -> None:
    if len(raw) > max_bytes:
        raise NotJson(f"is larger than {max_bytes} bytes")


def read_handwritten_json(raw: bytes | str, *, max_bytes: int = MAX_BYTES) -> object:
    """Returns the value of a JSON text from a person: a member that occurs twice is refused.

    Raises NotJson.
    """
    _check_size(raw, max_bytes)
    return _read_slowly(raw, object_pairs_hook=_members_once, parse_constant=_refuse)


def _members_once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the member {twice[:60]!r} occurs twice")
    return members


def _read_slowly(raw: bytes | str, **hooks: Callable[[Any], object]) -> object:
    try:
        return cast("object", json.loads(raw, **hooks))  # pyright: ignore[reportArgumentType]
    except RecursionError as error:
        raise NotJson("is nested too deep") from error
    except ValueError as error:
        raise NotJson(f"is not JSON: {error}") from error


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number")

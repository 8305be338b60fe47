"""Reads a request's raw body, up to a limit, and the numbers in it exactly."""

from typing import Final

from starlette.requests import Request

from evpower.foundation.errors import EvPowerError
from evpower.foundation.json_numbers import exact
from evpower.foundation.json_reader import read_exact_object
from evpower.foundation.money import amount_from_json

_MAX_DIGITS: Final = 20


async def read_body(request: Request, limit_bytes: int) -> bytes:
    """Returns the raw body. Raises EvPowerError("too_large", 413) above the limit."""
    length = request.headers.get("content-length", "")
    if length.isascii() and length.isdigit() and int(length[:_MAX_DIGITS]) > limit_bytes:
        raise _too_large(limit_bytes)
    raw = bytearray()  # a list of parts would cost much more memory if each had one byte
    async for part in request.stream():
        if len(raw) + len(part) > limit_bytes:
            raise _too_large(limit_bytes)
        raw += part
    return bytes(raw)


async def exact_amount(request: Request, name: str) -> int:
    """Returns a member of a body that a model accepted, in tyiyn.

    The model has a float's value: 100.00000000000000000000000000001 is 100 there. Raises
    Invalid("invalid_amount").
    """
    body = read_exact_object(await request.body(), exact, constant=exact)
    return amount_from_json(body[name])


def _too_large(limit_bytes: int) -> EvPowerError:
    return EvPowerError("too_large", f"the body is larger than {limit_bytes} bytes", status=413)

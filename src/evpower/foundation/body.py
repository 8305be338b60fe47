"""Reads a request's raw body, up to a limit."""

from typing import Final

from starlette.requests import Request

from evpower.foundation.errors import EvPowerError

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


def _too_large(limit_bytes: int) -> EvPowerError:
    return EvPowerError("too_large", f"the body is larger than {limit_bytes} bytes", status=413)

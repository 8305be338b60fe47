"""The few paths that most requests take, named by their slices and served past the router.

A fast path answers only what is plainly well-formed; everything else is left to the documented
route of the same path, which knows every refusal. Both call the same function.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response

# Given the request and the last segment of its path; None (nothing read yet): not for me.
Serve = Callable[[Request, str], Awaitable[Response | None]]
_UUID_LENGTH: Final = 36
_MAX_LIMIT: Final = 500
_MAX_DIGITS: Final = 3


@dataclass(frozen=True, slots=True)
class FastPath:
    """`prefix` ends before the last segment; `template` is the route's path, for the metrics."""

    method: str
    prefix: str
    template: str
    serve: Serve


def plain_uuid(text: str) -> UUID | None:
    """Return the id when it is written in the usual form."""
    if len(text) != _UUID_LENGTH:
        return None
    try:
        return UUID(text)
    except ValueError:
        return None


def plain_limit(request: Request, default: int) -> int | None:
    """Return the limit when the query is empty or that alone."""
    query: bytes = request.scope["query_string"]
    if not query:
        return default
    name, _, value = query.partition(b"=")
    if name != b"limit" or not value.isdigit() or len(value) > _MAX_DIGITS:
        return None
    limit = int(value)
    return limit if 1 <= limit <= _MAX_LIMIT else None

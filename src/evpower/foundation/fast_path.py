"""The few paths of most requests, declared by their slices and served without the router.

A fast path serves only requests that are plainly well-formed; all others go to the documented route
of the same path, which has every refusal. Both call the same function.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response

# Called with the request and the last segment of its path; None (nothing was read): the route.
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
    """Returns the id if it is written in the usual form, else None."""
    if len(text) != _UUID_LENGTH:
        return None
    try:
        return UUID(text)
    except ValueError:
        return None


def plain_limit(request: Request, default: int) -> int | None:
    """Returns the limit if the query is empty or holds nothing else; None: the route reads it."""
    query: bytes = request.scope["query_string"]
    if not query:
        return default
    name, _, value = query.partition(b"=")
    if name != b"limit" or not value.isdigit() or len(value) > _MAX_DIGITS:
        return None
    limit = int(value)
    return limit if 1 <= limit <= _MAX_LIMIT else None

"""Entity tags of a single thing: of all that is shown, and of the part that callers change.

A tag is `"<version>.<digest>"`. The version stands for what a caller decides (RFC 9110 13.1.1:
`If-Match` asks that it is unchanged), the digest for the whole body, which may
change by itself each second (`If-None-Match`: send it only if it is new).
"""

import hashlib
from typing import Final

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from evpower.foundation.errors import Conflict

_LENGTH: Final = 16
_NOT_MODIFIED: Final = 304
_FAILED: Final = 412


def version_of(decided: object) -> str:
    """Returns the version of what callers decide; `decided` has a repr of its values."""
    return _digest(repr(decided).encode())


def respond(request: Request, shown: BaseModel, decided: object, *, status: int = 200) -> Response:
    """Returns the thing with its tag; 304 where the caller has it as it is."""
    body = shown.model_dump_json().encode()
    tag = f'"{version_of(decided)}.{_digest(body)}"'
    headers = {"ETag": tag}
    if request.method == "GET" and tag in _tags(request, "if-none-match"):
        return Response(status_code=_NOT_MODIFIED, headers=headers)
    return Response(body, status, headers=headers, media_type="application/json")


def check_version(request: Request, decided: object) -> None:
    """Passes without If-Match. Raises Conflict("changed_meanwhile", 412) for another version."""
    tags = _tags(request, "if-match")
    if not tags or "*" in tags:
        return
    version = version_of(decided)
    if version not in {tag.strip('"').partition(".")[0] for tag in tags}:
        detail = "it has changed since it was read: read it again"
        raise Conflict("changed_meanwhile", detail, status=_FAILED)


def _tags(request: Request, name: str) -> list[str]:
    values = ",".join(request.headers.getlist(name))
    return [tag.strip().removeprefix("W/") for tag in values.split(",") if tag.strip()]


def _digest(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()[:_LENGTH]

"""Our OpenAPI document, made once a worker: it takes a second of a core."""

from functools import cache
from typing import Any

from evpower import bootstrap


@cache
def document() -> dict[str, Any]:
    """Return it; it is not to be changed."""
    return bootstrap.openapi()

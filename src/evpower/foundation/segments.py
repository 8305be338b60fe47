"""A route whose parameters may hold a slash, written %2F: ids of other systems have such."""

from collections.abc import MutableMapping
from typing import Any, Final
from urllib.parse import unquote

from fastapi.routing import APIRoute
from starlette.routing import Match
from starlette.types import Scope

# Stands for an encoded slash while a path is split; private use, so no id has it.
_SLASH: Final = "\ue000"


class SegmentRoute(APIRoute):
    """Splits the path where a slash was written as one, not where one was encoded."""

    def matches(self, scope: Scope) -> tuple[Match, MutableMapping[str, Any]]:
        """Match as usual, but for a path with an encoded slash."""
        raw: bytes = scope.get("raw_path") or b""
        if b"%2f" not in raw.lower():
            return super().matches(scope)
        text = raw.replace(b"%2F", b"%2f").decode("latin-1")
        path = unquote(text.replace("%2f", _SLASH))
        match, child = super().matches({**scope, "path": path})
        params: dict[str, Any] = child.get("path_params", {})
        child["path_params"] = {
            name: value.replace(_SLASH, "/") if isinstance(value, str) else value
            for name, value in params.items()
        }
        return match, child

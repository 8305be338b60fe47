"""A route whose parameters may hold a slash, written %2F, as ids of other systems do."""

import re
from collections.abc import Iterable, MutableMapping
from typing import Any, Final
from urllib.parse import unquote

from fastapi.routing import APIRoute
from starlette.routing import Match
from starlette.types import Scope

# Replaces an encoded slash while a path is split; a private use character, in no id.
_SLASH: Final = "\ue000"


def pattern_of(templates: Iterable[str]) -> re.Pattern[str]:
    """Returns a pattern that matches the paths of these templates; of none, nothing."""
    segments = [re.sub(r"\\{[^}]*\\}", "[^/]+", re.escape(template)) for template in templates]
    return re.compile("|".join(segments) or "(?!)")


class SegmentRoute(APIRoute):
    """Splits the path at written slashes, not at encoded ones."""

    def matches(self, scope: Scope) -> tuple[Match, MutableMapping[str, Any]]:
        """Matches as Starlette does, except for paths with an encoded slash."""
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

"""Routes whose parameters may hold a slash, as ids of other systems and of payments do."""

import re
from collections.abc import Iterable, MutableMapping
from typing import Any, Final
from urllib.parse import unquote

from fastapi.routing import APIRoute
from starlette.routing import Match
from starlette.types import Scope

# Replaces an encoded slash while a path is split; a private use character, in no id.
_SLASH: Final = "\ue000"


# Ids that may end in a number after a slash, as that of a bill's second payment does: `x7/2`.
_NUMBERED: Final = frozenset({"invoice_id", "transaction_id"})
_NUMBER_AT_THE_END: Final = re.compile(rb"(.*[^/])/([1-9][0-9]{0,8})", re.DOTALL)
_MEMBER: Final = re.compile(r"\{([^}]*)\}")


def pattern_of(templates: Iterable[str]) -> re.Pattern[str]:
    """Returns a pattern that matches the paths of these templates; of none, nothing.

    The group of a template's parameter holds its value as it is written in the path.
    """
    patterns = [
        "".join(
            _value_of(part) if index % 2 else re.escape(part)
            for index, part in enumerate(_MEMBER.split(template))
        )
        for template in templates
    ]
    return re.compile("|".join(patterns) or "(?!)")


def _value_of(name: str) -> str:
    return "([^/]+(?:/[1-9][0-9]{0,8})?)" if name in _NUMBERED else "([^/]+)"


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


class NumberedRoute(SegmentRoute):
    """Takes `/<number>` at the end of a path as part of the last parameter, as if encoded."""

    def matches(self, scope: Scope) -> tuple[Match, MutableMapping[str, Any]]:
        """Matches as its base does, and then the path that ends in a number."""
        match, child = super().matches(scope)
        if match is not Match.NONE:
            return match, child
        raw: bytes = scope.get("raw_path") or scope["path"].encode()
        numbered = _NUMBER_AT_THE_END.fullmatch(raw)
        if numbered is None:
            return match, child
        return super().matches({**scope, "raw_path": b"%2F".join(numbered.groups())})

"""Refuses query parameters that a route does not have: a mistyped filter would show everything."""

from typing import TYPE_CHECKING, Any, Final

from evpower.foundation.errors import Invalid

if TYPE_CHECKING:  # the command line reads no request
    from starlette.requests import Request

_MOST_NAMED: Final = 5


def refuse_unknown_parameters(request: "Request") -> None:
    """Raises Invalid("invalid_request") that names the parameters which the route does not have."""
    if not request.query_params:
        return
    known = _names_of(request.scope["route"])
    unknown = [name for name in dict.fromkeys(request.query_params) if name not in known]
    if unknown:
        names = ", ".join(f"{name!a:.80}" for name in unknown[:_MOST_NAMED])
        raise Invalid("invalid_request", f"this call has no query parameter {names}")


def _names_of(route: Any) -> set[str]:  # noqa: ANN401 - FastAPI's, which is not loaded here
    from fastapi.dependencies.utils import get_flat_params  # only a server has it
    from fastapi.params import Cookie, Header, Path

    # A member of a model of parameters has no place of its own.
    return {
        str(field.validation_alias or field.alias)
        for field in get_flat_params(route.dependant)
        if not isinstance(field.field_info, Cookie | Header | Path)
    }

"""Refuses query parameters that a route does not have, or takes once: a filter would be ignored."""

from typing import TYPE_CHECKING, Any, Final

from evpower.foundation.errors import Invalid

if TYPE_CHECKING:  # the command line reads no request
    from starlette.requests import Request

_MOST_NAMED: Final = 5


def check_query_parameters(request: "Request") -> None:
    """Raises Invalid("invalid_request") that names the parameters which the route does not have.

    So it does for those given twice of which it takes one: the last would count, unseen.
    """
    if not request.query_params:
        return
    takes_many = _parameters_of(request.scope["route"])
    names = [name for name, _ in request.query_params.multi_items()]
    if unknown := [name for name in dict.fromkeys(names) if name not in takes_many]:
        raise Invalid("invalid_request", f"this call has no query parameter {_listed(unknown)}")
    if repeated := [name for name in takes_many if not takes_many[name] and names.count(name) > 1]:
        detail = f"this call takes one value of the query parameter {_listed(repeated)}"
        raise Invalid("invalid_request", detail)


def _listed(names: list[str]) -> str:
    return ", ".join(f"{name!a:.80}" for name in names[:_MOST_NAMED])


def _parameters_of(route: Any) -> dict[str, bool]:  # noqa: ANN401 - FastAPI's, not loaded here
    """Returns the names of a route's query parameters, and whether each is a list."""
    from fastapi._compat import field_annotation_is_sequence  # only a server has it
    from fastapi.dependencies.utils import get_flat_params
    from fastapi.params import Cookie, Header, Path

    # A member of a model of parameters has no place of its own.
    return {
        str(field.validation_alias or field.alias): field_annotation_is_sequence(
            field.field_info.annotation
        )
        for field in get_flat_params(route.dependant)
        if not isinstance(field.field_info, Cookie | Header | Path)
    }

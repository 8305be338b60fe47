"""What the OpenAPI document says of responses, from pydantic models; routes still build bytes."""

from typing import Any, TypeAlias, cast

from pydantic import BaseModel

Responses: TypeAlias = dict[int | str, dict[str, Any]]


def problem(description: str) -> dict[str, Any]:
    """Returns an error response; `api.openapi` adds the schema that all errors share."""
    return {"description": description}


def json_response(description: str, *models: type[BaseModel]) -> dict[str, Any]:
    """Returns a response in JSON that is an object of one of these models."""
    schemas = [json_schema(model) for model in models]
    schema = schemas[0] if len(schemas) == 1 else {"anyOf": schemas}
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def json_schema(model: type[BaseModel]) -> dict[str, Any]:
    """Returns the schema of a model without titles and defaults, which say nothing of an answer.

    A member with a default may be absent.
    """
    schema = _plain(model.model_json_schema())
    schema.pop("description", None)  # the docstring: for developers of EvPower
    return schema


def _plain(schema: dict[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    for keyword, value in schema.items():
        if keyword in {"title", "default"}:
            continue
        if keyword == "properties":
            members = cast("dict[str, dict[str, Any]]", value)
            plain[keyword] = {name: _plain(member) for name, member in members.items()}
        elif isinstance(value, dict):
            plain[keyword] = _plain(cast("dict[str, Any]", value))
        elif isinstance(value, list):
            parts = cast("list[Any]", value)
            plain[keyword] = [
                _plain(cast("dict[str, Any]", part)) if isinstance(part, dict) else part
                for part in parts
            ]
        else:
            plain[keyword] = value
    return plain

"""What the OpenAPI document says of responses, from pydantic models; routes still build bytes."""

from typing import Any, Final, TypeAlias, cast

from pydantic import BaseModel

Responses: TypeAlias = dict[int | str, dict[str, Any]]
_NAMED: Final = "#/$defs/"


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
    written = model.model_json_schema()
    # A reference is looked up in the whole document, where these are not.
    schema = _plain(written, written.pop("$defs", {}))
    schema.pop("description", None)  # the docstring: for developers of EvPower
    return schema


def _plain(schema: dict[str, Any], named: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Returns the schema without titles and defaults, with the `named` ones in their places."""
    if "$ref" in schema:
        target = named[str(schema["$ref"]).removeprefix(_NAMED)]
        schema = {**target, **{key: part for key, part in schema.items() if key != "$ref"}}
    plain: dict[str, Any] = {}
    for keyword, value in schema.items():
        if keyword in {"title", "default"}:
            continue
        if keyword == "properties":
            members = cast("dict[str, dict[str, Any]]", value)
            plain[keyword] = {name: _plain(member, named) for name, member in members.items()}
        elif isinstance(value, dict):
            plain[keyword] = _plain(cast("dict[str, Any]", value), named)
        elif isinstance(value, list):
            parts = cast("list[Any]", value)
            plain[keyword] = [
                _plain(cast("dict[str, Any]", part), named) if isinstance(part, dict) else part
                for part in parts
            ]
        else:
            plain[keyword] = value
    return plain

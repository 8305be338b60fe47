"""The schemas of OCPP 1.6, from the installed `ocpp` package, as compiled validators."""

from functools import cache
from importlib.resources import files
from typing import Final, Literal

import jsonschema_rs

from evpower.foundation.json_reader import read_object

_FOLDER: Final = "v16/schemas"
Kind = Literal["request", "response"]


@cache
def validator(action: str, kind: Kind = "request") -> jsonschema_rs.Validator:
    """Returns the validator of an action's payload. Raises FileNotFoundError."""
    name = action if kind == "request" else f"{action}Response"
    schema = read_object(files("ocpp").joinpath(_FOLDER, f"{name}.json").read_bytes())
    # Times are read by the tolerant reader, which says more about a wrong one.
    return jsonschema_rs.validator_for(schema, validate_formats=False)


@cache
def known_actions() -> frozenset[str]:
    """Returns every action of 1.6 and its security extension."""
    names = (entry.name for entry in files("ocpp").joinpath(_FOLDER).iterdir())
    stems = {name.removesuffix(".json") for name in names if name.endswith(".json")}
    return frozenset(stem for stem in stems if not stem.endswith("Response"))


def is_valid(action: str, payload: object, kind: Kind = "request") -> bool:
    """Returns whether the schema takes a payload."""
    return validator(action, kind).is_valid(payload)


def violation(action: str, payload: object, kind: Kind = "request") -> str:
    """Returns what the schema refuses in a payload, "" when it is valid."""
    error = next(validator(action, kind).iter_errors(payload), None)
    return "" if error is None else error.message

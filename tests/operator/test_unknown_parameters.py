"""Query parameters that a call does not have, or that stand twice, are refused.

A mistyped filter shows everything; of two values the last would count.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.api.operator_scenario import OPERATOR, OperatorApi

OPENAPI = Path(__file__).parents[2] / "docs" / "openapi.json"


def _calls() -> Iterator[tuple[str, str, dict[str, Any]]]:
    paths = json.loads(OPENAPI.read_text("utf-8"))["paths"]
    for path, methods in paths.items():
        if path.startswith(f"{OPERATOR}/"):
            for method, call in methods.items():
                yield method, path, call


async def test_every_call_of_operators_names_the_parameter_that_it_does_not_have(
    operators: OperatorApi,
) -> None:
    refused = dict[str, tuple[int, str, str]]()
    for method, path, call in _calls():
        known = [each["name"] for each in call.get("parameters", []) if each["in"] == "query"]
        response = await operators.http.request(
            method,
            re.sub(r"\{\w+\}", "1", path),
            headers=operators.headers(call["x-evpower-roles"][0]),
            params=dict.fromkeys((*known, "mistyped"), "1"),
        )
        problem = response.json()
        assert response.headers["content-type"] == "application/problem+json", path
        assert "422" in call["responses"], path
        refused[f"{method} {path}"] = (response.status_code, problem["error"], problem["detail"])
    detail = "this call has no query parameter 'mistyped'"
    assert refused == dict.fromkeys(refused, (422, "invalid_request", detail))
    assert len(refused) > 70


async def test_every_call_of_operators_names_the_parameter_that_was_given_twice(
    operators: OperatorApi,
) -> None:
    refused = dict[str, tuple[int, str, str]]()
    expected = dict[str, tuple[int, str, str]]()
    for method, path, call in _calls():
        for parameter in call.get("parameters", []):
            if parameter["in"] != "query" or parameter["schema"].get("type") == "array":
                continue
            name = parameter["name"]
            response = await operators.http.request(
                method,
                re.sub(r"\{\w+\}", "1", path),
                headers=operators.headers(call["x-evpower-roles"][0]),
                params=[(name, "1"), (name, "1")],
            )
            problem = response.json()
            key = f"{method} {path} {name}"
            refused[key] = (response.status_code, problem["error"], problem["detail"])
            detail = f"this call takes one value of the query parameter {name!r}"
            expected[key] = (422, "invalid_request", detail)
    assert refused == expected
    assert len(refused) > 70


async def test_a_list_is_given_by_its_parameter_several_times(operators: OperatorApi) -> None:
    response = await operators.http.get(
        f"{OPERATOR}/sessions",
        headers=operators.headers("viewer"),
        params=[("state", "charging"), ("state", "settled")],
    )
    assert response.status_code == 200, response.text


@pytest.mark.parametrize("path", ["/api/v1/admin/stations", "/api/v1/locations"])
async def test_an_old_call_takes_parameters_that_it_does_not_have(
    operators: OperatorApi, path: str
) -> None:
    response = await operators.http.get(
        path, headers=operators.headers("viewer"), params={"mistyped": "1"}
    )
    assert response.status_code == 200, response.text

"""A query parameter that a call does not have is refused: a mistyped filter shows everything."""

import json
import re
from pathlib import Path

import pytest

from tests.api.operator_scenario import OPERATOR, OperatorApi

OPENAPI = Path(__file__).parents[2] / "docs" / "openapi.json"


async def test_every_call_of_operators_names_the_parameter_that_it_does_not_have(
    operators: OperatorApi,
) -> None:
    paths = json.loads(OPENAPI.read_text("utf-8"))["paths"]
    calls = [
        (method, path, call)
        for path, methods in paths.items()
        if path.startswith(f"{OPERATOR}/")
        for method, call in methods.items()
    ]
    refused = dict[str, tuple[int, str, str]]()
    for method, path, call in calls:
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


@pytest.mark.parametrize("path", ["/api/v1/admin/stations", "/api/v1/locations"])
async def test_an_old_call_takes_parameters_that_it_does_not_have(
    operators: OperatorApi, path: str
) -> None:
    response = await operators.http.get(
        path, headers=operators.headers("viewer"), params={"mistyped": "1"}
    )
    assert response.status_code == 200, response.text

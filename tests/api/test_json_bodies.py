"""JSON is read strictly, and what is wrong with it is said with its place."""

import json
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any
from uuid import uuid4

import pytest
from fastapi import APIRouter
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from evpower.api.gateway import json_body
from evpower.foundation.db import Database
from evpower.foundation.errors import Invalid
from tests.api.scenario import Api, running_api

NOT_JSON = "the body is not JSON: "
PATH = "/api/v1/test/report"


class Report(BaseModel):
    name: str
    energy: object = None


def reports() -> APIRouter:
    routes = APIRouter()

    @routes.post(PATH)
    async def report(body: Report) -> dict[str, str]:
        return {"name": body.name}

    return routes


@pytest.fixture
async def api(db: Database) -> AsyncIterator[Api]:
    async with running_api(db, [reports()]) as api:
        yield api


@pytest.mark.parametrize(
    "label", [None, "application/json", "text/plain", "application/x-www-form-urlencoded"]
)
async def test_json_is_json_whatever_it_is_labelled(api: Api, label: str | None) -> None:
    headers = {"Content-Type": label} if label else {}
    response = await api.post(PATH, headers, content=b'{"name":"Aida"}')
    assert (response.status_code, response.json()) == (200, {"name": "Aida"})


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b'{"name":"a","x":1', NOT_JSON + "Expecting ',' delimiter at line 1, column 18"),
        (b'{"name":\n 1 "a"}', NOT_JSON + "Expecting ',' delimiter at line 2, column 4"),
        (b"name=Aida", NOT_JSON + "Expecting value at line 1, column 1"),
        (b'{"name":"a"} {}', NOT_JSON + "Extra data at line 1, column 14"),
        (b'{"name":"\xff"}', "the body is not UTF-8 at byte 9"),
        ('{"name":"a"}'.encode("utf-16"), "the body is not UTF-8 at byte 0"),
        (b'{"name":"a","name":"b"}', "the member 'name' stands twice"),
        (b'{"name":"a","energy":{"a":[{"b":1,"b":2}]}}', "the member 'b' stands twice"),
        (b"[" * 100_000, "the body is nested deeper than 32"),
        (b'{"a":' * 40 + b"1" + b"}" * 40, "the body is nested deeper than 32"),
        (b'{"name":"a","energy":' + b"9" * 5000 + b"}", "a number has 5000 characters"),
        (b'{"name":"a\x01"}', NOT_JSON + "Invalid control character at line 1, column 11"),
    ],
)  # fmt: skip
async def test_what_is_wrong_is_said_and_where(api: Api, body: bytes, detail: str) -> None:
    response = await api.post(PATH, {"Content-Type": "application/json"}, content=body)
    problem = response.json()
    assert (response.status_code, problem["error"]) == (422, "invalid_request")
    assert problem["detail"] == detail
    assert "errors" not in problem


@pytest.mark.parametrize(
    "body",
    [
        b'\xef\xbb\xbf{"name":"a"}',
        b'{"name":"' + b"[" * 200 + b'"}',
        b'{"name":"a","energy":[' + b"[]," * 100 + b"[]]}",
        b'{"name":"a","energy":{"name":1}}',
        '{"name":"Айда \\" \\\\"}'.encode(),
    ],
)
async def test_what_is_unusual_and_right_passes(api: Api, body: bytes) -> None:
    assert (await api.post(PATH, content=body)).status_code == 200


@pytest.mark.parametrize("body", [b"[]", b"null", b'"text"', b"1", b"NaN"])
async def test_json_of_another_shape_is_named(api: Api, body: bytes) -> None:
    response = await api.post(PATH, content=body)
    assert (response.status_code, response.json()["error"]) == (422, "invalid_request")


async def test_webhooks_are_not_ours_to_judge(api: Api) -> None:
    response = await api.post("/api/v1/webhooks/supabase", content=b'{"a":1,"a":2}')
    assert response.status_code == 404  # no such route here: it got past


async def test_a_top_up_is_read_by_the_same_rules(api: Api) -> None:
    response = await api.post(f"/api/v1/test/{uuid4()}", content=b'{"amount":1,"amount":100000}')
    assert "stands twice" in response.json()["detail"]


_TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)))
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(_TEXT, inner),
    max_leaves=20,
)


@given(value=_JSON)
def test_all_json_passes(value: Any) -> None:
    json_body.check(json.dumps(value).encode())


@given(raw=st.binary())
def test_any_bytes_are_judged(raw: bytes) -> None:
    with suppress(Invalid):
        json_body.check(raw)
        json.loads(raw.removeprefix(b"\xef\xbb\xbf"))  # what passes can be read

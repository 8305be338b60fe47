"""Favourite locations, through every layer of the edge."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import pytest

from evpower.foundation.db import Database
from evpower.identity import favorites
from tests.api.operator_scenario import OperatorApi, running_operator_api
from tests.api.scenario import Headers, bearer
from tests.api.stations_scenario import MALL, YARD, Site

PATH = "/api/v1/favorites"


@pytest.fixture
async def api(db: Database) -> AsyncIterator[OperatorApi]:
    async with running_operator_api(db) as api:
        site = Site(db, api.clock)
        await site.add("EVP-1")
        await site.add("EVP-2", YARD)
        yield api


@pytest.fixture
def driver() -> Headers:
    return bearer(UUID("6f1e0000-0000-4000-8000-000000000001"))


async def marked(api: OperatorApi, driver: Headers) -> list[str]:
    response = await api.http.get(PATH, headers=driver)
    assert response.status_code == 200
    body = response.json()
    assert body == {"success": True, "favorites": body["favorites"]}
    return body["favorites"]


async def test_marked_locations_are_listed_the_newest_first(
    api: OperatorApi, driver: Headers
) -> None:
    assert await marked(api, driver) == []
    for location in (MALL.id, YARD.id):
        response = await api.http.post(PATH, headers=driver, json={"location_id": location})
        assert (response.status_code, response.json()["success"]) == (200, True)
    assert await marked(api, driver) == [YARD.id, MALL.id]
    assert await marked(api, bearer(uuid4())) == []


async def test_a_repeat_is_a_success_and_changes_nothing(api: OperatorApi, driver: Headers) -> None:
    for _ in range(2):
        response = await api.http.post(PATH, headers=driver, json={"location_id": MALL.id})
        assert response.status_code == 200
    assert await marked(api, driver) == [MALL.id]
    for _ in range(2):
        response = await api.http.delete(f"{PATH}/{MALL.id}", headers=driver)
        assert (response.status_code, response.json()["success"]) == (200, True)
    assert await marked(api, driver) == []


async def test_a_location_that_does_not_exist_is_refused(api: OperatorApi, driver: Headers) -> None:
    # By its name it is not found either: apps send ids.
    for location in ("nowhere", "Mall", " mall", "%"):
        response = await api.http.post(
            PATH, headers={**driver, "Accept-Language": "en"}, json={"location_id": location}
        )
        assert response.status_code == 404
        body = response.json()
        assert (body["success"], body["error_code"]) == (False, "location_not_found")
        assert body["error"] == body["message"] == "The location was not found."
    assert (await api.http.delete(f"{PATH}/nowhere", headers=driver)).status_code == 200


@pytest.mark.parametrize(
    "body",
    [{}, {"location_id": None}, {"location_id": 7}, {"location_id": ""},
     {"location_id": "x" * 65}, {"location_id": ["mall"]}, [], "mall", None],
)  # fmt: skip
async def test_a_body_that_names_no_location_is_refused(
    api: OperatorApi, driver: Headers, body: object
) -> None:
    response = await api.http.post(PATH, headers=driver, json=body)
    assert (response.status_code, response.json()["error_code"]) == (422, "invalid_request")


async def test_only_a_client_has_favourites(api: OperatorApi) -> None:
    for headers, expected in (
        ({}, (401, "missing_token")),
        (api.service, (403, "forbidden")),
        (api.headers("admin"), (403, "forbidden")),
    ):
        for method, path in (("GET", PATH), ("POST", PATH), ("DELETE", f"{PATH}/{MALL.id}")):
            body = {"location_id": MALL.id} if method == "POST" else None
            response = await api.http.request(method, path, headers=headers, json=body)
            assert (response.status_code, response.json()["error_code"]) == expected


async def test_a_client_has_so_many_and_no_more(
    api: OperatorApi, driver: Headers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(favorites, "MOST", 1)
    answers = await asyncio.gather(
        *(
            api.http.post(PATH, headers=driver, json={"location_id": location})
            for location in (MALL.id, YARD.id, MALL.id, YARD.id)
        )
    )
    codes = sorted(answer.status_code for answer in answers)
    assert codes == [200, 200, 409, 409]
    assert len(await marked(api, driver)) == 1
    refused = next(answer for answer in answers if answer.status_code == 409)
    assert refused.json()["error_code"] == "too_many_favorites"


async def test_a_location_may_have_a_slash_in_its_id(api: OperatorApi, driver: Headers) -> None:
    await Site(api.db, api.clock).add("EVP-3", type(MALL)("a/b", "Crossing"))
    await api.http.post(PATH, headers=driver, json={"location_id": "a/b"})
    assert await marked(api, driver) == ["a/b"]
    await api.http.delete(f"{PATH}/a%2Fb", headers=driver)
    assert await marked(api, driver) == []

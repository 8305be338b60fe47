"""A path that was served before goes straight to its router, and answers as before."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import APIRouter, FastAPI
from starlette.routing import BaseRoute, Match
from starlette.types import Scope

from evpower.api.known_routes import KnownRoutes
from evpower.foundation.segments import SegmentRoute


class Counted(BaseRoute):
    """The first route: counts searches, and matches nothing."""

    searches = 0

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Counts."""
        del scope
        self.searches += 1
        return Match.NONE, {}


class Served:
    """An application with two routers behind the counted route."""

    def __init__(self) -> None:
        self.counted = Counted()
        self.app = FastAPI(openapi_url=None)
        self.app.router.routes.insert(0, self.counted)
        for name in ("first", "second"):
            router = APIRouter(route_class=SegmentRoute)
            router.add_api_route("/both", self._answer(name))
            router.add_api_route(f"/{name}", self._answer(name), methods=["GET"])
            router.add_api_route(f"/{name}", self._answer(f"{name} posted"), methods=["POST"])
            router.add_api_route(f"/of/{name}", self._answer(f"of {name}"))
            router.add_api_route(f"/{name}/{{key}}", self._answer(f"{name} by key"))
            self.app.include_router(router)
        last = APIRouter(route_class=SegmentRoute)
        last.add_api_route("/{key}", self._answer("any key"))
        self.app.include_router(last)
        self.app.router.middleware_stack = KnownRoutes(self.app.router)
        transport = httpx.ASGITransport(app=self.app)
        self.client = httpx.AsyncClient(transport=transport, base_url="http://test")

    @staticmethod
    def _answer(text: str) -> Any:
        async def answer() -> str:
            return text

        return answer

    async def ask(self, method: str, path: str) -> tuple[int, Any, int]:
        """Returns the status, the answer, and how often the routes were searched for it."""
        before = self.counted.searches
        response = await self.client.request(method, path)
        return response.status_code, response.json(), self.counted.searches - before


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    served = Served()
    async with served.client:
        yield served


@pytest.mark.parametrize(
    ("method", "path", "answer"),
    [
        ("GET", "/second", "second"),
        ("POST", "/second", "second posted"),
        ("GET", "/both", "first"),
    ],
)
async def test_a_path_is_searched_once(served: Served, method: str, path: str, answer: str) -> None:
    first = await served.ask(method, path)
    assert first[:2] == (200, answer)
    assert first[2] > 0
    for _ in range(2):
        assert await served.ask(method, path) == (200, answer, 0)


async def test_each_method_is_known_by_itself(served: Served) -> None:
    for is_known in (False, True):
        for method, answer in (("GET", "second"), ("POST", "second posted")):
            status, text, searches = await served.ask(method, "/second")
            assert (status, text, searches == 0) == (200, answer, is_known)
        assert (await served.ask("PUT", "/second"))[0] == 405


async def test_paths_with_parameters_and_unknown_ones_are_not_remembered(served: Served) -> None:
    for _ in range(2):
        status, answer, searches = await served.ask("GET", "/second/x")
        assert (status, answer) == (200, "second by key")
        assert searches > 0
        status, _, searches = await served.ask("GET", "/third/x")
        assert status == 404
        assert searches > 0


async def test_an_encoded_slash_is_no_known_path(served: Served) -> None:
    assert (await served.ask("GET", "/of/second"))[0] == 200
    assert (await served.ask("GET", "/of%2fsecond"))[:2] == (200, "any key")
    assert await served.ask("GET", "/of/second") == (200, "of second", 0)

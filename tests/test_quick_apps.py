"""What applications share is what they have alike: each calls what is its own."""

from collections.abc import Callable
from typing import Annotated, Any

import httpx
import pytest
from fastapi import Depends, FastAPI, Query, Security
from fastapi.security import SecurityScopes


def application(
    name: str,
    *,
    most: int = 9,
    type_: type = int,
    alias: str = "number",
    default: int = 1,
    scopes: tuple[str, ...] = (),
) -> FastAPI:
    """Every one of them has the same code and path."""

    def whose(granted: SecurityScopes) -> str:
        return f"{name}{granted.scopes or ''}"

    def guard() -> None:
        calls.append(name)

    calls: list[str] = []
    app = FastAPI()

    @app.get("/", dependencies=[Depends(guard)])
    async def shown(  # pyright: ignore[reportUnusedFunction]
        owner: Annotated[str, Security(whose, scopes=scopes)],
        number: Annotated[type_, Query(le=most, alias=alias)] = default,  # type: ignore[valid-type]
    ) -> dict[str, Any]:
        return {"app": name, "owner": owner, "guards": calls, "number": number}

    return app


async def answer(app: FastAPI, **query: Any) -> dict[str, Any] | int:
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://test"
    ) as http:
        response = await http.get("/", params=query)
    return response.json() if response.is_success else response.status_code


def body(name: str, number: Any, scopes: str = "") -> dict[str, Any]:
    return {"app": name, "owner": name + scopes, "guards": [name], "number": number}


async def test_each_application_calls_its_own_functions() -> None:
    first, second = application("first"), application("second")
    assert await answer(first, number=3) == body("first", 3)
    assert await answer(second, number=4) == body("second", 4)
    assert first.openapi() == second.openapi()


@pytest.mark.parametrize(
    ("change", "query", "expected"),
    [
        ({"most": 2}, {"number": 3}, 422),
        ({"type_": float}, {"number": 2.5}, body("second", 2.5)),
        ({"alias": "n"}, {"n": 3}, body("second", 3)),
        ({"default": 5}, {}, body("second", 5)),
        ({"scopes": ("read",)}, {}, body("second", 1, "['read']")),
    ],
)
async def test_what_differs_is_read_anew(
    change: dict[str, Any], query: dict[str, Any], expected: Any
) -> None:
    make: Callable[..., FastAPI] = application
    assert await answer(make("first"), number=3) == body("first", 3)
    assert await answer(make("second", **change), **query) == expected
    assert await answer(make("third"), number=3) == body("third", 3)

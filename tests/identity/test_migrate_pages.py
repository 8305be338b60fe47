"""One page that does not come costs no plan: thousands may have been read before it."""

from typing import Any, cast
from uuid import UUID

import orjson
import pytest

from evpower.client_migration.remote_users import KnownUsers, users_by_admin, users_by_rpc
from evpower.foundation.errors import Unavailable
from evpower.identity.supabase_admin import SupabaseAdmin

PAGES = 3


class Passing(Exception):
    """What the caller says will pass."""


async def no_pause(_seconds: float) -> None:
    """Time does not pass in these tests."""


class Project:
    """Answers page by page; `fails` says how often each does not come first."""

    def __init__(self, fails: dict[int, int], error: type[Exception] = Passing) -> None:
        self.fails = dict(fails)
        self.error = error
        self.requested: list[int] = []

    def _ask(self, page: int) -> None:
        self.requested.append(page)
        if self.fails.get(page, 0) > 0:
            self.fails[page] -= 1
            raise self.error("unavailable", "no answer")

    async def call(self, _function: str, body: bytes) -> object:
        after = orjson.loads(body)["payload"]["after"]
        page = 1 if after is None else UUID(after).int + 1
        self._ask(page)
        person = str(UUID(int=page))
        return {
            "people": [{"id": person, "user": None, "client": None}],
            "next": person if page < PAGES else None,
        }

    async def list_users(self, page: int, _per_page: int) -> list[dict[str, Any]]:
        self._ask(page)
        return [{"id": str(UUID(int=page))}] if page <= PAGES else []


async def everyone(pages: KnownUsers) -> list[int]:
    return [person.id.int async for page in pages for person in page]


def by_rpc(project: Project) -> KnownUsers:
    return users_by_rpc(project, transient=Passing, sleep=no_pause)


def by_admin(project: Project) -> KnownUsers:
    return users_by_admin(cast("SupabaseAdmin", project), sleep=no_pause)


@pytest.mark.parametrize(("walk", "error"), [(by_rpc, Passing), (by_admin, Unavailable)])
class TestPages:
    async def test_one_that_fails_is_asked_for_again(
        self, walk: Any, error: type[Exception]
    ) -> None:
        project = Project({2: 2, 3: 1}, error)
        assert await everyone(walk(project)) == [1, 2, 3]
        assert project.requested[:6] == [1, 2, 2, 2, 3, 3]

    async def test_the_first_fails_at_once(self, walk: Any, error: type[Exception]) -> None:
        project = Project({1: 1}, error)
        with pytest.raises(error):
            await everyone(walk(project))
        assert project.requested == [1]

    async def test_one_that_never_comes_ends_it(self, walk: Any, error: type[Exception]) -> None:
        project = Project({2: 99}, error)
        with pytest.raises(error):
            await everyone(walk(project))
        assert project.requested == [1] + 8 * [2]

    async def test_what_does_not_pass_is_not_asked_again(
        self, walk: Any, error: type[Exception]
    ) -> None:
        project = Project({2: 1}, RuntimeError)
        with pytest.raises(RuntimeError):
            await everyone(walk(project))
        assert project.requested == [1, 2]
        assert error is not RuntimeError

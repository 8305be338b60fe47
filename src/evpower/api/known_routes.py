"""Sends a path that was served before straight to its router, without asking those before it."""

from collections.abc import Sequence
from typing import Final

from starlette.routing import BaseRoute, Match, Router
from starlette.types import ASGIApp, Receive, Scope, Send

_MOST: Final = 2_048  # far beyond all paths without parameters


class KnownRoutes:
    """Stands before the search of a router: each of its routes costs a match, and all see it.

    Only paths without parameters are remembered, so there are no more than are served. Which route
    answers does not change: the first one that matches, as the search has it.
    """

    def __init__(self, router: Router) -> None:
        self._search: ASGIApp = router.middleware_stack
        self._router = router
        self._known: dict[tuple[str, str], BaseRoute] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        if scope["type"] != "http":
            await self._search(scope, receive, send)
            return
        key = (scope["method"], scope["path"])
        route = self._known.get(key)
        if route is not None:
            match, child = route.matches(scope)
            if match is Match.FULL:  # else it is written in another way, with an encoded slash
                scope.update({"router": self._router, "route": route}, **child)
                await route.handle(scope, receive, send)
                return
        await self._search(scope, receive, send)
        served = scope.get("route")
        if (
            route is None
            and getattr(served, "path", None) == scope["path"]
            and scope["method"] in (getattr(served, "methods", None) or ())
        ):
            self._remember(key, scope, self._router.routes)

    def _remember(self, key: tuple[str, str], scope: Scope, routes: Sequence[BaseRoute]) -> None:
        served = {name: scope[name] for name in ("type", "method", "path")}
        served |= {"root_path": scope.get("root_path", ""), "raw_path": scope.get("raw_path")}
        first = next((r for r in routes if r.matches(dict(served))[0] is Match.FULL), None)
        if first is not None and len(self._known) < _MOST:
            self._known[key] = first

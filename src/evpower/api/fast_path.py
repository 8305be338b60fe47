"""Serves fast paths before the router; requests that they decline go on to it."""

from collections.abc import Sequence
from dataclasses import dataclass

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from evpower.foundation.fast_path import FastPath


@dataclass(frozen=True, slots=True)
class _Matched:
    """The part of a route that the metrics read."""

    path: str


class FastPaths:
    """The middleware right before the router."""

    def __init__(self, app: ASGIApp, *, paths: Sequence[FastPath]) -> None:
        self._app = app
        self._paths = {
            (path.method, path.prefix): (path.serve, _Matched(path.template)) for path in paths
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http":
            path: str = scope["path"]
            end = path.rfind("/") + 1
            entry = self._paths.get((scope["method"], path[:end]))
            if entry is not None and end < len(path):
                serve, scope["route"] = entry
                response = await serve(Request(scope, receive), path[end:])
                if response is not None:
                    await response(scope, receive, send)
                    return
        await self._app(scope, receive, send)

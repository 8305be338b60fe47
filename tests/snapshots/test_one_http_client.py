"""Every HTTP call that leaves the process goes through one function, which bounds it."""

import ast
from pathlib import Path

import pytest

from tests.snapshots.trees import nodes, one_worker

SOURCE = Path(__file__).parents[2] / "src" / "evpower"
THE_ONE = SOURCE / "foundation" / "http.py"
HTTP_LIBRARIES = {
    "httpx",
    "httpcore",
    "aiohttp",
    "requests",
    "urllib3",
    "http.client",
    "urllib.request",
}


def libraries_of(source: str) -> set[str]:
    """The HTTP libraries a module imports, wherever in it and however it spells them."""
    names: set[str] = set()
    for node in nodes(source):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names.add(node.value)  # import_module("httpx")
    return {
        library
        for library in HTTP_LIBRARIES
        if any(f"{name}.".startswith(f"{library}.") for name in names)
    }


@pytest.mark.parametrize(
    "source",
    [
        "import httpx",
        "import httpx as h",
        "from httpx import AsyncClient",
        "from httpx._client import AsyncClient",
        "def call():\n    import httpx",
        "from urllib import request",
        "from urllib.request import urlopen",
        "import http.client",
        "from http import client",
        "import importlib\nimportlib.import_module('httpx')",
    ],
)
def test_an_import_of_an_http_library_is_seen(source: str) -> None:
    assert libraries_of(source)


@pytest.mark.parametrize(
    "source", ["from http import HTTPStatus", "from urllib.parse import urlsplit"]
)
def test_what_calls_no_one_is_allowed(source: str) -> None:
    assert not libraries_of(source)


@one_worker
def test_one_module_calls_out_over_http() -> None:
    callers = {path for path in SOURCE.rglob("*.py") if libraries_of(path.read_text())}
    assert callers == {THE_ONE}

"""A temporary folder that PostgreSQL may enter: as root it runs as another user."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.flows.charging_site import Site, running_site
from tests.folders import server_folder


@pytest.fixture
def folder() -> Iterator[Path]:
    with server_folder("flow") as folder:
        yield folder


@pytest.fixture(scope="package")
async def site() -> AsyncIterator[Site]:
    """One stack for all modules whose stations and drivers are their own; to start it takes 5 s."""
    with server_folder("site") as folder:
        async with running_site(folder) as site:
            yield site

"""A temporary folder that PostgreSQL may enter: as root it runs as another user."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.folders import server_folder


@pytest.fixture
def folder() -> Iterator[Path]:
    with server_folder("flow") as folder:
        yield folder

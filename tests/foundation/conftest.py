"""Fixtures of the NATS tests: a server, longer bounds, and an address without a listener."""

import socket
from collections.abc import AsyncIterator, Iterator

import pytest

from evpower.devstack.nats import LocalNats
from evpower.foundation.bus import nats_link
from tests.foundation.nats_nodes import serving
from tests.waiting import WAIT_LIMIT_S


@pytest.fixture(scope="module")
async def nats_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LocalNats]:
    """One for the tests that leave it whole."""
    async with serving(LocalNats(tmp_path_factory.mktemp("nats"))) as server:
        yield server


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that does not answer for some seconds is not lost.

    What it did not say that it read is said again: heard twice, logged twice. A command
    tries once.
    """
    for bound in ("_CONNECT_S", "_OPEN_S", "_ROUND_TRIP_S"):
        monkeypatch.setattr(nats_link, bound, WAIT_LIMIT_S)


@pytest.fixture
def no_one() -> Iterator[str]:
    """Yields an address that is bound but never listened on."""
    with socket.socket() as keeper:
        keeper.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{keeper.getsockname()[1]}"

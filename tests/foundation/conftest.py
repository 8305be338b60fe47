"""Fixtures of the NATS tests: longer bounds, and an address without a listener."""

import socket
from collections.abc import Iterator

import pytest

from evpower.foundation.bus import nats_link
from tests.waiting import WAIT_LIMIT_S


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that does not answer for some seconds is not lost.

    What it did not say that it read is said again: heard twice, told twice in the log. A command
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

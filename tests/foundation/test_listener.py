"""What connections inherit from the socket that listens."""

import select
import socket
from collections.abc import Iterator
from contextlib import closing

import pytest

from evpower.foundation.listener import SEND_BUFFER_BYTES, listen
from tests.waiting import WAIT_LIMIT_S

ANSWER = b"x" * (2 * 1024 * 1024)


@pytest.fixture
def connected() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Ours, and that of a caller who reads nothing."""
    with closing(listen("127.0.0.1", 0)) as listener, closing(socket.socket()) as caller:
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        caller.connect(listener.getsockname())
        select.select([listener], [], [], WAIT_LIMIT_S)
        ours, _ = listener.accept()
        with closing(ours):
            ours.setblocking(False)
            yield ours, caller


def test_a_caller_who_reads_nothing_fills_little_memory(
    connected: tuple[socket.socket, socket.socket],
) -> None:
    ours, _ = connected
    accepted = 0
    while select.select([], [ours], [], 0.2)[1]:
        accepted += ours.send(ANSWER)
    assert accepted < 4 * SEND_BUFFER_BYTES


def test_a_large_answer_comes_whole(connected: tuple[socket.socket, socket.socket]) -> None:
    ours, caller = connected
    sent = received = 0
    while received < len(ANSWER):
        if sent < len(ANSWER) and select.select([], [ours], [], 0)[1]:
            sent += ours.send(ANSWER[sent:])
        assert select.select([caller], [], [], WAIT_LIMIT_S)[0]
        received += len(caller.recv(65536))
    assert received == len(ANSWER)

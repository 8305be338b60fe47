"""The quick way of whole text frames and the library's way of all others give the same messages."""

import os
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.protocol import State

from evpower.foundation.websocket import SocketProtocol

LARGEST = 1000


class _Transport:
    def __init__(self) -> None:
        self.is_over = False

    def is_closing(self) -> bool:
        return self.is_over

    def write(self, _: bytes) -> None: ...

    def close(self) -> None:
        self.is_over = True

    abort = close


class _Messages:
    """A receiver that keeps what it gets."""

    def __init__(self) -> None:
        self.texts: list[bytes] = []
        self.pongs = 0
        self.how: list[str] = []

    def received(self, message: bytes) -> None:
        self.texts.append(bytes(message))

    def ponged(self) -> None:
        self.pongs += 1

    def ended(self, how: str) -> None:
        self.how.append(how)


def reader() -> tuple[SocketProtocol, _Messages]:
    """A connection whose handshake is over."""
    from uvicorn import Config
    from uvicorn.server import ServerState

    config = Config(app=lambda: None, ws_max_size=LARGEST, ws_per_message_deflate=False)
    config.load()
    protocol = SocketProtocol(config, ServerState(), {}, cast("Any", _Loop()))
    protocol.transport = cast("Any", _Transport())
    protocol.handshake_initiated = protocol.handshake_complete = True
    protocol.conn.state = State.OPEN
    protocol.conn.parser = protocol.conn.parse()  # of frames, no more of a request
    next(protocol.conn.parser)
    messages = _Messages()
    protocol.deliver_to(messages)
    return protocol, messages


class _Loop:
    def time(self) -> float:
        return 0.0


def frame(opcode: Opcode, payload: bytes, *, fin: bool = True) -> bytes:
    return Frame(opcode, payload, fin=fin).serialize(mask=True)


def fragmented(payload: bytes, parts: int) -> bytes:
    size = max(1, len(payload) // parts)
    pieces = [payload[start : start + size] for start in range(0, len(payload), size)] or [b""]
    return b"".join(
        frame(Opcode.TEXT if number == 0 else Opcode.CONT, piece, fin=number == len(pieces) - 1)
        for number, piece in enumerate(pieces)
    )


_PAYLOADS = st.binary(max_size=300)
_FRAMES = st.one_of(
    st.tuples(st.just("text"), _PAYLOADS, st.just(1)),
    st.tuples(st.just("parts"), _PAYLOADS, st.integers(2, 5)),
    st.tuples(st.just("binary"), _PAYLOADS, st.just(1)),
    st.tuples(st.just("ping"), st.binary(max_size=20), st.just(1)),
    st.tuples(st.just("pong"), st.binary(max_size=20), st.just(1)),
)


@given(st.lists(_FRAMES, max_size=12), st.lists(st.integers(1, 400), min_size=1, max_size=30))
def test_messages_are_the_same_however_they_are_cut(
    sent: list[tuple[str, bytes, int]], cuts: list[int]
) -> None:
    protocol, messages = reader()
    data, texts, pongs = b"", [], 0
    for kind, payload, parts in sent:
        match kind:
            case "text":
                data += frame(Opcode.TEXT, payload)
                texts.append(payload)
            case "parts":
                data += fragmented(payload, parts)
                texts.append(payload)
            case "binary":
                data += frame(Opcode.BINARY, payload)
                texts.append(payload)
            case "ping":
                data += frame(Opcode.PING, payload)
            case _:
                data += frame(Opcode.PONG, payload)
                pongs += 1
    start, number = 0, 0
    while start < len(data):
        size = cuts[number % len(cuts)]
        protocol.data_received(data[start : start + size])
        start, number = start + size, number + 1
    assert messages.texts == texts
    assert messages.pongs == pongs
    assert messages.how == []


@pytest.mark.parametrize(
    ("data", "code"),
    [
        pytest.param(b"\x81\x00", 1002, id="no-mask"),
        pytest.param(b"\xc1\x80\0\0\0\0", 1002, id="reserved-bit"),
        pytest.param(b"\x83\x80\0\0\0\0", 1002, id="reserved-opcode"),
        pytest.param(b"\x89\xfe\x00\x80\0\0\0\0" + b"x" * 128, 1002, id="long-ping"),
        pytest.param(b"\x81\xfe\x03\xe9\0\0\0\0", 1009, id="too-large-by-one"),
        pytest.param(b"\x81\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0", 1009, id="huge"),
        pytest.param(frame(Opcode.CONT, b"x"), 1002, id="part-of-nothing"),
        pytest.param(
            frame(Opcode.TEXT, b"x", fin=False) + frame(Opcode.TEXT, b"y"), 1002, id="text-in-text"
        ),
        pytest.param(
            frame(Opcode.TEXT, b"x" * 600, fin=False) + frame(Opcode.CONT, b"y" * 600), 1009,
            id="too-large-in-parts",
        ),
    ],
)  # fmt: skip
@pytest.mark.parametrize("size", [1, 3, 10_000])
def test_a_violation_ends_the_connection(data: bytes, code: int, size: int) -> None:
    protocol, messages = reader()
    for start in range(0, len(data), size):
        protocol.data_received(data[start : start + size])
    assert protocol.conn.close_sent is not None
    assert protocol.conn.close_sent.code == code
    assert messages.how == ["protocol"]
    assert messages.texts == []


def test_a_message_of_the_largest_size_is_read() -> None:
    protocol, messages = reader()
    text = os.urandom(LARGEST)
    protocol.data_received(frame(Opcode.TEXT, text))
    assert messages.texts == [text]

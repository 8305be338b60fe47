"""One server on two addresses: HTTP and the sockets of stations, on both alike."""

import socket

import pytest
from pydantic import ValidationError

from evpower.bootstrap.server import _listen
from evpower.config import Settings


def settings(port: int, also: str) -> Settings:
    return Settings(_env_file=None, env="development", port=port, also_listen=also)


def free_ports(count: int) -> list[int]:
    opened = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [listener.getsockname()[1] for listener in opened]
    for listener in opened:
        listener.close()
    return ports


def test_every_address_is_listened_on() -> None:
    ports = free_ports(3)
    chosen = settings(ports[0], f"127.0.0.1:{ports[1]}, 127.0.0.1:{ports[2]}")
    listeners = _listen(chosen)
    try:
        assert [listener.getsockname()[1] for listener in listeners] == ports
    finally:
        for listener in listeners:
            listener.close()


def test_one_that_is_in_use_keeps_the_others_free(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as used:
        [port] = free_ports(1)
        in_use = used.getsockname()[1]
        assert _listen(settings(port, f"127.0.0.1:{in_use}")) == []
        assert f"127.0.0.1:{in_use} can't be used" in capsys.readouterr().err
        socket.create_server(("127.0.0.1", port)).close()


@pytest.mark.parametrize("also", ["9210", "127.0.0.1", ":9210", "host:0", "host:65536", "host:x"])
def test_what_is_no_address_is_refused(also: str) -> None:
    with pytest.raises(ValidationError, match="is no address"):
        settings(9210, also)


def test_an_ipv6_address_has_brackets() -> None:
    assert settings(9210, "[::1]:9210").further_addresses == [("::1", 9210)]

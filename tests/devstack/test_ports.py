"""A picked port is reserved until the process that picked it ends."""

import socket
import subprocess
import sys

import pytest

from evpower.devstack import ports


def test_no_port_is_picked_twice_in_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    few = range(ports._LOWEST, ports._LOWEST + 30)
    monkeypatch.setattr(ports, "_candidates", lambda: few)
    picked = [ports.free_port() for _ in range(5)]
    assert len(set(picked)) == 5
    assert set(picked) <= set(few)


def test_a_port_is_kept_from_other_processes_until_its_own_ends() -> None:
    if sys.platform != "linux":  # only Linux has the names that keep a port
        return
    picking = "from evpower.devstack import ports;print(ports.free_port(), flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", picking], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        port = int(other.stdout.readline())
        assert ports._is_free(port), "it is not bound yet"
        assert not ports._keep(port)
        other.communicate("\n")
    assert ports._keep(port)


def test_the_kernel_never_gives_a_picked_port_away() -> None:
    """As it does for a server on port 0 and for every outgoing connection."""
    if not ports._KERNEL_S_OWN.exists():  # only Linux says which ports it gives
        return
    first, last = map(int, ports._KERNEL_S_OWN.read_text().split())
    assert not first <= ports.free_port() <= last


def test_a_port_that_is_listened_on_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    free = ports.free_port()
    with socket.create_server((ports.LOOPBACK, 0)) as listener:
        port = listener.getsockname()[1]
        assert not ports._is_free(port)
        monkeypatch.setattr(ports, "_candidates", lambda: [port, free + 1, free + 2, free + 3])
        assert ports.free_port() != port

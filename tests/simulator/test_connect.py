"""What a station finds when it connects."""

import asyncio
import socket
from collections.abc import Callable

import pytest
from ocpp.v16 import call

from evpower.simulator import ConnectFailed, SimulatedStation, StationConfig
from tests.simulator.csms import running_csms
from tests.simulator.rig import running_rig
from tests.waiting import until


def closed_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


async def connect(url: str, password: str | None = None, open_timeout_s: float = 20) -> str:
    config = StationConfig("EV-1", url, password, open_timeout_s=open_timeout_s)
    with pytest.raises(ConnectFailed) as failed:
        await SimulatedStation(config).run(retries_first=False)
    assert str(failed.value)
    return failed.value.reason


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        (lambda: f"ws://127.0.0.1:{closed_port()}/ocpp", "refused"),
        (lambda: "ws://no-such-host.invalid/ocpp", "no_host"),
        (lambda: "http://127.0.0.1/ocpp", "url"),
        (lambda: "nonsense", "url"),
    ],
)
async def test_an_address_without_a_server_is_named(url: Callable[[], str], reason: str) -> None:
    assert await connect(url()) == reason


@pytest.mark.parametrize("password", [None, "wrong"])
async def test_a_wrong_password_is_named(password: str | None) -> None:
    async with running_csms(password="right") as csms:
        assert await connect(csms.url, password) == "unauthorized"


async def test_a_server_that_does_not_answer_is_named() -> None:
    async def answer_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        await writer.wait_closed()
        left.set()

    left = asyncio.Event()
    async with await asyncio.start_server(answer_nothing, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        assert await connect(f"ws://127.0.0.1:{port}", open_timeout_s=0.01) == "no_answer"
        await left.wait()


async def test_a_server_of_something_else_is_named() -> None:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH\r\n")
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        assert await connect(f"ws://127.0.0.1:{port}") == "handshake"


async def test_the_right_password_connects() -> None:
    async with running_rig(csms={"password": "right"}, password="right") as rig:
        assert rig.csms.count("BootNotification") == 1


async def test_a_changed_key_counts_from_the_next_connection_on() -> None:
    async with running_rig(csms={"password": "old"}, password="old") as rig:
        await rig.command(call.ChangeConfiguration("AuthorizationKey", "new"))
        rig.csms.password = "new"
        rig.station.reboot()
        await until(lambda: rig.csms.count("BootNotification") == 2)


async def test_the_back_off_grows_while_the_server_is_away() -> None:
    async with running_rig() as rig:
        assert rig.csms.server is not None
        rig.csms.server.close()
        await until(lambda: [event.name for event in rig.events].count("connection_lost") == 1)
        pauses_s: list[float] = []
        for failures in range(4):
            await until(
                lambda n=failures: [event.name for event in rig.events].count("connect_failed") == n
            )
            pauses_s.append(rig.clock.pauses_s[0])
            await rig.clock.advance(pauses_s[-1])
        for pause_s, middle_s in zip(pauses_s, (1, 2, 4, 8), strict=True):
            assert middle_s / 2 <= pause_s <= middle_s * 1.5

"""Whether an address is on the public internet, and that no stranger's call goes elsewhere."""

# pyright: reportPrivateUsage=false

import asyncio
import ssl
from pathlib import Path

import pytest

from evpower.foundation import http
from evpower.foundation.http import HttpClient, RequestNotSent
from evpower.foundation.public_address import NotPublic, is_public, public_address
from tests.faults.hostile_server import HostileServer, closes_after, whole
from tests.foundation.certificates import Authority
from tests.waiting import WAIT_LIMIT_S


@pytest.mark.parametrize(
    "text",
    ["8.8.8.8", "142.250.1.95", "2a00:1450:4010:c0f::5f", "::ffff:8.8.8.8", "64:ff9b::808:808"],
)
def test_public_addresses_are_known(text: str) -> None:
    assert is_public(text)


@pytest.mark.parametrize(
    "text",
    [
        "127.0.0.1", "0.1.2.3", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254",
        "100.64.0.1", "192.0.2.1", "198.18.0.1", "224.0.0.1", "255.255.255.255", "240.0.0.1",
        "::", "::1", "fe80::1", "fd00::1", "fc00::1", "ff02::1", "2001:db8::1",
        "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe",
        "2002:7f00:1::", "2002:a00:1::", "2001:0:7f00:1::1", "", "localhost", "8.8.8", "1",
    ],
)  # fmt: skip
def test_addresses_inside_of_networks_are_known(text: str) -> None:
    assert not is_public(text)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "::1", "2130706433"])
async def test_a_host_inside_of_a_network_has_no_public_address(host: str) -> None:
    with pytest.raises(NotPublic):
        await public_address(host, 443)


async def test_a_strangers_call_into_the_network_is_not_sent() -> None:
    connections: list[str] = []

    async def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append("a call")
        writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        async with HttpClient() as out:
            for host in ("localhost", "127.0.0.1", "[::ffff:127.0.0.1]"):
                with pytest.raises(RequestNotSent, match="not public"):
                    await out.fetch("push", "POST", f"http://{host}:{port}/x", timeout_s=5)
    finally:
        server.close()
    assert connections == []


async def test_a_name_that_is_never_resolved_ends_the_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def resolve(*_: object, **__: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve)
    async with HttpClient() as out, asyncio.timeout(WAIT_LIMIT_S):
        with pytest.raises(RequestNotSent, match=r"no connection in 0\.2 s"):
            await out.fetch("push", "POST", "https://push.example.kg/x", timeout_s=0.2)


async def test_the_address_that_was_looked_at_is_called_and_the_name_is_verified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority(tmp_path)
    looked_up: list[str] = []

    async def resolved(host: str, port: int) -> str:
        looked_up.append(f"{host}:{port}")
        return "127.0.0.1"

    monkeypatch.setattr(http, "public_address", resolved)
    context = authority.server_context("push.example.kg")
    async with (
        HostileServer(closes_after(whole(b"{}")), tls=context) as server,
        HttpClient() as out,
    ):
        out._tls = ssl.create_default_context(cafile=str(authority.file))
        port = server.url.rpartition(":")[2]
        url = f"https://push.example.kg:{port}/x"
        assert (await out.fetch("push", "POST", url, timeout_s=WAIT_LIMIT_S)).content == b"{}"
        with pytest.raises(RequestNotSent, match="CERTIFICATE_VERIFY_FAILED"):
            await out.fetch("push", "POST", url.replace("push", "other"), timeout_s=WAIT_LIMIT_S)
        assert server.requests == 1
    assert looked_up == [f"push.example.kg:{port}", f"other.example.kg:{port}"]

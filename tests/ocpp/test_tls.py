"""Security profile 2: TLS ends at a proxy in front of EvPower, and Basic goes through it."""

import asyncio
import ssl
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.foundation.certificates import Authority
from tests.ocpp import tls_proxy
from tests.ocpp.scenario import V16, Central, Station, basic
from tests.waiting import WAIT_LIMIT_S


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
async def proxy(central: Central, authority: Authority) -> AsyncIterator[str]:
    """The address of the proxy in front of `central`."""
    authority.server_context()
    [certificate] = authority.file.parent.glob("server-*.pem")
    process = await asyncio.create_subprocess_exec(
        sys.executable, tls_proxy.__file__, str(certificate), "127.0.0.1", str(central.port),
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    async with asyncio.timeout(WAIT_LIMIT_S):
        port = int(await process.stdout.readline())
    yield f"wss://127.0.0.1:{port}/ocpp/EVP-001"
    process.terminate()
    await process.wait()


async def test_a_station_is_served_over_tls(
    central: Central, proxy: str, authority: Authority
) -> None:
    password = await central.add()
    context = ssl.create_default_context(cafile=authority.file)
    headers = {"Authorization": basic("EVP-001", password or "")}
    async with connect(
        proxy, ssl=context, subprotocols=[V16], additional_headers=headers, compression=None
    ) as wire:
        assert (await Station(wire).boot())["status"] == "Accepted"


async def test_tls_alone_is_no_password(central: Central, proxy: str, authority: Authority) -> None:
    await central.add()
    context = ssl.create_default_context(cafile=authority.file)
    with pytest.raises(InvalidStatus, match="401"):
        async with connect(proxy, ssl=context, subprotocols=[V16]):
            pass

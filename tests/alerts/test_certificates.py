"""Certificates near their end, read from a TLS server on a socket."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from evpower.alerts import list_alerts
from evpower.alerts.certificates import TlsHost, read_end, read_tls_hosts, watch_certificates
from evpower.foundation.db import Database
from tests.faults.hostile_server import GIB
from tests.faults.tcp_proxy import TcpProxy
from tests.foundation.certificates import Authority
from tests.waiting import WAIT_LIMIT_S, until


@contextlib.asynccontextmanager
async def listening(tls: ssl.SSLContext | None) -> AsyncGenerator[TlsHost]:
    """A server that says nothing, and hangs up when its caller does."""
    open_now: set[asyncio.StreamWriter] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_now.add(writer)
        with contextlib.suppress(OSError):
            await reader.read()
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        open_now.discard(writer)

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=tls)
    try:
        yield ("127.0.0.1", server.sockets[0].getsockname()[1])
    finally:
        server.close()
        await until(lambda: not open_now)


def serving(tmp_path: Path, days: float) -> contextlib.AbstractAsyncContextManager[TlsHost]:
    """Serves with a certificate that ends in so many days."""
    return listening(Authority(tmp_path).server_context(days=days))


async def watched(db: Database, *hosts: TlsHost, now: datetime | None = None) -> list[str]:
    at = now or datetime.now(UTC)
    await watch_certificates(db, hosts, lambda: at, total_s=WAIT_LIMIT_S)
    async with db.connection() as connection:
        return sorted(alert.kind for alert in await list_alerts(connection))


@pytest.mark.parametrize(
    ("days", "kinds"),
    [
        (22, []),
        (20, ["certificate_expiring"]),
        (2, ["certificate_ending", "certificate_expiring"]),
        (-2, ["certificate_ending", "certificate_expiring"]),
    ],
)
async def test_alerts_by_the_days_that_are_left(
    db: Database, tmp_path: Path, days: float, kinds: list[str]
) -> None:
    async with serving(tmp_path, days) as host:
        assert await watched(db, host) == kinds


async def test_a_renewed_certificate_closes_them(db: Database, tmp_path: Path) -> None:
    async with serving(tmp_path, 30) as host:
        later = datetime.now(UTC) + timedelta(days=29)
        assert await watched(db, host, now=later) == ["certificate_ending", "certificate_expiring"]
        assert await watched(db, host) == []


async def test_a_host_that_does_not_answer_leaves_them_as_they_are(
    db: Database, tmp_path: Path
) -> None:
    async with serving(tmp_path, 2) as host:
        both = await watched(db, host)
    assert await watched(db, host) == both
    assert await watched(db) == []  # it is watched no more


async def test_a_host_that_is_silent_is_given_up() -> None:
    async with listening(None) as host:
        with pytest.raises(TimeoutError):
            await read_end(host, total_s=0.3)


async def test_a_host_that_is_slow_or_hangs_up_at_any_byte_is_given_up(tmp_path: Path) -> None:
    async with serving(tmp_path, 30) as host, TcpProxy(*host) as proxy:
        through = ("127.0.0.1", proxy.port)
        for after in range(0, 500, 20):  # of its handshake
            proxy.hang_up(after)
            with pytest.raises(OSError):
                await read_end(through, total_s=WAIT_LIMIT_S)
        proxy.pass_again()
        assert await read_end(through, total_s=WAIT_LIMIT_S) > datetime.now(UTC)
        proxy.slow_bytes()
        with pytest.raises(TimeoutError):
            await read_end(through, total_s=0.3)


async def test_a_handshake_of_1_gb_is_not_read() -> None:
    record = b"\x16\x03\x03\x40\x00" + b"\x02\xff\xff\xff" + bytes(16_380)
    written: list[int] = []

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            for number in range(GIB // len(record)):
                writer.write(record)
                await writer.drain()
                written.append(number)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, asyncio.timeout(WAIT_LIMIT_S):
        with pytest.raises(ssl.SSLError):
            await read_end(("127.0.0.1", server.sockets[0].getsockname()[1]), total_s=WAIT_LIMIT_S)
    assert len(written) * len(record) < GIB // 16


def test_hosts_are_read() -> None:
    assert read_tls_hosts("") == []
    assert read_tls_hosts("ocpp.example.kg, api.example.kg:8443") == [
        ("ocpp.example.kg", 443), ("api.example.kg", 8443),
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["a:0", "a:b", ":443", "a:99999", "a:1²"])
def test_other_hosts_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no host"):
        read_tls_hosts(text)

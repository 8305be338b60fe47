"""The bus signs in at a real NATS server: credentials, rights, TLS."""

import asyncio
import datetime as dt
import ipaddress
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from structlog.testing import capture_logs

from evpower.devstack.nats import LocalNats
from evpower.foundation.bus.nats_bus import reach
from evpower.identity import CLIENT_CHANGED
from tests.foundation.nats_nodes import nodes, serving
from tests.waiting import until


@pytest.mark.usefixtures("patient")
class TestRights:
    async def test_wrong_credentials_keep_it_away_and_are_never_told(self, tmp_path: Path) -> None:
        async with serving(LocalNats(tmp_path, user="evpower", password="right")) as server:
            url = f"nats://evpower:wr0ng-secret@127.0.0.1:{server.port}"
            with capture_logs() as logs:
                async with nodes(url, connected=False) as (here,):
                    await until(lambda: bool(logs), "nothing was logged")
                    assert not await here.bus.wait_connected(0.3)
            [line] = [line for line in logs if line["event"] == "bus_disconnected"]
            assert line["reason"]
            assert "wr0ng-secret" not in str(logs)

            async def says_why() -> bool:
                """The server hangs up behind its answer: a slow reader may find the end alone."""
                [(_, trouble)] = await reach(url)
                return "authorization" in trouble.lower()

            await until(says_why)

    async def test_credentials_of_the_url_are_percent_decoded(self, tmp_path: Path) -> None:
        async with (
            serving(LocalNats(tmp_path, user="ev", password="p@ss:w/rd%")) as server,
            nodes(f"nats://ev:p%40ss%3Aw%2Frd%25@127.0.0.1:{server.port}", server.url) as (here, _),
        ):
            assert here.bus.connected

    async def test_a_token_alone_signs_in(self, tmp_path: Path) -> None:
        settings = {"authorization": {"token": "t0ken"}}
        async with (
            serving(LocalNats(tmp_path, settings=settings)) as server,
            nodes(f"nats://t0ken@127.0.0.1:{server.port}") as (here,),
        ):
            assert here.bus.connected

    @pytest.mark.parametrize("right", ["subscribe", "publish"])
    async def test_a_missing_right_shows_as_not_connected(self, tmp_path: Path, right: str) -> None:
        user = {"user": "ev", "password": "pw", "permissions": {right: {"deny": ["evpower.>"]}}}
        settings = {"authorization": {"users": [user]}}
        async with serving(LocalNats(tmp_path, settings=settings)) as server:
            with capture_logs() as logs:
                async with nodes(f"nats://ev:pw@127.0.0.1:{server.port}", connected=False) as (
                    here,
                ):
                    await until(lambda: bool(logs), "nothing was logged")
                    assert not here.bus.connected
            [line] = [line for line in logs if line["event"] == "bus_disconnected"]
            assert "permissions violation" in line["reason"].lower()


class TestTls:
    @pytest.mark.usefixtures("patient")
    async def test_tls_with_an_authority_of_ones_own(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        certificate, key = make_certificate(tmp_path)
        async with serving(LocalNats(tmp_path, tls=(certificate, key))) as server:
            async with nodes(server.url, connected=False) as (here,):
                assert not await here.bus.wait_connected(0.5), "an unknown authority was trusted"
            monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
            async with nodes(server.url, server.url) as (here, there):
                here.bus.publish(CLIENT_CHANGED, key_of := uuid4())
                await there.has_heard((CLIENT_CHANGED, key_of))

    async def test_no_credentials_go_to_a_server_that_offers_no_tls(self) -> None:
        received = bytearray()
        closed = asyncio.Event()

        async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b'INFO {"auth_required":true,"max_payload":1048576}\r\n')
            with suppress(ConnectionError):
                while chunk := await reader.read(1000):
                    received.extend(chunk)
            writer.close()
            closed.set()

        server = await asyncio.start_server(plain, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        with capture_logs() as logs:
            async with nodes(f"tls://ev:secret@127.0.0.1:{port}", connected=False):
                await until(lambda: bool(logs), "nothing was logged")
                await until(closed.is_set, "it did not hang up")
        server.close()
        await server.wait_closed()
        assert not received
        assert "no TLS" in logs[0]["reason"]


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1 and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "evpower test")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    files = folder / "certificate.pem", folder / "key.pem"
    files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return files

"""Signing in at a real NATS server with an nkey, with a credentials file, and with TLS."""

import asyncio
import base64
import binascii
import datetime as dt
import hashlib
import ipaddress
import json
import os
import secrets
import signal
import time
from pathlib import Path
from uuid import uuid4

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from structlog.testing import capture_logs

from evpower.devstack.nats import LocalNats
from evpower.foundation.bus.nats_bus import announce, reach
from evpower.foundation.bus.nats_keys import NatsFiles, NatsKey
from evpower.identity import CLIENT_CHANGED
from tests.foundation.nats_nodes import Node, serving
from tests.waiting import WAIT_LIMIT_S, freeze, until

_PREFIX = {"operator": 14 << 3, "account": 0, "user": 20 << 3}


class Pair:
    """An nkey as `nsc` and `nk` make them, written by the book of nkeys and not by our reader."""

    def __init__(self, kind: str) -> None:
        prefix = _PREFIX[kind]
        seed = secrets.token_bytes(32)
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.seed = _text(bytes([144 | prefix >> 5, (prefix & 31) << 3]) + seed)
        self.public = _text(bytes([prefix]) + self._key.public_key().public_bytes_raw())

    def sign_claims(self, subject: "Pair", name: str, kind: str) -> str:
        """A JWT of NATS: what this one says about another."""
        claims: dict[str, object] = {
            "iat": int(time.time()), "iss": self.public, "sub": subject.public, "name": name,
            "nats": {"type": kind, "version": 2, **_LIMITS[kind]},
        }  # fmt: skip
        claims["jti"] = _text(hashlib.sha256(json.dumps(claims).encode()).digest())
        signed = f"{_part({'typ': 'JWT', 'alg': 'ed25519-nkey'})}.{_part(claims)}"
        return f"{signed}.{_url(self._key.sign(signed.encode()))}"


_NO_LIMITS = {"subs": -1, "data": -1, "payload": -1}
_LIMITS: dict[str, dict[str, object]] = {
    "operator": {},
    "account": {
        "limits": {
            **_NO_LIMITS, "imports": -1, "exports": -1, "wildcards": True, "conn": -1, "leaf": -1
        }
    },
    "user": {"pub": {"allow": ["evpower.>"]}, "sub": {"allow": ["evpower.>"]}, **_NO_LIMITS},
}  # fmt: skip


def _text(raw: bytes) -> str:
    checksum = binascii.crc_hqx(raw, 0).to_bytes(2, "little")
    return base64.b32encode(raw + checksum).decode().rstrip("=")


def _url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _part(content: object) -> str:
    return _url(json.dumps(content).encode())


def _creds(jwt: str, seed: str) -> str:
    """As `nsc generate creds` writes it."""
    return (
        f"-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n"
        "************************* IMPORTANT *************************\n"
        "NKEY Seed printed below can be used to sign and prove identity.\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n\n"
        "*************************************************************\n"
    )


def _written(folder: Path, name: str, text: str) -> str:
    path = folder / name
    path.write_text(text)
    return str(path)


async def _speaks(url: str, files: NatsFiles) -> None:
    """Two nodes with these files hear each other, and so does a command."""
    here, there = Node(url, files=files), Node(url, files=files)
    try:
        for node in (here, there):
            await node.bus.start()
        for node in (here, there):
            assert await node.bus.wait_connected(WAIT_LIMIT_S)
        here.bus.publish(CLIENT_CHANGED, first := uuid4())
        second = uuid4()
        assert (
            await announce(url, [(CLIENT_CHANGED, second)], files=files, within_s=WAIT_LIMIT_S)
            == ""
        )
        await there.has_heard((CLIENT_CHANGED, first), (CLIENT_CHANGED, second))
        assert [trouble for _, trouble in await reach(url, files=files)] == [""]
    finally:
        await asyncio.gather(here.bus.close(), there.bus.close())


async def _is_refused(url: str, files: NatsFiles, *, saying: str) -> None:
    node = Node(url, files=files)
    with capture_logs() as logs:
        await node.bus.start()
        try:
            await until(lambda: bool(logs), "nothing was logged")
            assert not node.bus.connected
        finally:
            await node.bus.close()
    assert logs[0]["reason"]

    async def says_why() -> bool:
        """The server hangs up behind its answer: a slow reader may find the end alone."""
        [(_, trouble)] = await reach(url, files=files)
        return saying in trouble.lower()

    await until(says_why, f"never said {saying}")


@pytest.mark.usefixtures("patient")
async def test_an_nkey_signs_in(tmp_path: Path) -> None:
    ours, other = Pair("user"), Pair("user")
    good = NatsFiles(nkey=_written(tmp_path, "good.nk", f"{ours.seed}\n"))
    bad = NatsFiles(nkey=_written(tmp_path, "bad.nk", other.seed))
    settings = {"authorization": {"users": [{"nkey": ours.public}]}}
    async with serving(LocalNats(tmp_path, settings=settings)) as server:
        await _speaks(server.url, good)
        await _is_refused(server.url, bad, saying="authorization")
        await _is_refused(server.url, NatsFiles(), saying="authorization")


@pytest.mark.usefixtures("patient")
async def test_a_credentials_file_signs_in(tmp_path: Path) -> None:
    operator, account, user, stranger = (
        Pair("operator"), Pair("account"), Pair("user"), Pair("user")
    )  # fmt: skip
    jwt = account.sign_claims(user, "evpower", "user")
    settings = {
        "operator": operator.sign_claims(operator, "tests", "operator"),
        "resolver": "MEMORY",
        "resolver_preload": {account.public: operator.sign_claims(account, "app", "account")},
    }
    good = NatsFiles(creds=_written(tmp_path, "good.creds", _creds(jwt, user.seed)))
    bad = NatsFiles(creds=_written(tmp_path, "bad.creds", _creds(jwt, stranger.seed)))
    async with serving(LocalNats(tmp_path, settings=settings)) as server:
        await _speaks(server.url, good)
        await _is_refused(server.url, bad, saying="authorization")


async def test_a_new_file_counts_at_the_next_connection(tmp_path: Path) -> None:
    ours, other = Pair("user"), Pair("user")
    path = Path(_written(tmp_path, "user.nk", other.seed))
    settings = {"authorization": {"users": [{"nkey": ours.public}]}}
    async with serving(LocalNats(tmp_path, settings=settings)) as server:
        node = Node(server.url, files=NatsFiles(nkey=str(path)))
        with capture_logs() as logs:
            await node.bus.start()
            try:
                await until(lambda: bool(logs), "nothing was logged")
                path.write_text(ours.seed)
                assert await node.bus.wait_connected(WAIT_LIMIT_S)
                path.unlink()
                server.kill()
                await until(lambda: not node.bus.connected, "the loss was not noticed")
                await server.start()
                assert not await node.bus.wait_connected(0.3), "the file is gone"
                path.write_text(ours.seed)
                assert await node.bus.wait_connected(WAIT_LIMIT_S)
            finally:
                await node.bus.close()
        assert ours.seed not in str(logs)
        assert other.seed not in str(logs)


@pytest.mark.usefixtures("patient")
async def test_tls_with_an_authority_of_ones_own(tmp_path: Path) -> None:
    ca, certificate, key = make_authority(tmp_path)
    elsewhere, _, _ = make_authority(tmp_path / "elsewhere")
    async with serving(LocalNats(tmp_path, tls=(certificate, key))) as server:
        await _speaks(server.url, NatsFiles(ca=str(ca)))
        await _is_refused(server.url, NatsFiles(), saying="certificate")
        await _is_refused(server.url, NatsFiles(ca=str(elsewhere)), saying="certificate")
        by_name = server.url.replace("127.0.0.1", "localhost")
        await _is_refused(by_name, NatsFiles(ca=str(ca)), saying="certificate")


@pytest.mark.usefixtures("patient")
async def test_tls_an_nkey_and_a_server_that_is_gone(tmp_path: Path, no_one: str) -> None:
    ours = Pair("user")
    ca, certificate, key = make_authority(tmp_path)
    files = NatsFiles(nkey=_written(tmp_path, "user.nk", ours.seed), ca=str(ca))
    settings = {"authorization": {"users": [{"nkey": ours.public}]}}
    async with serving(LocalNats(tmp_path, tls=(certificate, key), settings=settings)) as server:
        url = f"tls://{no_one}, {server.url}"
        node = Node(url, files=files)
        await node.bus.start()
        try:
            assert await node.bus.wait_connected(WAIT_LIMIT_S)
        finally:
            await node.bus.close()
        assert (
            await announce(url, [(CLIENT_CHANGED, uuid4())], files=files, within_s=WAIT_LIMIT_S)
            == ""
        )
        (_, first), (_, second) = await reach(url, files=files)
        assert first
        assert not second


@pytest.mark.usefixtures("patient")
async def test_an_unresponsive_server_delays_no_command(tmp_path: Path) -> None:
    """It takes connections and says nothing; the other one works."""
    async with (
        serving(LocalNats(tmp_path / "a")) as unresponsive,
        serving(LocalNats(tmp_path / "b")) as ok,
    ):
        node = Node(ok.url)
        await node.bus.start()
        await freeze(unresponsive.pid)
        try:
            assert await node.bus.wait_connected(WAIT_LIMIT_S)
            key = uuid4()
            urls = f"{unresponsive.url},{ok.url}"
            assert await announce(urls, [(CLIENT_CHANGED, key)], within_s=WAIT_LIMIT_S) == ""
            await node.has_heard((CLIENT_CHANGED, key))
            assert await announce(unresponsive.url, [(CLIENT_CHANGED, key)]) == "no answer in time"
        finally:
            os.kill(unresponsive.pid, signal.SIGCONT)
            await node.bus.close()


class TestFiles:
    """What a file may hold; what is wrong with it is said without a word of it."""

    @pytest.mark.parametrize("around", ["{}", "{}\n", "\n  {}  \r\n"])
    def test_a_seed_alone(self, tmp_path: Path, around: str) -> None:
        pair = Pair("user")
        key = NatsFiles(nkey=_written(tmp_path, "seed", around.format(pair.seed))).key()
        assert key is not None
        assert (key.public, key.jwt) == (pair.public, "")

    @pytest.mark.parametrize("end", ["\n", "\r\n"])
    def test_a_credentials_file(self, tmp_path: Path, end: str) -> None:
        pair = Pair("user")
        path = tmp_path / "user.creds"
        path.write_bytes(_creds("a.b.c", pair.seed).replace("\n", end).encode())
        key = NatsFiles(creds=str(path)).key()
        assert isinstance(key, NatsKey)
        assert (key.public, key.jwt) == (pair.public, "a.b.c")

    @pytest.mark.parametrize("kind", ["account", "operator"])
    def test_the_seed_of_another_kind(self, tmp_path: Path, kind: str) -> None:
        files = NatsFiles(nkey=_written(tmp_path, "seed", Pair(kind).seed))
        with pytest.raises(ValueError, match="no seed of a NATS user"):
            files.check()

    @pytest.mark.parametrize(
        "text", ["", "s3cret", "SU" + "s3cret" * 10, "\x00" * 58, "жетон"], ids=repr
    )
    @pytest.mark.parametrize("field", ["creds", "nkey", "ca"])
    def test_nonsense_is_not_quoted(self, tmp_path: Path, field: str, text: str) -> None:
        files = NatsFiles(**{field: _written(tmp_path, "file", text)})
        with pytest.raises(ValueError) as refused:
            files.check()
        assert "file" in str(refused.value)
        assert "s3cret" not in str(refused.value)

    def test_one_letter_wrong(self, tmp_path: Path) -> None:
        seed = Pair("user").seed
        wrong = seed[:20] + ("A" if seed[20] != "A" else "B") + seed[21:]
        with pytest.raises(ValueError, match="no seed"):
            NatsFiles(nkey=_written(tmp_path, "seed", wrong)).check()

    @pytest.mark.parametrize("field", ["creds", "nkey", "ca"])
    def test_a_file_that_is_not_there(self, tmp_path: Path, field: str) -> None:
        with pytest.raises(ValueError, match="can't be read: No such file"):
            Node("nats://127.0.0.1:1", files=NatsFiles(**{field: str(tmp_path / "gone")}))

    def test_both_kinds_of_key(self, tmp_path: Path) -> None:
        path = _written(tmp_path, "seed", Pair("user").seed)
        with pytest.raises(ValueError, match="not both"):
            NatsFiles(creds=path, nkey=path).check()


def make_authority(folder: Path) -> tuple[Path, Path, Path]:
    """A certificate authority, and a server's certificate for 127.0.0.1 that it signed."""
    folder.mkdir(exist_ok=True)
    ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    ca_name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, f"ca of {folder.name}")])
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a NATS server")])
    now = dt.datetime.now(dt.UTC)

    def certificate(of: x509.Name, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(of)
            .issuer_name(ca_name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=1))
        )

    is_ca = x509.BasicConstraints(ca=True, path_length=0)
    ca = certificate(ca_name, ca_key.public_key()).add_extension(is_ca, critical=True)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    server = certificate(name, key.public_key()).add_extension(address, critical=False)
    paths = folder / "ca.pem", folder / "server.pem", folder / "server.key"
    for path, made in zip(paths, (ca, server), strict=False):
        signed = made.sign(ca_key, hashes.SHA256())
        path.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    paths[2].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return paths

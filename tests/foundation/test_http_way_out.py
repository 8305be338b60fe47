"""An authority of one's own for Supabase, and a proxy: the way out of a closed network."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from evpower.bootstrap.modules import assemble
from evpower.cli.doctor import examine
from evpower.config import Settings
from evpower.devstack.ports import free_port
from evpower.foundation.http import HttpClient, OutcomeUnknown, RequestNotSent, Target
from tests.faults.connect_proxy import ConnectProxy
from tests.faults.hostile_server import HostileServer, closes_after, hangs_after, whole
from tests.foundation.certificates import Authority
from tests.waiting import WAIT_LIMIT_S

RIGHT = closes_after(whole(b"{}"))
SUPABASE: list[Target] = ["supabase_rest", "supabase_auth", "supabase_keys"]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


async def ask(http: HttpClient, url: str, target: Target = "supabase_rest") -> bytes:
    async with http:
        return (await http.fetch(target, "GET", url, timeout_s=WAIT_LIMIT_S)).content


@pytest.mark.parametrize("target", SUPABASE)
async def test_supabase_is_trusted_by_its_own_authority(
    target: Target, authority: Authority
) -> None:
    async with HostileServer(RIGHT, tls=authority.server_context()) as server:
        assert await ask(HttpClient(supabase_ca=str(authority.file)), server.url, target) == b"{}"
        with pytest.raises(RequestNotSent, match="CERTIFICATE_VERIFY_FAILED"):
            await ask(HttpClient(), server.url, target)
        assert server.requests == 1


async def test_no_other_authority_is_trusted_then(authority: Authority, tmp_path: Path) -> None:
    other = Authority(tmp_path, "other")
    async with HostileServer(RIGHT, tls=other.server_context()) as server:
        with pytest.raises(RequestNotSent, match="CERTIFICATE_VERIFY_FAILED"):
            await ask(HttpClient(supabase_ca=str(authority.file)), server.url)


async def test_a_certificate_for_another_name_is_refused(authority: Authority) -> None:
    context = authority.server_context("supabase.example.kg")
    async with HostileServer(RIGHT, tls=context) as server:
        with pytest.raises(RequestNotSent, match="CERTIFICATE_VERIFY_FAILED"):
            await ask(HttpClient(supabase_ca=str(authority.file)), server.url)


async def test_the_bank_is_not_trusted_by_supabase_s_authority(authority: Authority) -> None:
    async with HostileServer(RIGHT, tls=authority.server_context()) as server:
        with pytest.raises(RequestNotSent, match="CERTIFICATE_VERIFY_FAILED"):
            await ask(HttpClient(supabase_ca=str(authority.file)), server.url, "payment_provider")


@pytest.mark.parametrize("password", ["", "p@ss:w/rd"])
@pytest.mark.parametrize("target", [*SUPABASE, "payment_provider"])
async def test_calls_go_through_the_proxy(
    target: Target, password: str, authority: Authority
) -> None:
    user, signed_in = ("ev", "ev:p%40ss%3Aw%2Frd@") if password else ("", "")
    async with (
        ConnectProxy(user=user, password=password) as proxy,
        HostileServer(RIGHT, tls=authority.server_context()) as safe,
        HostileServer(RIGHT) as plain,
    ):
        way = f"http://{signed_in}{proxy.address}"

        def http() -> HttpClient:
            return HttpClient(supabase_ca=str(authority.file), proxy=way)

        assert await ask(http(), plain.url, target) == b"{}"
        if target != "payment_provider":
            assert await ask(http(), safe.url, target) == b"{}"
            assert proxy.requests[1] == f"CONNECT {safe.url.removeprefix('https://')}"
        assert proxy.requests[0] == f"GET {plain.url}/"


async def test_the_devstack_needs_no_proxy() -> None:
    async with ConnectProxy() as proxy, HostileServer(RIGHT) as server:
        assert await ask(HttpClient(proxy=f"http://{proxy.address}"), server.url, "devstack")
        assert proxy.requests == []


async def test_a_proxy_that_refuses_has_sent_nothing(authority: Authority) -> None:
    async with (
        ConnectProxy(user="ev", password="secret") as proxy,
        HostileServer(RIGHT, tls=authority.server_context()) as server,
    ):
        http = HttpClient(supabase_ca=str(authority.file), proxy=f"http://ev:no@{proxy.address}")
        with pytest.raises(RequestNotSent, match="407"):
            await ask(http, server.url)
        assert server.requests == 0


async def test_a_proxy_that_is_away_or_hangs_has_sent_nothing() -> None:
    url = "https://127.0.0.1:1/"
    with pytest.raises(RequestNotSent):
        await ask(HttpClient(proxy=f"http://127.0.0.1:{free_port()}"), url)
    async with ConnectProxy() as proxy, HttpClient(proxy=f"http://{proxy.address}") as http:
        proxy.hangs = True
        with pytest.raises(RequestNotSent, match="no connection"):
            await http.fetch("supabase_rest", "GET", url, timeout_s=1.0)
        assert proxy.requests == ["CONNECT 127.0.0.1:1"]


async def test_a_request_that_passed_the_proxy_may_have_been_done(authority: Authority) -> None:
    context = authority.server_context()
    async with (
        ConnectProxy() as proxy,
        HostileServer(hangs_after(b""), tls=context) as server,
        HttpClient(supabase_ca=str(authority.file), proxy=f"http://{proxy.address}") as http,
    ):
        with pytest.raises(OutcomeUnknown):
            await http.fetch("supabase_rest", "GET", server.url, timeout_s=3.0)
        assert server.requests == 1


def bad_file(tmp_path: Path, text: str | None) -> str:
    path = tmp_path / "ca.pem"
    if text is not None:
        path.write_text(text)
    return str(path)


BAD_FILES = {
    "missing": None,
    "empty": "",
    "no certificate": "hello",
    "cut": "-----BEGIN CERTIFICATE-----\nMIIB\n",
}
BAD_PROXIES = ["proxy:3128", "socks5://secret@a:1", "http://", "http://a:b", "http://a/path", "x"]


@pytest.mark.parametrize("kind", BAD_FILES)
async def test_a_bad_file_is_named_at_the_start_and_by_doctor(kind: str, tmp_path: Path) -> None:
    path = bad_file(tmp_path, BAD_FILES[kind])
    settings = Settings(
        _env_file=None,  # pyright: ignore[reportCallIssue]
        supabase_url="https://127.0.0.1:1",
        supabase_ca=path,
    )
    with pytest.raises(ValueError, match="EVPOWER_SUPABASE_CA"):
        assemble(settings)
    findings = {finding.name: finding for finding in await examine(settings)}
    assert findings["outgoing HTTP"].ok is False
    assert path in findings["outgoing HTTP"].detail


@pytest.mark.parametrize("proxy", BAD_PROXIES)
async def test_a_proxy_that_is_none_is_refused_and_never_quoted(proxy: str) -> None:
    with pytest.raises(ValueError, match="EVPOWER_HTTP_PROXY") as caught:
        HttpClient(proxy=proxy)
    assert "secret" not in str(caught.value)


async def test_doctor_names_an_authority_that_is_not_trusted(authority: Authority) -> None:
    async with HostileServer(RIGHT, tls=authority.server_context()) as server:
        settings = Settings(
            _env_file=None,  # pyright: ignore[reportCallIssue]
            supabase_url=server.url,
        )
        findings = {finding.name: finding for finding in await examine(settings)}
        assert "EVPOWER_SUPABASE_CA" in findings["Supabase address"].fix


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("fault", ["is away", "refuses"])
async def test_doctor_names_the_proxy_that_lets_nothing_through(fault: str, scheme: str) -> None:
    async with ConnectProxy(user="ev", password="secret") as proxy:
        address = proxy.address if fault == "refuses" else f"127.0.0.1:{free_port()}"
        settings = Settings(
            _env_file=None,  # pyright: ignore[reportCallIssue]
            supabase_url=f"{scheme}://project.supabase.invalid",
            http_proxy=SecretStr(f"http://ev:wrong@{address}"),
        )
        findings = {finding.name: finding for finding in await examine(settings)}
    assert findings["Supabase address"].ok is False
    assert "check EVPOWER_HTTP_PROXY" in findings["Supabase address"].fix
    assert "wrong" not in findings["Supabase address"].detail + findings["Supabase address"].fix


async def test_doctor_asks_nothing_of_an_address_that_is_one_service_of_the_project() -> None:
    async with HostileServer(RIGHT) as server:
        settings = Settings(
            _env_file=None,  # pyright: ignore[reportCallIssue]
            supabase_url=f"{server.url}/rest/v1",
        )
        findings = {finding.name: finding for finding in await examine(settings)}
        assert server.requests == 0
    assert "EVPOWER_SUPABASE_URL must be the project's address" in findings["settings"].detail
    assert findings["Supabase address"].ok is None

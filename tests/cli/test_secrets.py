"""No output of a command quotes a secret, however badly it was pasted."""

import threading
import traceback
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from evpower.config import Settings, problems
from evpower.foundation.db import Database, UnreadableAddress, connect
from evpower.foundation.errors import Unavailable
from evpower.foundation.http import HttpClient, RequestNotSent
from tests.cli.test_commands import GOOD, evpower

SECRET = "xK9secretxK9"


class _Anything(BaseHTTPRequestHandler):
    """Answers 200 and an empty object to whatever is asked."""

    def handle_one_request(self) -> None:
        if self.rfile.readline():
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        self.close_connection = True


@contextmanager
def http_server() -> Generator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Anything)
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        serving.join()
        server.server_close()


UNREADABLE = [
    f"postgres://evpower:aB?{SECRET}@127.0.0.1:1/evpower",
    f"postgres://evpower:{SECRET}/aB@127.0.0.1:1/evpower",
    f"postgres://evpower:{SECRET}#aB@127.0.0.1:1/evpower",
    f"postgres://evpower:[{SECRET}@127.0.0.1:1/evpower",
    f"{SECRET}://evpower@127.0.0.1:1/evpower",
]


@pytest.mark.parametrize(
    ("dsn", "words"),
    [
        (UNREADABLE[0], ("doctor", "--read-only")),
        (UNREADABLE[1], ("doctor", "--read-only")),
        (UNREADABLE[4], ("doctor", "--read-only")),
        (UNREADABLE[1], ("migrate",)),
        (UNREADABLE[0], ("sync", "status")),
        (UNREADABLE[2], ("sync", "pull")),
    ],
)
def test_a_database_url_that_can_not_be_read_is_not_quoted(
    tmp_path: Path, dsn: str, words: tuple[str, ...]
) -> None:
    done = evpower(tmp_path, *words, env={**GOOD, "EVPOWER_DATABASE_URL": dsn})
    assert done.returncode == 1
    assert SECRET not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert "EVPOWER_DATABASE_URL" in done.stdout + done.stderr


@pytest.mark.parametrize("dsn", UNREADABLE)
async def test_a_connection_does_not_quote_its_address(dsn: str) -> None:
    with pytest.raises(UnreadableAddress) as raised:
        async with connect(dsn, timeout_s=5, command_timeout_s=5):
            pass
    assert SECRET not in "".join(traceback.format_exception(raised.value))


@pytest.mark.parametrize("dsn", UNREADABLE)
async def test_a_pool_does_not_quote_its_address(dsn: str) -> None:
    database = Database(dsn)
    await database.start()
    with pytest.raises(Unavailable) as raised:
        async with database.connection():
            pass
    await database.close()
    assert SECRET not in "".join(traceback.format_exception(raised.value))
    assert "EVPOWER_DATABASE_URL" in raised.value.for_operators


@pytest.mark.parametrize("words", [("doctor", "--read-only"), ("serve",)])
@pytest.mark.parametrize("key", [f"{SECRET}\n{SECRET}", f"{SECRET}é"])
def test_a_key_that_no_header_carries_is_refused_and_not_quoted(
    tmp_path: Path, key: str, words: tuple[str, ...]
) -> None:
    with http_server() as url:
        env = {**GOOD, "EVPOWER_ENV": "development", "EVPOWER_SUPABASE_URL": url}
        done = evpower(tmp_path, *words, env={**env, "EVPOWER_SUPABASE_SECRET_KEY": key})
    assert done.returncode == 1
    assert SECRET not in done.stdout + done.stderr
    assert "EVPOWER_SUPABASE_SECRET_KEY" in done.stdout + done.stderr


async def test_a_call_that_can_not_be_sent_does_not_quote_its_headers() -> None:
    with http_server() as url:
        async with HttpClient() as http:
            with pytest.raises(RequestNotSent) as raised:
                await http.fetch(
                    "devstack", "GET", url, headers={"apikey": f"{SECRET}\n"}, timeout_s=10
                )
    assert SECRET not in "".join(traceback.format_exception(raised.value))


def test_white_space_around_a_setting_is_none_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in GOOD.items():
        monkeypatch.setenv(name, f"\t {value}\r\n")
    monkeypatch.setenv("EVPOWER_PORT", " 9300\n")
    settings = Settings()
    assert settings.supabase_secret_key.get_secret_value() == GOOD["EVPOWER_SUPABASE_SECRET_KEY"]
    assert settings.supabase_url == GOOD["EVPOWER_SUPABASE_URL"]
    assert settings.database_url.get_secret_value() == GOOD["EVPOWER_DATABASE_URL"]
    assert settings.port == 9300
    assert problems(settings) == []


@pytest.mark.parametrize("name", ["EVPOWER_SUPABASE_URL", "EVPOWER_PUBLIC_URL"])
def test_an_address_with_a_password_is_refused_and_not_shown(tmp_path: Path, name: str) -> None:
    env = {**GOOD, name: f"https://user:{SECRET}@127.0.0.1:1"}
    for words in (("doctor", "--read-only"), ("serve",)):
        done = evpower(tmp_path, *words, env=env)
        assert done.returncode == 1
        assert f"{name} " in done.stdout + done.stderr
        assert SECRET not in done.stdout + done.stderr

"""`evpower clients`: what an operator does at a terminal."""

import json
import subprocess
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from evpower.foundation.db import Connection
from tests.charging.money import top_up
from tests.cli.test_commands import GOOD, evpower

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(tmp_path: Path, dsn: str) -> Run:
    def work(*words: str) -> subprocess.CompletedProcess[str]:
        return evpower(tmp_path, "clients", *words, env={**GOOD, "EVPOWER_DATABASE_URL": dsn})

    return work


async def test_block_and_find_show_the_client_with_the_money(
    run: Run, owner: Connection, client_id: UUID
) -> None:
    await top_up(owner, client_id, 12_345)
    await owner.execute(
        "update identity.clients set email = 'a@example.kg' where id = $1", client_id
    )
    done = run("block", str(client_id), "--reason", "chargeback", "--operator", "aida", "--json")
    assert done.returncode == 0, done.stderr
    result = run("find", "A@example.kg", "--json")
    [row] = json.loads(result.stdout)
    assert (row["client_id"], row["status"], row["balance"]) == (
        str(client_id),
        "blocked",
        "123.45",
    )
    line = await owner.fetchrow("select actor, action, reason from identity.audit")
    assert line is not None
    assert tuple(line) == ("aida", "client.block", "chargeback")
    again = run("unblock", str(client_id), "--reason", "settled", "--json")
    assert json.loads(again.stdout)["status"] == "active"


class Auth(BaseHTTPRequestHandler):
    """Supabase Auth, which has one user."""

    known: UUID

    def do_GET(self) -> None:
        user = {"id": str(self.known), "app_metadata": {}, "user_metadata": {}}
        is_known = self.path.endswith(str(self.known))
        body = json.dumps(user if is_known else {"code": 404, "error_code": "user_not_found"})
        self.send_response(200 if is_known else 404)
        self.send_header("content-type", "application/json")
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        """Writes nothing."""


async def test_an_operator_who_is_a_client_or_no_user_is_warned_about(
    tmp_path: Path, dsn: str, client_id: UUID
) -> None:
    Auth.known = client_id
    server = ThreadingHTTPServer(("127.0.0.1", 0), Auth)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    env = {
        **GOOD,
        "EVPOWER_DATABASE_URL": dsn,
        "EVPOWER_SUPABASE_URL": f"http://127.0.0.1:{server.server_port}",
    }
    try:
        for user, is_client in ((client_id, True), (uuid4(), False)):
            done = evpower(tmp_path, "operators", "add", str(user), "Aida", env=env)
            assert done.returncode == 0
            assert ("warning: this user is a client too" in done.stderr) is is_client
            assert ("warning: Supabase has no user with this id" in done.stderr) is not is_client
            assert f"evpower operators remove {user}" in done.stderr
    finally:
        server.shutdown()
        server.server_close()
    env["EVPOWER_SUPABASE_URL"] = f"http://127.0.0.1:{server.server_port}"  # it is away
    done = evpower(tmp_path, "operators", "add", str(uuid4()), "Bek", env=env)
    assert (done.returncode, done.stderr) == (0, "")


async def test_closing_wants_to_be_confirmed(run: Run, owner: Connection, client_id: UUID) -> None:
    done = run("close", str(client_id), "--reason", "left")
    assert done.returncode == 1
    assert "--yes" in done.stderr
    status = "select status from identity.clients where id = $1"
    assert await owner.fetchval(status, client_id) == "active"
    assert run("close", str(client_id), "--reason", "left", "--yes").returncode == 0
    assert await owner.fetchval(status, client_id) == "closed"


@pytest.mark.parametrize("act", ["block", "unblock", "close"])
def test_an_unknown_client_is_one_line(run: Run, act: str) -> None:
    for name in (str(uuid4()), "no-such-old-id"):
        more = ["--yes"] if act == "close" else []
        done = run(act, name, "--reason", "why", *more)
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        assert "no" in done.stderr


def test_no_act_without_a_reason(run: Run, client_id: UUID) -> None:
    assert run("block", str(client_id)).returncode == 2
    assert run("block", str(client_id), "--reason", "  ").returncode == 1

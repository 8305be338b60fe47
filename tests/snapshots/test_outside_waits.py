"""Every place where a process waits for something outside of it, by a written list with its bounds.

HTTP is apart: tests/snapshots/test_one_http_client.py and tests/faults/test_outgoing_calls.py.
"""

import ast
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "src" / "evpower"
TESTS = Path(__file__).parents[1]
# What opens a way out; names that other things have too count with these owners only.
OPENERS = {
    "create_pool", "open_connection", "open_unix_connection", "create_connection",
    "create_subprocess_exec", "create_subprocess_shell", "Popen", "getaddrinfo", "to_thread",
    "run_in_executor", "create_datagram_endpoint",
}  # fmt: skip
OWNED = {
    "connect": {"asyncpg", "nats", "websockets", "_client"},
    "run": {"subprocess"},
    "check_output": {"subprocess"},
    "open": {"link_type"},
    "SMTP": {"aiosmtplib"},
}


@dataclass(frozen=True)
class Wait:
    """What ends it, how much it reads, and the test (file, in tests/) that tries it."""

    time: str
    size: str
    test: str


WAITS = {
    "foundation/db.py asyncpg.connect": Wait(
        "timeout_s to connect, command_timeout_s a statement, 5 s to close",
        "rows are limited by each statement",
        "foundation/test_db_silent.py",
    ),
    "foundation/db.py asyncpg.create_pool": Wait(
        "wait_limit_s to connect, to get one and to give it back, 30 s a statement, 5 s to close",
        "rows are limited by each statement",
        "foundation/test_db_silent.py",
    ),
    "foundation/bus/nats_link.py _client.connect": Wait(
        "6 s until subscribed, 2 s a flush, 1 s to close",
        "1 MiB a message, 8 MiB unread, 128 KiB unsent",
        "foundation/test_nats_away.py",
    ),
    "foundation/bus/nats_bus.py link_type.open": Wait(
        "as the link's", "as the link's", "foundation/test_nats_away.py"
    ),
    "foundation/public_address.py get_running_loop().getaddrinfo": Wait(
        "the time-out of the call that it is for", "one name", "foundation/test_public_address.py"
    ),
    "alerts/smtp.py aiosmtplib.SMTP": Wait(
        "30 s until the server has the mail, 2 s to take leave",
        "32 KiB an answer",
        "alerts/test_smtp.py",
    ),
    "alerts/certificates.py asyncio.open_connection": Wait(
        "10 s to connect, 1 s to close",
        "a TLS handshake, nothing is read",
        "alerts/test_certificates.py",
    ),
    "devstack/demo/live.py websockets.connect": Wait(
        "60 s until the first balance, 10 s to close", "64 KiB a message", "flows/test_dev.py"
    ),
    "simulator/link.py websockets.connect": Wait(
        "20 s to connect, 30 s a reply, 1 s to close", "1 MiB a frame", "simulator/test_connect.py"
    ),
    "ocpp/forward.py websockets.connect": Wait(
        "10 s to connect, 20 s a pong, 1 s to close",
        "1 MiB a message, 32 of a station that wait",
        "flows/test_forwarding.py",
    ),
    "devstack/children.py subprocess.Popen": Wait(
        "a child is ended after its stop time, and waited for 60 s",
        "its output goes to a file",
        "devstack/test_stack.py",
    ),
    "devstack/children.py asyncio.to_thread": Wait(
        "120 s, then killed", "what our own commands print", "devstack/test_stack.py"
    ),
    "devstack/supabase/install.py subprocess.run": Wait(
        "the time of npm, then killed", "what npm prints", "devstack/test_install.py"
    ),
}


def ways_out(path: Path) -> set[str]:
    calls: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        owner = ast.unparse(node.func.value).rsplit(".", 1)[-1]
        name = node.func.attr
        if (owner, name) == ("stations", "open_connection"):
            continue  # a row of the stations' log
        if name in OPENERS or owner in OWNED.get(name, set()):
            calls.add(f"{path.relative_to(SOURCE)} {owner}.{name}")
    return calls


def test_every_way_out_of_a_process_is_in_the_list() -> None:
    calls: set[str] = set()
    for path in SOURCE.rglob("*.py"):
        calls |= ways_out(path)
    assert calls == set(WAITS)


def test_every_way_out_has_a_test() -> None:
    assert [wait.test for wait in WAITS.values() if not (TESTS / wait.test).exists()] == []

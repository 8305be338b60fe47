"""Every place where a process waits for something outside of it, by a written list with its bounds.

HTTP is apart: tests/snapshots/test_one_http_client.py and tests/faults/test_outgoing_calls.py.
"""

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from tests.snapshots.trees import nodes, one_worker

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


# What the other side may do, each tried by a test.
Fault = Literal["silent", "slow", "hangs_up", "endless"]
FAULTS: frozenset[Fault] = frozenset({"silent", "slow", "hangs_up", "endless"})


@dataclass(frozen=True)
class Wait:
    """What ends it, how much it reads, and by fault the test (in tests/) that tries it.

    `untried`: why a fault has no test.
    """

    time: str
    size: str
    tests: Mapping[Fault, str]
    untried: Mapping[Fault, str] = field(default_factory=dict[Fault, str])


_OUR_CHILD: Mapping[Fault, str] = {
    "slow": "its end is awaited, and no output",
    "hangs_up": "that is its end",
    "endless": "its output goes to a file, or is that of a command of ours",
}
_OUR_SERVER: Mapping[Fault, str] = dict.fromkeys(FAULTS, "it calls the server of this source")
_DATABASE = "foundation/test_db_silent.py::test_every_wait_for_the_database_ends"
_OUTSIDE_THE_POOL = "foundation/test_db_silent.py::test_a_connection_outside_the_pool_ends"
_LOST = "foundation/test_db_silent.py::test_a_connection_outside_the_pool_says_that_it_is_lost"
_OUR_ROWS: Mapping[Fault, str] = {"endless": "rows are limited by each statement"}
_NATS: Mapping[Fault, str] = {
    "silent": "foundation/test_nats_away.py::test_a_silent_and_a_strange_server_are_passed_by",
    "slow": "foundation/test_nats_away.py::test_a_server_that_never_comes_to_an_end_is_left",
    "hangs_up": "foundation/test_nats_away.py"
    "::test_killed_and_started_again_the_nodes_find_each_other",
    "endless": "foundation/test_nats_away.py::test_a_server_that_never_comes_to_an_end_is_left",
}
_CERTIFICATES = (
    "alerts/test_certificates.py::test_a_host_that_is_slow_or_hangs_up_at_any_byte_is_given_up"
)
_HANDSHAKE = "ocpp/test_forward.py::test_a_handshake_of_another_csms_that_never_ends_is_given_up"

WAITS = {
    "foundation/db.py asyncpg.connect": Wait(
        "timeout_s to connect, command_timeout_s a statement, 5 s to close",
        "rows are limited by each statement",
        {"silent": _OUTSIDE_THE_POOL, "slow": _OUTSIDE_THE_POOL, "hangs_up": _LOST},
        _OUR_ROWS,
    ),
    "foundation/db.py asyncpg.create_pool": Wait(
        "wait_limit_s to connect, to get one and to give it back, 30 s a statement, 5 s to close",
        "rows are limited by each statement",
        {"silent": _DATABASE, "slow": _DATABASE, "hangs_up": _DATABASE},
        _OUR_ROWS,
    ),
    "foundation/bus/nats_link.py _client.connect": Wait(
        "6 s until subscribed, 2 s a flush, 1 s to close",
        "1 MiB a message, 8 MiB unread, 128 KiB unsent",
        _NATS,
    ),
    "foundation/bus/nats_bus.py link_type.open": Wait("as the link's", "as the link's", _NATS),
    "foundation/public_address.py get_running_loop().getaddrinfo": Wait(
        "the time-out of the call that it is for",
        "one name",
        {
            "silent": "foundation/test_public_address.py"
            "::test_a_name_that_is_never_resolved_ends_the_call"
        },
        {
            "slow": "the resolver of the machine answers at once or not",
            "hangs_up": "the resolver of the machine answers at once or not",
            "endless": "the resolver of the machine limits its answer",
        },
    ),
    "alerts/smtp.py aiosmtplib.SMTP": Wait(
        "30 s until the server has the mail, 2 s to take leave",
        "32 KiB an answer",
        {
            "silent": "alerts/test_smtp.py::test_a_server_that_never_ends_is_given_up",
            "slow": "alerts/test_smtp.py::test_a_server_that_never_ends_is_given_up",
            "hangs_up": "alerts/test_smtp.py"
            "::test_a_server_that_hangs_up_at_any_byte_has_accepted_nothing",
            "endless": "alerts/test_smtp.py::test_an_answer_without_an_end_is_not_stored",
        },
    ),
    "alerts/certificates.py asyncio.open_connection": Wait(
        "10 s to connect, 1 s to close",
        "a TLS handshake, nothing is read",
        {
            "silent": "alerts/test_certificates.py::test_a_host_that_is_silent_is_given_up",
            "slow": _CERTIFICATES,
            "hangs_up": _CERTIFICATES,
            "endless": "alerts/test_certificates.py::test_a_handshake_of_1_gb_is_not_read",
        },
    ),
    "devstack/demo/live.py websockets.connect": Wait(
        "60 s until the first balance, 10 s to close", "64 KiB a message", {}, _OUR_SERVER
    ),
    "simulator/link.py websockets.connect": Wait(
        "20 s to connect, 30 s a reply, 1 s to close",
        "1 MiB a frame",
        {
            "silent": "simulator/test_connect.py::test_a_server_that_does_not_answer_is_named",
            "hangs_up": "simulator/test_connect.py::test_a_server_of_something_else_is_named",
        },
        dict.fromkeys(("slow", "endless"), "a person's tool, which a person ends"),
    ),
    "ocpp/forward.py websockets.connect": Wait(
        "10 s to connect, 20 s a pong, 1 s to close",
        "1 MiB a message, 32 of a station that wait",
        {
            "silent": _HANDSHAKE,
            "slow": _HANDSHAKE,
            "hangs_up": "ocpp/test_forward.py"
            "::test_a_handshake_of_another_csms_cut_at_any_byte_is_none",
            "endless": _HANDSHAKE,
        },
    ),
    "devstack/children.py subprocess.Popen": Wait(
        "a child is ended after its stop time, and waited for 60 s",
        "its output goes to a file",
        {"silent": "devstack/test_children.py::test_a_child_that_does_not_end_is_killed"},
        _OUR_CHILD,
    ),
    "devstack/children.py asyncio.to_thread": Wait(
        "120 s, then killed",
        "what our own commands print",
        {"silent": "devstack/test_children.py::test_a_command_that_does_not_end_is_killed"},
        _OUR_CHILD,
    ),
    "devstack/supabase/install.py subprocess.run": Wait(
        "the time of npm, then killed",
        "what npm prints",
        {"hangs_up": "devstack/test_install.py::test_unreachable_registry_is_one_clear_line"},
        {
            "silent": "the time of npm ends it, as that of every command",
            "slow": "the time of npm ends it, as that of every command",
            "endless": "npm limits what it reads",
        },
    ),
}


def ways_out(path: Path) -> set[str]:
    calls: set[str] = set()
    for node in nodes(path.read_text()):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        name = node.func.attr
        if name not in OPENERS | OWNED.keys():
            continue
        owner = ast.unparse(node.func.value).rsplit(".", 1)[-1]
        if (owner, name) == ("stations", "open_connection"):
            continue  # a row of the stations' log
        if name in OPENERS or owner in OWNED.get(name, set()):
            calls.add(f"{path.relative_to(SOURCE)} {owner}.{name}")
    return calls


@one_worker
def test_every_way_out_of_a_process_is_in_the_list() -> None:
    calls: set[str] = set()
    for path in SOURCE.rglob("*.py"):
        calls |= ways_out(path)
    assert calls == set(WAITS)


@pytest.mark.parametrize("place", WAITS)
def test_every_fault_of_every_way_out_has_a_test_or_a_reason(place: str) -> None:
    wait = WAITS[place]
    assert {*wait.tests, *wait.untried} == FAULTS
    assert not wait.tests.keys() & wait.untried.keys()
    assert [test for test in wait.tests.values() if not is_test(test)] == []


def is_test(node: str) -> bool:
    """Whether a file of tests has such a function, by itself or in a class."""
    name, _, function = node.partition("::")
    file = TESTS / name
    return file.exists() and any(
        isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef) and part.name == function
        for part in ast.walk(ast.parse(file.read_text()))
    )

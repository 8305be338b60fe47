"""No background loop but `foundation.loops.Loop`: only that one shows that it stands still."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.snapshots.trees import nodes, one_worker

SOURCE = Path(__file__).parents[2] / "src" / "evpower"

# What waits by itself, and why it is no background loop. Nothing is added here without a reason.
EXCEPTIONS = {
    "foundation/loops.py:run": "the loop of all loops",
    "foundation/bus/nats_bus.py:_serve": "the inside of one round of the bus: one connection",
    "foundation/batching.py:close": "ends with the batches under way",
    "sync/outbound/relay.py:drain": "a command's: ends when nothing is due",
    "sync/inbound/pull.py:_work": "the inside of one round: ends when nothing more is there",
    "charging/watch.py:run_once": "the inside of one round: ends when nothing is under way",
    "client_migration/execute.py:_worker": "a command's: ends with its queue",
    "api/replay.py:_wait": "one request's, at most ten seconds",
    "api/gateway/http_protocol.py:shutdown": "one timer of one connection: a late body at the stop",
    "api/gateway/http_protocol.py:_wait": "one timer of one connection: hangs up on a late head",
    "api/gateway/http_protocol.py:_abort_later": "one timer of one connection: an unread answer",
    "sync/webhook/notification.py:send_notification": "a command's: ends after seconds",
    "cli/stations_command.py:_outcome": "a command's: ends with the station's answer",
    "realtime/hub.py:schedule_close": "one close of one socket",
    "ocpp/endpoint.py:_lives_elsewhere": "one handshake, 5 s at most",
    "ocpp/endpoint.py:_check_old_socket": "one handshake, until the check under way ends",
    "ocpp/socket.py:run": "one socket's requests, until it ends",
    "ocpp/sockets.py:schedule_drop": "one drop of one socket",
    "ocpp/process.py:_serve_stored": "one request, until the database answers: 20 s at most",
}
_WAITS = {"sleep", "_sleep", "wait", "wait_for", "pause", "_pause", "_rest", "wait_connected"}
_TIMERS = {"call_later", "call_at"}


def _names(node: ast.AST) -> Iterator[str]:
    for inner in ast.walk(node):
        if isinstance(inner, ast.Call):
            called = inner.func
            if isinstance(called, ast.Attribute):
                yield called.attr
            elif isinstance(called, ast.Name):
                yield called.id


def waiting_loops(source: str) -> Iterator[tuple[str, int]]:
    """Functions with a `while`, or an endless `for`, that waits by time; and timers of asyncio."""
    for function in nodes(source):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for node in ast.walk(function):
            endless = isinstance(node, ast.While) or (
                isinstance(node, ast.For | ast.AsyncFor)
                and {"count", "cycle", "repeat"} & set(_names(node.iter))
            )
            suspicious = _WAITS | {"is_set"} if endless else _TIMERS
            if (endless or isinstance(node, ast.Call)) and suspicious & set(_names(node)):
                yield function.name, node.lineno


@one_worker
def test_no_loop_waits_by_itself() -> None:
    loops = set[str]()
    for path in SOURCE.rglob("*.py"):
        where = path.relative_to(SOURCE).as_posix()
        if where.startswith("devstack/"):
            continue  # waits for child processes on one machine, and is in no installation
        if where.startswith("simulator/"):
            continue  # plays stations for one command, in no process of a server
        for name, line in waiting_loops(path.read_text()):
            loops.add(f"{where}:{name}")
            assert f"{where}:{name}" in EXCEPTIONS, f"{where}:{line} waits: make it a Loop"
    assert loops == EXCEPTIONS.keys(), "an exception that is none"


@pytest.mark.parametrize(
    "source",
    [
        "async def f(stop):\n while not stop.is_set():\n  await work()",
        "async def f():\n while True:\n  await work()\n  await asyncio.sleep(1)",
        "async def f(stop):\n while on:\n  with suppress(E):\n   await wait_for(stop.wait(), 1)",
        "async def f():\n for n in count():\n  await asyncio.sleep(n)",
        "def f(loop):\n loop.call_later(1, f, loop)",
    ],
)
def test_a_hidden_loop_is_found(source: str) -> None:
    assert [name for name, _ in waiting_loops(source)] == ["f"]

"""300 change notifications a second of Supabase, and as many forged ones."""

import base64
import itertools
import json
import os
import statistics
import time
from contextlib import AsyncExitStack
from pathlib import Path
from uuid import uuid4

from bench import requests
from bench.evpower_server import EvPowerServer
from bench.harness import Bar, Row, Turns, in_turn, say
from bench.loadgen import Report, Request
from bench.rig import Rig
from evpower.foundation.standard_webhooks import key_bytes, sign

PATH = "/api/v1/webhooks/supabase"
_SECRET = "whsec_" + base64.b64encode(b"a secret of the benchmarks, 32 b").decode()
_ANOTHER = "whsec_" + base64.b64encode(b"what an attacker would guess, 32").decode()
_RATE = 300.0  # a second
_SECONDS = 4.0
_WARMUP_S = 0.5
_COUNT = int(_RATE * (_SECONDS + _WARMUP_S) * 1.1)
_number = itertools.count()


async def supabase_webhooks(rig: Rig) -> list[Row]:
    """How long a true call waits for its answer, and what a forged one costs beside it.

    The wait is compared with that for an answer that also goes to PostgreSQL and back, and has the
    changes pulled as often: a machine with more processes than cores delays both alike, and an
    answer that needs no data hardly.
    """
    dsn = await rig.new_database()
    async with rig.owner(dsn) as owner:
        await owner.execute("create table bench_calls (id uuid primary key)")
        await owner.execute("grant insert on bench_calls to evpower_app")
        await owner.execute("insert into sync.webhook_secrets (secret) values ($1)", _SECRET)
    answered = 0
    async with AsyncExitStack() as stack:
        server = await EvPowerServer.start(rig, stack, dsn)

        async def load(calls: list[Request], *, cycle: bool = False) -> tuple[float, Report]:
            """CPU milliseconds of the server for each call."""
            before = cpu_s(server.process.pid)
            report = await server.load(
                calls, rate=_RATE, seconds=_SECONDS, warmup_s=_WARMUP_S, cycle=cycle
            )
            used_s = cpu_s(server.process.pid) - before
            say(f"    {report.rate:.0f}/s, p50 {report.p50_ms:.1f} ms, p99 {report.p99_ms:.1f} ms")
            return used_s * 1000 / report.answered, report

        async def true() -> float:
            nonlocal answered
            _, report = await load(_calls(_SECRET, 200))
            answered += report.answered
            p50s_ms[0].append(report.p50_ms)
            return report.p99_ms

        async def insert() -> float:
            _, report = await load([_insert() for _ in range(_COUNT)])
            p50s_ms[1].append(report.p50_ms)
            return report.p99_ms

        async def forged() -> float:
            each_ms, _ = await load(_calls(_ANOTHER, 401))
            return each_ms

        async def constant() -> float:
            each_ms, report = await load([requests.get("/api/v1/bench/webhook/1")], cycle=True)
            constants_ms.append(each_ms)
            return report.p99_ms

        constants_ms: list[float] = []
        p50s_ms: tuple[list[float], list[float]] = ([], [])
        (server.bytes_folder / "webhook").write_bytes(b'{"success":true}')
        turns = await in_turn(true, insert, constant, forged)
    cpu = Turns((turns.sides[3], tuple(constants_ms)))
    usual = Turns((tuple(p50s_ms[0]), tuple(p50s_ms[1])))
    async with rig.owner(dsn) as owner:
        stored = await owner.fetchval("select count(*) from sync.inbox")
    if stored != answered:
        raise RuntimeError(f"{answered} were accepted, {stored} are in the inbox")
    p99_ms, insert_p99_ms, constant_p99_ms, forged_ms = turns
    p50_ms, insert_p50_ms = usual
    plain = "a plain insert and a pull at the same 300/s"
    note = f"{p99_ms / constant_p99_ms:.1f} x a constant's {constant_p99_ms:.1f} ms"
    return [
        Row("supabase_webhook", p99_ms, "ms p99", plain, insert_p99_ms,
            Bar("<=", 2), note, turns.ratio()),
        Row("supabase_webhook_p50", p50_ms, "ms p50", plain, insert_p50_ms,
            paired_ratio=usual.ratio()),
        Row("supabase_webhook_forged", forged_ms, "ms CPU a call", "a constant",
            statistics.median(constants_ms), Bar("<=", 2), "", cpu.ratio()),
    ]  # fmt: skip


def _insert() -> Request:
    return requests.get(f"/api/v1/bench-insert/{uuid4()}")


def _calls(secret: str, status: int) -> list[Request]:
    """Calls as the database's own trigger makes them, each with an id of its own, signed now."""
    key, now = key_bytes(secret), int(time.time())
    ready: list[Request] = []
    for _ in range(_COUNT):
        seq = next(_number)
        row = {"id": str(uuid4())}
        change = {"type": "UPDATE", "table": "clients", "schema": "public", "record": row}
        raw = json.dumps({**change, "old_record": row, "seq": seq}).encode()
        message_id = f"msg_{uuid4().hex}"
        signature = sign(key, message_id, now, raw)
        headers = {
            "webhook-id": message_id,
            "webhook-timestamp": str(now),
            "webhook-signature": signature,
            "X-Supabase-Signature": signature,
        }
        ready.append(requests.post(PATH, raw, headers, status=status))
    return ready


def cpu_s(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

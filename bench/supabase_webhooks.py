"""Supabase rings 300 times a second; so does somebody who only pretends to be Supabase."""

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
from bench.harness import Bar, Row, in_turn, say
from bench.house import House
from bench.loadgen import Request
from evpower.foundation.standard_webhooks import key_bytes, sign

PATH = "/api/v1/webhooks/supabase"
_SECRET = "whsec_" + base64.b64encode(b"a secret of the benchmarks, 32 b").decode()
_ANOTHER = "whsec_" + base64.b64encode(b"what a stranger would guess, 32b").decode()
_RATE = 300.0  # a second
_SECONDS = 4.0
_WARMUP_S = 0.5
_number = itertools.count()


async def supabase_webhooks(house: House) -> list[Row]:
    """How long a true call waits for its answer, and what a forged one costs beside it."""
    dsn = await house.new_database()
    async with house.owner(dsn) as owner:
        await owner.execute("insert into sync.webhook_secrets (secret) values ($1)", _SECRET)
    p99s_ms: list[float] = []
    answered = 0
    async with AsyncExitStack() as stack:
        server = await EvPowerServer.start(house, stack, dsn)

        async def cpu_ms(secret: str, status: int) -> tuple[float, float, int]:
            before = cpu_s(server.process.pid)
            report = await server.load(
                _calls(secret, status), rate=_RATE, seconds=_SECONDS, warmup_s=_WARMUP_S,
                cycle=False,
            )  # fmt: skip
            used_s = cpu_s(server.process.pid) - before
            say(f"    {report.rate:.0f}/s, p50 {report.p50_ms:.1f} ms, p99 {report.p99_ms:.1f} ms")
            return used_s * 1000 / report.answered, report.p99_ms, report.answered

        async def true() -> float:
            nonlocal answered
            each_ms, p99_ms, count = await cpu_ms(_SECRET, 200)
            p99s_ms.append(p99_ms)
            answered += count
            return each_ms

        async def forged() -> float:
            return (await cpu_ms(_ANOTHER, 401))[0]

        true_ms, forged_ms = await in_turn(true, forged)
    async with house.owner(dsn) as owner:
        kept = await owner.fetchval("select count(*) from sync.inbox")
    if kept != answered:
        raise RuntimeError(f"{answered} were accepted, {kept} are in the inbox")
    return [
        Row("supabase_webhook", statistics.median(p99s_ms), "ms p99", "at 300/s",
            bar=Bar("<=", 20, of="value")),
        Row("supabase_webhook_forged", forged_ms, "ms CPU a call", "a true one", true_ms,
            Bar("<=", 0.8)),
    ]  # fmt: skip


def _calls(secret: str, status: int) -> list[Request]:
    """Calls as the database's own trigger makes them, each with an id of its own, signed now."""
    key, now = key_bytes(secret), int(time.time())
    ready: list[Request] = []
    for _ in range(int(_RATE * (_SECONDS + _WARMUP_S) * 1.1)):
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

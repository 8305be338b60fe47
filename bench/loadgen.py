"""`python -m bench.loadgen PLAN.json`: sends ready-made requests from a process of its own.

A request is bytes with the status it must be answered with. Closed loop: every connection sends
its next request when the answer came. Paced: one request each 1/rate seconds on an idle connection;
late ones are not skipped.
"""

import asyncio
import json
import resource
import struct
import sys
import time
from array import array
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, cast

import httptools
import uvloop

from bench.harness import say

_HEAD = struct.Struct("!HI")
_WAIT_LIMIT_S: Final = 20.0  # for answers still on their way at the end
Request = tuple[int, bytes]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to send. `cycle`: begin anew at the end of the list instead of stopping there."""

    port: int
    requests: str
    connections: int = 16
    seconds: float = 5.0
    warmup_s: float = 0.5
    limit: int | None = None
    cycle: bool = True
    rate: float | None = None
    address: str = "127.0.0.1"  # it comes from


@dataclass(frozen=True, slots=True)
class Report:
    """What came back; all but `answered` is of the requests after the warm-up, in milliseconds."""

    rate: float
    requests: int
    answered: int
    seconds: float
    wrong: int
    statuses: dict[str, int]
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float
    cpu_s: float


def write_requests(path: Path, requests: Iterable[Request]) -> int:
    """Store requests for a plan; answers how many."""
    count = 0
    with path.open("wb") as file:
        for status, raw in requests:
            file.write(_HEAD.pack(status, len(raw)) + raw)
            count += 1
    return count


def read_requests(path: Path) -> list[Request]:
    """Load them again."""
    blob, at, requests = path.read_bytes(), 0, list[Request]()
    while at < len(blob):
        status, size = _HEAD.unpack_from(blob, at)
        at += _HEAD.size
        requests.append((status, blob[at : at + size]))
        at += size
    return requests


async def load(plan: Plan, folder: Path) -> Report:
    """Run a plan in a child process. Raises RuntimeError when any answer was not as demanded."""
    path = folder / "plan.json"
    path.write_text(json.dumps(asdict(plan)))
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.loadgen", str(path), stdout=asyncio.subprocess.PIPE
    )
    output, _ = await child.communicate()
    if child.returncode != 0:
        raise RuntimeError("the load generator failed")
    report = Report(**json.loads(output))
    if report.wrong:
        raise RuntimeError(f"{report.wrong} wrong answers: {report.statuses}")
    return report


class _Run:
    """The state all connections share."""

    def __init__(self, plan: Plan, requests: list[Request]) -> None:
        self.plan = plan
        self.source: Iterator[Request] = self._take(requests)
        self.latencies = array("d")
        self.statuses: Counter[str] = Counter()
        self.wrong = 0
        self.sent = 0
        self.answers = 0
        self.running = 0
        self.idle: deque[_Connection] = deque()
        self.finished = asyncio.Event()
        self.begin()

    def begin(self) -> None:
        """Let the warm-up begin now."""
        self.began = time.perf_counter()
        self.measured_from = self.began + self.plan.warmup_s
        self.until = self.measured_from + self.plan.seconds
        self.last = self.began

    def _take(self, requests: list[Request]) -> Iterator[Request]:
        while True:
            yield from requests
            if not self.plan.cycle:
                return

    def next(self) -> Request | None:
        """Give the next request, or None when it is time to stop."""
        if self.plan.limit is not None:
            if self.sent >= self.plan.limit:
                return None
        elif time.perf_counter() >= self.until:
            return None
        request = next(self.source, None)
        if request is not None:
            self.sent += 1
        return request

    def answered(self, connection: "_Connection", status: int, body: bytes) -> None:
        """Count an answer and let its connection go on."""
        now = time.perf_counter()
        self.answers += 1
        if status != connection.wanted:
            self.wrong += 1
            self.statuses[f"{status} for {connection.wanted}"] += 1
            if self.wrong <= 3:
                say(f"wrong answer {status}: {body[:300]!r}")
        if connection.sent_at >= self.measured_from:
            self.latencies.append((now - connection.sent_at) * 1000)
            self.last = now
        if self.plan.rate is None:
            connection.send_next()
        else:
            self.running -= 1
            self.idle.append(connection)
            if not self.running:
                self.finished.set()

    def failed(self, reason: str) -> None:
        """Remember a lost connection: it is a wrong answer."""
        self.wrong += 1
        self.statuses[reason] += 1

    def report(self) -> Report:
        """Sum up."""
        ordered = sorted(self.latencies)
        elapsed = max(self.last - self.measured_from, 1e-9)

        def part(share: float) -> float:
            return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0

        used = resource.getrusage(resource.RUSAGE_SELF)
        return Report(
            rate=len(ordered) / elapsed,
            requests=len(ordered),
            answered=self.answers,
            seconds=elapsed,
            wrong=self.wrong,
            statuses=dict(self.statuses),
            p50_ms=part(0.5),
            p95_ms=part(0.95),
            p99_ms=part(0.99),
            max_ms=ordered[-1] if ordered else 0.0,
            cpu_s=used.ru_utime + used.ru_stime,
        )


class _Connection(asyncio.Protocol):
    """One keep-alive connection with at most one request on its way."""

    def __init__(self, run: _Run) -> None:
        self._run = run
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._body = b""
        self.wanted = 0
        self.sent_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def send_next(self) -> None:
        """Send the next request, or hang up when there is none."""
        request = self._run.next()
        if request is None:
            self.close()
        else:
            self.send(request)

    def send(self, request: Request) -> None:
        """Put one request on the wire."""
        if self._transport is None:
            self._run.failed("connection lost")
            return
        self.wanted, raw = request
        self.sent_at = time.perf_counter()
        self._transport.write(raw)

    def close(self) -> None:
        """Hang up in good order."""
        if self._transport is not None:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        self._body = data
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        """Take the answer: httptools has parsed all of it."""
        status = self._parser.get_status_code()
        self._parser = httptools.HttpResponseParser(self)
        self._run.answered(self, status, self._body)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if exc is not None:
            self._run.failed(f"connection lost: {exc}")
        self._run.running -= 1
        if self._run.running == 0:
            self._run.finished.set()


async def _connect(run: _Run) -> _Connection:
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(
        lambda: _Connection(run), "127.0.0.1", run.plan.port, local_addr=(run.plan.address, 0)
    )
    return connection


async def _closed_loop(run: _Run) -> None:
    """Each connection sends once it is open: a server may close one that waits."""
    run.running = run.plan.connections
    for _ in range(run.plan.connections):
        (await _connect(run)).send_next()
    try:
        longest = 600.0 if run.plan.limit is not None else run.until - run.began + _WAIT_LIMIT_S
        await asyncio.wait_for(run.finished.wait(), longest)
    except TimeoutError:
        run.failed("no answer")


async def _paced(run: _Run, rate: float) -> None:
    run.idle.extend([await _connect(run) for _ in range(run.plan.connections)])
    run.begin()  # connecting is not measured
    while True:
        wait = run.began + run.sent / rate - time.perf_counter()
        if wait > 0:
            await asyncio.sleep(wait)
        while not run.idle:  # noqa: ASYNC110 - the server is slower than the pace
            await asyncio.sleep(0.001)
        request = run.next()
        if request is None:
            break
        run.running += 1
        run.finished.clear()
        run.idle.popleft().send(request)
    if run.running:
        try:
            await asyncio.wait_for(run.finished.wait(), _WAIT_LIMIT_S)
        except TimeoutError:
            run.failed("no answer")


async def _send(plan: Plan, requests: list[Request]) -> Report:
    run = _Run(plan, requests)
    if plan.rate is None:
        await _closed_loop(run)
    else:
        await _paced(run, plan.rate)
    return run.report()


def main(path: Path) -> None:
    """Run a plan and print its report."""
    plan = Plan(**json.loads(path.read_text()))
    report = uvloop.run(_send(plan, read_requests(Path(plan.requests))))
    print(json.dumps(asdict(report)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))

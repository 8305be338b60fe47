"""pgbench, the baseline for what is one SQL function: no Python, no HTTP, the same database."""

import os
import re
import statistics
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from evpower.devstack import children
from evpower.devstack.postgres.server import EmbeddedPostgres
from evpower.foundation.db import APP_ROLE


@dataclass(frozen=True, slots=True)
class Outcome:
    """What pgbench said; latency is the mean of one transaction in milliseconds."""

    tps: float
    latency_ms: float
    transactions: int


async def pgbench(
    postgres: EmbeddedPostgres,
    dsn: str,
    script: str,
    folder: Path,
    *,
    clients: int,
    seconds: int,
    variables: dict[str, int] | None = None,
) -> Outcome:
    """Run a script with prepared statements as the processes' role. Raises RuntimeError."""
    path = folder / "script.pgbench"
    path.write_text(script)
    argv: list[str | Path] = [postgres.bin_dir / "pgbench", "-n", "-M", "prepared"]
    argv += ["-c", str(clients), "-j", str(min(2, clients)), "-T", str(seconds), "-f", path]
    for name, value in (variables or {}).items():
        argv += ["-D", f"{name}={value}"]
    env = {**os.environ, "PGOPTIONS": f"-c role={APP_ROLE} -c timezone=UTC -c jit=off"}
    done = await children.run([*argv, dsn], env=env, timeout_s=seconds + 60)
    if done.returncode != 0:
        raise RuntimeError(f"pgbench failed: {done.stdout[-2000:]}")
    return Outcome(
        tps=_figure(r"tps = ([\d.]+)", done.stdout),
        latency_ms=_figure(r"latency average = ([\d.]+) ms", done.stdout),
        transactions=int(_figure(r"actually processed: (\d+)", done.stdout)),
    )


async def median_ms(
    postgres: EmbeddedPostgres,
    dsn: str,
    script: str,
    folder: Path,
    *,
    times: int,
    per_s: float,
    variables: dict[str, int] | None = None,
) -> float:
    """Run a script so many times with one client; returns the median in milliseconds.

    `per_s`: so many come in a second on average: what runs once in a while finds caches cold and
    the processor asleep, and a loop without pauses does not. What is read first by gset is not
    counted. Raises RuntimeError.
    """
    path, prefix = folder / "median.pgbench", folder / f"median-{uuid4().hex[:8]}"
    path.write_text(script)
    argv: list[str | Path] = [postgres.bin_dir / "pgbench", "-n", "-M", "prepared", "-r", "-l"]
    argv += ["--log-prefix", prefix, "-c", "1", "-t", str(times), "-f", path]
    argv += ["-R", str(per_s)]
    for name, value in (variables or {}).items():
        argv += ["-D", f"{name}={value}"]
    env = {**os.environ, "PGOPTIONS": f"-c role={APP_ROLE} -c timezone=UTC -c jit=off"}
    done = await children.run([*argv, dsn], env=env, timeout_s=120)
    if done.returncode != 0:
        raise RuntimeError(f"pgbench failed: {done.stdout[-2000:]}")
    took_us = _logged_us(prefix)
    if len(took_us) != times:
        raise RuntimeError(f"{len(took_us)} of {times} times: {done.stdout[-2000:]}")
    reads = re.finditer(r"^\s+([\d.]+)\s.*\\gset", done.stdout, re.MULTILINE)
    return statistics.median(took_us) / 1000 - sum(float(read[1]) for read in reads)


def _logged_us(prefix: Path) -> list[int]:
    """Reads the microseconds of each transaction, and removes pgbench's log of them.

    pgbench counts from when a transaction was due; how late it began is the seventh column.
    """
    [path] = prefix.parent.glob(f"{prefix.name}.*")
    lines = path.read_text().splitlines()
    path.unlink()
    return [int(line.split()[2]) - int(line.split()[6]) for line in lines]


def _figure(pattern: str, text: str) -> float:
    figure = re.search(pattern, text)
    if figure is None:
        raise RuntimeError(f"pgbench did not say {pattern}: {text[-2000:]}")
    return float(figure[1])

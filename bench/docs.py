"""Writes docs/benchmarks.md: the last table, and the machine it was measured on."""

import os
import platform
import re
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from bench.harness import Row, disturbance, table

PAGE = Path(__file__).resolve().parent.parent / "docs" / "benchmarks.md"

_INTRO = """\
# Benchmarks

Written by `python -m bench --write-docs`; `make bench` measures again, `make bench ONLY=name` one.
Every benchmark measures EvPower and its baseline or limit in turn, in one run, on one machine and
one PostgreSQL. A ratio is the median of the rounds' own ratios, so what disturbs a round disturbs
both of its sides. Bars of times and rates are ratios; sizes have bars of their own. Commits are
durable: `fsync`, `synchronous_commit` and `full_page_writes` are on, or the run refuses to start.
The load generator checks the status of every answer. It shares the machine with the servers:
absolute figures are low, ratios carry over. `python -m bench --against CHECKOUT NAME` runs two
editions in turn and fails if a ratio became worse by more than 5 %: that is how a small loss is
found. The bars are wider: they hold beside a busy core, too, and a run that misses one has found a
fault.

"""

_BASELINES = """

## The baselines

- **baseline implementation**: the requirements' snippets taken literally (`bench/baseline.py`):
  FastAPI, supabase-py, a Supabase client made in every call, `get_user` for each token, the
  balance written in three steps. 16 connections, the same local Supabase.
- **pgbench**: PostgreSQL's own load generator calling the same SQL function: C, no Python, no HTTP.
- **the same bytes from memory**: a route of the same server, behind the same middlewares and token
  check, that answers a constant of the same size: what HTTP costs in this process without any data.
  By the clock, PostgreSQL's own work counts, too; `_cpu` counts the server's process alone, and
  does not change with what else the machine does.
- **every row over PostgREST**: what a plain comparison does: clients, transactions and users read
  in pages of 1,000 and compared in Python.
- **the calls alone**: the calls of `evpower_apply` that the relay would make, made beforehand and
  sent as many at once, with nothing read or logged: what Supabase itself takes.
- **one bare call**: `evpower_apply` with one client, while the same top-ups come in.
- **a constant**: a route of the same server that answers a constant at the same pace.
- **a plain insert**: a route of the same server that answers once one row is in a table, without
  waiting for the disk, as calls of Supabase are stored: it passes the same three processes. It
  makes the server pull the changes of Supabase as often as the calls do: what a pull costs on a
  machine that is Supabase, too, is in both.
- **Supabase's call**: the same changes, with a listener that does nothing in EvPower's place.
- **a bare poller**: the same changes, looked for as often, nothing done with them.
- **the balances by HTTP**: as many balances, each read once, on 1,000 connections.
- **a bare top-up and as many calls**: the same top-up through the sandbox bank, whose signed event
  credits without a question, and one more outgoing call, all by CPU of the process.
- **the bank's answer**: what the bank waits for the answer to the same top-ups, at the same time.
- **bare admin API**: the users there are listed, and new ones created, in the local Supabase Auth;
  nothing else done.
- **quiet**: the same drivers asking without an attack, before and after it. Each attack is 2,000
  unfinished sockets or 200 requests a second from one address, alone; half of the drivers share
  that address. `BENCH_ATTACKS_S=60` measures a minute each.
- **pgbench, one frame a transaction**: the dedupe row, both raw frames, the value and the session's
  progress, written by 16 clients. Ours reads and answers each frame and updates its limits, too,
  over a socket for each of 256 stations, or given to the same code in process.
- **the same statements and an echo**: what one StopTransaction sends to PostgreSQL, recorded on a
  copy of the database and sent by pgbench on another one, and a text over a WebSocket and back. For
  `odengi_balance` it is what O!Dengi's notice sends until the credit is committed; ours is from the
  notice to the balance on the driver's socket, less the time in which the bank answers whether the
  bill is paid, asked by a bare client.
- **a commit and an echo**: one row inserted by pgbench with one client, and such a text. In this
  row and those before, each step of either side comes a tenth of a second after the one before,
  as a driver's does: after a pause caches are cold and the processor sleeps. The phone has asked
  for its session before it starts one, so that the process knows the client.
- **the same page by primary key**: the rows that the filter found, read by their ids: the newest
  page and one from the middle, in turn, of as many rows each.
- **get_user**: one question to Supabase Auth about a token, with a kept-open connection.
"""


def write(rows: Sequence[Row], seconds: float) -> None:
    """Replace the page."""
    PAGE.parent.mkdir(exist_ok=True)
    notes = [f"- {row.name}: {row.note}" for row in rows if row.note]
    PAGE.write_text(
        _INTRO
        + f"Measured {datetime.now(UTC):%Y-%m-%d} in {seconds / 60:.1f} minutes on {machine()}. "
        + f"Other work took {sum(disturbance) / max(1, len(disturbance)):.0%} of it.\n\n"
        + table(rows)
        + ("\n\n" + "\n".join(notes) if notes else "")
        + _BASELINES
    )


def machine() -> str:
    """One line on what this is."""
    cpu, memory = platform.processor() or platform.machine(), ""
    with suppress(OSError):
        model = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
        cpu = model[1] if model else cpu
        kilobytes = re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text())
        memory = f", {int(kilobytes[1]) / 2**20:.0f} GB" if kilobytes else ""
    return (
        f"{os.cpu_count()} cores of {cpu}{memory}, {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}, PostgreSQL 18, asyncpg {version('asyncpg')}, "
        f"uvicorn {version('uvicorn')} with uvloop {version('uvloop')}"
    )

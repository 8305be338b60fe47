"""`python -m bench [NAME ...] [--write-docs | --against CHECKOUT]`: run all or some benchmarks.

Exits with 1 when a bar was missed, or when a row became worse than in the other checkout.
"""

import argparse
import asyncio
import signal
import sys
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping

import uvloop

from bench import docs
from bench.against import MAX_ROUNDS, ROUNDS, against, checkout_folder
from bench.attacks import attacks
from bench.changes import change_alone, change_notified
from bench.charging_paths import start_to_remote, stop_to_balance
from bench.charging_reads import charging_reads, phones
from bench.credit import credit_grouped, credit_single
from bench.harness import Row, say, table
from bench.live import live_idle, live_push, live_reconnect
from bench.memory import memory
from bench.meter_values import meter_values
from bench.migrate import migrate_clients
from bench.odengi import odengi_cpu
from bench.odengi_balance import odengi_balance
from bench.operator_sessions import operator_sessions
from bench.reads import balance, history
from bench.reconcile import reconcile
from bench.relay import relay, relay_lag
from bench.rig import Rig
from bench.rows import row_bytes
from bench.station_frames import station_frames
from bench.station_idle import station_idle
from bench.station_reads import station_reads
from bench.station_rows import meter_value_bytes
from bench.supabase_webhooks import supabase_webhooks
from bench.tariff_price import tariff_price
from bench.tokens import tokens
from bench.topup import topup_http
from bench.watch import watch

Benchmark = Callable[[Rig], Awaitable[list[Row]]]

# In this order: ahead of the baseline implementation, near its limits, at what cost.
BENCHMARKS: Mapping[str, Benchmark] = {
    "topup_http": topup_http,
    "odengi_cpu": odengi_cpu,
    "odengi_balance": odengi_balance,
    "history": history,
    "balance": balance,
    "charging_reads": charging_reads,
    "phones": phones,
    "credit_grouped": credit_grouped,
    "credit_single": credit_single,
    "relay": relay,
    "relay_lag": relay_lag,
    "supabase_webhooks": supabase_webhooks,
    "change_notified": change_notified,
    "change_alone": change_alone,
    "live_push": live_push,
    "live_reconnect": live_reconnect,
    "live_idle": live_idle,
    "attacks": attacks,
    "station_frames": station_frames,
    "meter_values": meter_values,
    "stop_to_balance": stop_to_balance,
    "start_to_remote": start_to_remote,
    "station_reads": station_reads,
    "operator_sessions": operator_sessions,
    "station_idle": station_idle,
    "meter_value_bytes": meter_value_bytes,
    "tariff_price": tariff_price,
    "watch": watch,
    "migrate": migrate_clients,
    "reconcile": reconcile,
    "tokens": tokens,
    "row_bytes": row_bytes,
    "memory": memory,
}


async def run(names: list[str]) -> tuple[list[Row], list[str]]:
    """Run benchmarks one after another; one that breaks does not stop the others."""
    rows: list[Row] = []
    broken: list[str] = []
    async with Rig() as rig:
        for name in names:
            say(name)
            try:
                measured = await BENCHMARKS[name](rig)
            except Exception:  # noqa: BLE001 - reported, and the run fails
                traceback.print_exc()
                broken.append(name)
                continue
            for row in measured:
                print(" | ".join(cell for cell in row.cells() if cell))
                print(row.as_json(), flush=True)
            rows += measured
    return rows, broken


async def _main(names: list[str], *, write_docs: bool) -> int:
    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    began = time.monotonic()
    rows, broken = await run(names)
    print("\n" + table(rows))
    if write_docs and not broken:
        docs.write(rows, time.monotonic() - began)
        say(f"wrote {docs.PAGE}")
    missed = [row.name for row in rows if not row.ok]
    if missed:
        say(f"bars missed: {', '.join(missed)}")
    if broken:
        say(f"broke: {', '.join(broken)}")
    return 1 if missed or broken else 0


def main() -> int:
    """Parse and run."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument("--write-docs", action="store_true", help="write docs/benchmarks.md")
    parser.add_argument("--against", metavar="CHECKOUT", help="compare with another checkout")
    parser.add_argument(
        "--rounds", type=int, default=ROUNDS, choices=range(2, MAX_ROUNDS + 1), metavar="N",
        help=f"rounds of a comparison (default {ROUNDS})",
    )  # fmt: skip
    arguments = parser.parse_args()
    unknown = [name for name in arguments.names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"no benchmark {', '.join(unknown)}; there are: {', '.join(BENCHMARKS)}")
    names = arguments.names or list(BENCHMARKS)
    try:
        if arguments.against:
            return uvloop.run(against(checkout_folder(arguments.against), names, arguments.rounds))
        return uvloop.run(_main(names, write_docs=arguments.write_docs))
    except (KeyboardInterrupt, asyncio.CancelledError):
        return 130


if __name__ == "__main__":
    sys.exit(main())

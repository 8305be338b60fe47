"""A process that does one thing in charging and kills itself at a named failpoint."""

import asyncio
import os
import sys
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import orjson

from evpower import charging
from evpower.charging import StartRequest, StationStart, StationTime, StopRequest
from evpower.foundation import failpoints
from evpower.foundation.bus import LocalBus
from evpower.foundation.db import Connection
from tests.conftest import patient_database


async def act(connection: Connection, facts: dict[str, str], now: datetime) -> charging.Changes:
    """Starts a session, stops one, or begins a transaction, and returns the changes."""
    if facts["act"] == "start":
        request = StartRequest(UUID(facts["client"]), facts["station"], 1)
        started = await charging.start(connection, request, now=now)
        return charging.Changes({started.client_id}, {started.session_id}, {started.station_id})
    if facts["act"] == "stop":
        client = UUID(facts["client"])
        stop = StopRequest(UUID(facts["session"]), client, f"client:{client}")
        return (await charging.request_stop(connection, stop, now=now)).changes
    time = StationTime(now, now.isoformat())
    report = StationStart(facts["station"], 1, facts["tag"], Decimal(1000), None, time, now)
    return (await charging.start_transaction(connection, report, now=now)).changes


async def main(dsn: str, file: Path, step: str, facts: dict[str, str]) -> None:
    if step:
        file.write_text(f"{step} {os.getpid()}")
    failpoints.watch(file)
    database = patient_database(dsn)
    await database.start()
    async with database.transaction() as connection:
        changes = await act(connection, facts, datetime.fromisoformat(facts["now"]))
    changes.publish(LocalBus())
    await database.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), sys.argv[3], orjson.loads(sys.argv[4])))

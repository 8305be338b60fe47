"""A process that takes frames of several stations at once, and is killed at a failpoint."""

import asyncio
import os
import sys
from datetime import datetime
from pathlib import Path

import asyncpg

from evpower.foundation import failpoints
from evpower.foundation.bus import LocalBus
from evpower.foundation.db import Connection
from tests.charging.place import ChargingPlace
from tests.conftest import as_owner, patient_database
from tests.ocpp.sharing import Sharing


async def main(dsn: str, now: datetime, wh: int, fleet: dict[str, int]) -> None:
    owner: Connection = await asyncpg.connect(as_owner(dsn))
    db = patient_database(dsn)
    await db.start()
    sharing = Sharing(ChargingPlace(db, owner, now))
    frames = [sharing.frame(name, number, wh) for name, number in fleet.items()]
    for outcome in await sharing.take(*frames):
        outcome.changes.publish(LocalBus())


if __name__ == "__main__":
    folder, failpoint, dsn, now, wh, *words = sys.argv[1:]
    path = Path(folder) / "failpoint"
    path.write_text(f"{failpoint} {os.getpid()}")
    failpoints.watch(path)
    stations = {name: int(number) for name, _, number in (word.partition("=") for word in words)}
    asyncio.run(main(dsn, datetime.fromisoformat(now), int(wh), stations))

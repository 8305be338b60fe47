"""A process that takes a frame, or corrects a bill, and is killed before it commits."""

import asyncio
import os
import sys
from datetime import datetime
from pathlib import Path

import asyncpg

from evpower.foundation import failpoints
from evpower.foundation.db import Connection
from tests.charging.place import ChargingPlace
from tests.conftest import as_owner, patient_database


async def main(dsn: str, act: str, transaction: int, meter_wh: int, now: datetime) -> None:
    owner: Connection = await asyncpg.connect(as_owner(dsn))
    db = patient_database(dsn, size=1)
    await db.start()
    place = ChargingPlace(db, owner, now)
    if act == "values":
        await place.values(transaction, meter_wh)
    elif act == "correct":
        await place.correct(transaction, meter_wh)
    else:
        await place.stop(transaction, meter_wh)


if __name__ == "__main__":
    folder, failpoint, dsn, act, transaction, meter_wh, now = sys.argv[1:]
    path = Path(folder) / "failpoint"
    path.write_text(f"{failpoint} {os.getpid()}")
    failpoints.watch(path)
    asyncio.run(main(dsn, act, int(transaction), int(meter_wh), datetime.fromisoformat(now)))

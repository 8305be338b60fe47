"""A process that does what is due of running transactions, and is killed at a failpoint."""

import asyncio
import os
import sys
from datetime import datetime
from pathlib import Path

from evpower.charging.rules import DEFAULT_RULES
from evpower.charging.watch import Watch
from evpower.foundation import failpoints
from evpower.foundation.bus import LocalBus
from evpower.foundation.loops import Round
from tests.conftest import patient_database


async def main(dsn: str, now: datetime) -> None:
    db = patient_database(dsn, size=4)
    await db.start()
    await Watch(db, LocalBus(), lambda: now, DEFAULT_RULES).run_once(Round())


if __name__ == "__main__":
    folder, failpoint, dsn, now = sys.argv[1:]
    path = Path(folder) / "failpoint"
    path.write_text(f"{failpoint} {os.getpid()}")
    failpoints.watch(path)
    asyncio.run(main(dsn, datetime.fromisoformat(now)))

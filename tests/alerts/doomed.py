"""A worker that sends alerts once, and is killed at a failpoint."""

import asyncio
import os
import sys
from pathlib import Path

from evpower.foundation import failpoints
from tests.alerts.clock import TurnedClock
from tests.alerts.receivers import SECRET, running_sender
from tests.conftest import patient_database


async def main(dsn: str, url: str) -> None:
    db = patient_database(dsn, size=2)
    await db.start()
    settings = {"alert_webhook_url": url, "alert_webhook_secret": SECRET}
    async with running_sender(db, TurnedClock(), **settings) as sender:
        await sender.send()


if __name__ == "__main__":
    folder, failpoint, dsn, url = sys.argv[1:]
    path = Path(folder) / "failpoint"
    path.write_text(f"{failpoint} {os.getpid()}")
    failpoints.watch(path)
    asyncio.run(main(dsn, url))

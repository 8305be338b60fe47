"""A worker that writes and sends messages once, and is killed at a failpoint."""

import asyncio
import os
import sys
from datetime import datetime
from pathlib import Path

from evpower.api import sentence
from evpower.foundation import failpoints
from evpower.foundation.http import HttpClient
from evpower.push.delivery import PushDelivery
from evpower.push.derive import MessageWriter
from evpower.push.web_push import WebPush
from tests.conftest import patient_database
from tests.push.scenario import configured, settings_for


async def main(dsn: str, url: str, now: datetime) -> None:
    db = patient_database(dsn, size=2)
    await db.start()
    settings = configured(settings_for(push_hosts=url))
    await MessageWriter(db, settings.keys.public, lambda: now).write()
    async with HttpClient() as http:
        sender = WebPush(http, settings, sentence, lambda: now)
        await PushDelivery(db, sender, lambda: now).send_due()


if __name__ == "__main__":
    folder, failpoint, dsn, url, now = sys.argv[1:]
    path = Path(folder) / "failpoint"
    path.write_text(f"{failpoint} {os.getpid()}")
    failpoints.watch(path)
    asyncio.run(main(dsn, url, datetime.fromisoformat(now)))

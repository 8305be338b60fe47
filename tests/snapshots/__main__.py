"""`make snapshots`: write what the snapshot tests compare with."""

import asyncio
import json
import tempfile
from pathlib import Path

from evpower import bootstrap
from evpower.devstack.postgres.server import EmbeddedPostgres
from evpower.devstack.supabase import migrations
from evpower.foundation.migrations import migrate
from tests.snapshots.schema import SCHEMA, dump

OPENAPI = Path(__file__).resolve().parents[2] / "docs" / "openapi.json"


async def main() -> None:
    """Write all of them."""
    migrations.write()
    text = json.dumps(bootstrap.openapi(), indent=2, ensure_ascii=False, sort_keys=True)
    OPENAPI.write_text(text + "\n")
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        Path(folder).chmod(0o755)
        postgres = EmbeddedPostgres(Path(folder) / "pg", settings={"fsync": "off"})
        await postgres.start()
        try:
            await postgres.create_owned_database("schema")
            await migrate(postgres.owner_dsn("schema"))
            SCHEMA.write_text(dump(postgres, postgres.owner_dsn("schema")))
        finally:
            await postgres.stop()


asyncio.run(main())

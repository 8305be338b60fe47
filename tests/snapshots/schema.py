"""The sum of the migrations, as PostgreSQL itself tells it."""

import re
import subprocess
from pathlib import Path

from evpower.devstack.postgres.server import EmbeddedPostgres

SCHEMA = Path(__file__).resolve().parents[2] / "migrations" / "schema.sql"
HEADER = (
    "-- The sum of all migrations, for reading. Written by `make snapshots`, never by hand.\n\n"
)


def dump(postgres: EmbeddedPostgres, dsn: str) -> str:
    """pg_dump without what differs between machines and runs."""
    done = subprocess.run(
        [
            postgres.bin_dir / "pg_dump",
            *("--schema-only", "--no-owner", "--role=evpower", "--dbname", dsn),
        ],
        check=True,
        capture_output=True,
        text=True,
    )
    lines = [
        line
        for line in done.stdout.splitlines()
        if not re.match(r"--|\\(un)?restrict|SET |SELECT pg_catalog.set_config", line)
    ]
    return HEADER + re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip() + "\n"

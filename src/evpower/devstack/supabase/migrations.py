"""`make supabase-migrations`: write supabase/migrations/ from the files of supabase/source/.

A released file never changes: supabase/released.sha256 has its digest. The first change of
supabase/source/ after a release raises `EDITION` and gives `FILE` a later version.
"""

import hashlib
from pathlib import Path
from typing import Final

# The release whose SQL supabase/source/ is, as its comments say; a release that changes the SQL
# raises it.
EDITION: Final = "0.2.0"
# One version a release: the Supabase CLI applies a version once.
FILE: Final = "20261130000000_evpower.sql"
# Versions of files from before 0.1.0: where the CLI has recorded one, `db push` refuses to go on.
UNRELEASED: Final = (
    "20261122100000", "20261122100100", "20261122100200", "20261122100300", "20261122100400",
    "20261123100000", "20261123100100", "20261123110000", "20261123120000", "20261123130000",
)  # fmt: skip
_ROOT: Final = Path(__file__).resolve().parents[4] / "supabase"
_HEADER: Final = """\
-- All that EvPower installs in a Supabase project, safe to run again on one that is in use.
-- Written by `make supabase-migrations` from supabase/source/, never by hand.
--
-- Behind a long transaction on one of the tables all readers would queue: this ends instead, and
-- is run again.
do $$ begin perform set_config('lock_timeout', '5s', true); end $$;
"""


class ReleasedFileError(Exception):
    """The file is released, and `supabase/source/` differs from it."""


def generate(source: Path = _ROOT / "source") -> str:
    """Returns the migration that all files of `source` make, in the order of their numbers.

    `{edition}` in a file is `EDITION`.
    """
    parts = [
        f"-- {path.name}\n{path.read_text('utf-8')}" for path in sorted(source.glob("[0-9]*.sql"))
    ]
    return "\n".join([_HEADER, *parts]).replace("{edition}", EDITION)


def write(folder: Path = _ROOT / "migrations") -> Path:
    """Writes the migration into `folder` and returns its path. Raises ReleasedFileError."""
    text = generate()
    if digests().get(FILE, digest := hashlib.sha256(text.encode()).hexdigest()) != digest:
        raise ReleasedFileError(
            f"{FILE} is released and never changes: raise EDITION, and give FILE a later version"
        )
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / FILE
    path.write_text(text, "utf-8")
    return path


def digests(listed: Path = _ROOT / "released.sha256") -> dict[str, str]:
    """Returns the SHA-256 of each released file by its name, as `sha256sum` lists them."""
    lines = listed.read_text("utf-8").splitlines() if listed.exists() else []
    return {Path(name).name: digest for digest, name in (line.split(maxsplit=1) for line in lines)}


if __name__ == "__main__":
    write()

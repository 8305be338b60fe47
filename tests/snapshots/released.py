"""`python -m tests.snapshots.released`: lists the digests of the migrations as released.

Run once for a release. From then on a listed file never changes; `sha256sum -c released.sha256`
in its folder says so, too.
"""

import hashlib
from pathlib import Path
from typing import Final

from evpower.devstack.supabase.migrations import digests

ROOT: Final = Path(__file__).resolve().parents[2]
# The list, and the pattern of the files it names, from the list's folder.
LISTS: Final = {
    ROOT / "migrations" / "released.sha256": "[0-9]*.sql",
    ROOT / "supabase" / "released.sha256": "migrations/[0-9]*.sql",
}


def present(listed: Path, pattern: str) -> dict[str, str]:
    """Returns the SHA-256 of each migration as it is now, by its name."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(listed.parent.glob(pattern))
    }


def release() -> None:
    """Adds the files that no release lists. Raises ValueError if a listed one changed."""
    for listed, pattern in LISTS.items():
        released, now = digests(listed), present(listed, pattern)
        if changed := sorted(name for name in released if now.get(name) != released[name]):
            raise ValueError(f"released files changed: {', '.join(changed)}")
        folder = Path(pattern).parent
        lines = [f"{digest}  {(folder / name).as_posix()}\n" for name, digest in now.items()]
        listed.write_text("".join(lines))


if __name__ == "__main__":
    release()
